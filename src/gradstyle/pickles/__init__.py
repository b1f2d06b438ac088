"""Files that anyone may have written, read as data. Nothing in a file is ever run."""
