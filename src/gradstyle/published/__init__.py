"""Readers of checkpoints that others have published. Nothing in a file is ever run."""

from ..pickles.errors import PublishedFileError
from ..pickles.files import read_file
from .checkpoint import Checkpoint
from .checkpoints import open_published

__all__ = ["Checkpoint", "PublishedFileError", "open_published", "read_file"]
