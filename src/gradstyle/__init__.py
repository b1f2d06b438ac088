"""GradStyle: edit real photos with GAN inversion.

import gradstyle

editor = gradstyle.load("my-bundle")
inversion = editor.invert(gradstyle.open_photo("me.jpg"))
gradstyle.save_image(editor.render(inversion, {"smile": 2}), "smile.png")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .bundles import Bundle, BundleError, Domain
    from .editor import Editor, EditWarning, load
    from .edits import Edit
    from .methods import METHODS, Inversion, Method
    from .photos import Photo, open_photo, save_image
    from .stylegan2 import Codes, Generator

_HOMES = {
    "bundles": ("Bundle", "BundleError", "Domain"),
    "edits": ("Edit",),
    "editor": ("EditWarning", "Editor", "load"),
    "methods": ("METHODS", "Inversion", "Method"),
    "photos": ("Photo", "open_photo", "save_image"),
    "stylegan2": ("Codes", "Generator"),
}

__all__ = [
    "METHODS",
    "Bundle",
    "BundleError",
    "Codes",
    "Domain",
    "Edit",
    "EditWarning",
    "Editor",
    "Generator",
    "Inversion",
    "Method",
    "Photo",
    "__version__",
    "load",
    "open_photo",
    "save_image",
]


def __getattr__(name: str) -> Any:
    """Import a room when something in it is first asked for, so that `import gradstyle` stays quick."""
    for room, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f".{room}", __name__), name)
    raise AttributeError(f"module 'gradstyle' has no attribute {name!r}")
