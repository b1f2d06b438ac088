"""Being here puts this folder on the import path, so that any test may `from interop import filled`."""
