"""StyleGAN2 in plain PyTorch: a generator that can be walked layer by layer, and its discriminator."""

from .codes import Codes
from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Canvas, Generator, GeneratorConfig

__all__ = ["Canvas", "Codes", "Discriminator", "DiscriminatorConfig", "Generator", "GeneratorConfig"]
