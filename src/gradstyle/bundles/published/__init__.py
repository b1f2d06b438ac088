"""Readers of checkpoints that others have published."""

from .errors import PublishedFileError
from .files import read_file
from .inert import Record

__all__ = ["PublishedFileError", "Record", "read_file"]
