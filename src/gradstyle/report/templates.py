"""Pages from templates: every text is escaped, and a page's own policy lets no script but its own run."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


def render(template: str, **values: Any) -> str:
    """Fills a template of the package, such as "report/page.html.j2"."""
    return str(_environment().get_template(template).render(**values))


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    environment.globals["asset"] = lambda name: _text(f"report/assets/{name}")
    environment.filters["digest"] = _digest
    return environment


def _text(name: str) -> str:
    return resources.files("gradstyle").joinpath(*name.split("/")).read_text("utf-8")


def _digest(text: str) -> str:
    """Gives the name of a style or a script in a page's policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def data_uri(image: Image.Image, kind: str, **options: int) -> str:
    """Gives a picture as text that a page holds."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
