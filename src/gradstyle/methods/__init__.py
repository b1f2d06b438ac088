"""The methods, by the names that users type. A new method is one new file and one line here."""

from typing import Any

from .baselines import Carried, Paste
from .e4e import E4E
from .gradmove import GradMove
from .gradstyle import GradStyle
from .hfgi import HFGI
from .method import Inversion, Losses, Method, TrainingContext
from .sdic import SDIC
from .styleres import StyleRes

METHODS: dict[str, type[Method[Any]]] = {m.name: m for m in (GradMove, GradStyle, StyleRes, SDIC, HFGI, E4E)}
# What methods are measured against and nobody is offered. They have no weights: every bundle with an encoder has them.
BASELINES: dict[str, type[Method[Any]]] = {m.name: m for m in (Paste, Carried)}

__all__ = [
    "BASELINES",
    "E4E",
    "HFGI",
    "METHODS",
    "SDIC",
    "GradMove",
    "GradStyle",
    "Inversion",
    "Losses",
    "Method",
    "StyleRes",
    "TrainingContext",
]
