from __future__ import annotations


class PublishedFileError(ValueError):
    """A file that cannot be read; the message names the file and the cause."""


class Refused(ValueError):
    """The cause alone, from inside a reader that does not know the file's name."""
