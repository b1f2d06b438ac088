"""The edits of a photo as a file, which anyone may have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST_RECIPE = 64 << 10  # bytes
RECIPE_FORMAT = 1


def read_recipe(path: Path) -> dict[str, Any]:
    """A file of edits, which anyone may have written."""
    wrong = f"{path.name} is no file of edits: save one in the studio"
    if path.stat().st_size > LARGEST_RECIPE:
        raise ValueError(wrong)
    try:
        recipe = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError(wrong) from None
    kinds = {"gradstyle": int, "bundle": str, "generator": str, "method": str, "edits": dict}
    if not isinstance(recipe, dict) or any(not isinstance(recipe.get(key), kind) for key, kind in kinds.items()):
        raise ValueError(wrong)
    if recipe["gradstyle"] != RECIPE_FORMAT:
        raise ValueError(
            f"{path.name} is of format {str(recipe['gradstyle'])[:80]}, this reads {RECIPE_FORMAT}: a newer GradStyle"
        )
    return {key: value[:200] if isinstance(value, str) else value for key, value in recipe.items()}
