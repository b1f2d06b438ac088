"""Bundles: the format on disk, readers of published checkpoints, and the catalogue of those that can be pulled."""

from .bundle import Bundle, BundleError, Domain

__all__ = ["Bundle", "BundleError", "Domain"]
