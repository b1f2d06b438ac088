"""The studio: a web page on which editing a photo feels immediate, and the server behind it.

`serve("faces")` opens it. What a visitor does is a `Session`, which knows nothing of Gradio; the page is thin.
"""

from .engine import Engine
from .limits import Limits
from .server import build, serve
from .session import Session
from .visitors import Sessions

__all__ = ["Engine", "Limits", "Session", "Sessions", "build", "serve"]
