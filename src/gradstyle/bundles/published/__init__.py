"""Readers of checkpoints that others have published. Nothing in a file is ever run."""

from .checkpoints import Published, open_published
from .errors import PublishedFileError
from .files import read_file

__all__ = ["Published", "PublishedFileError", "open_published", "read_file"]
