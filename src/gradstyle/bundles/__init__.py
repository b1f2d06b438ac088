"""Bundles: the format on disk, readers of published checkpoints, and the catalogue of those that can be pulled."""

from .bundle import Bundle
from .manifest import BundleError, Domain
from .sliders import Slider

__all__ = ["Bundle", "BundleError", "Domain", "Slider"]
