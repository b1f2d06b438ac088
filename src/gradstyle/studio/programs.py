"""The functions that programs may call, as docs/studio.md describes them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..photos import pixels_in
from .calls import in_line
from .export import room_for
from .handlers import StudioUI
from .session import Session


class ProgramUI(StudioUI):
    """Adds two functions for programs, which belong to no visitor."""

    @in_line
    def function_edit(self, photo: Any, edits: Any, bundle: str, method: str, face: str) -> str:
        """Edits a photo without a session; the upload is deleted when the answer is written."""
        try:
            path, name = self.uploaded(photo)
            session = Session(self.engine, self.sessions.folder, bundle or self.engine.first)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        try:
            self.engine.bundle(session.bundle)
            with self.disk.room(room_for(pixels_in(path))):
                session.open(path, name, needs_face=True)
                session.choose_method(method or session.step.method)
                for number in chosen_faces(face, len(session.faces), session.step.face):
                    session.choose_face(number)
                    session.move(amounts_of(edits))
                return str(session.save(self.disk.place() / f"{session.name}-edited.png"))
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from None
        finally:
            path.unlink(missing_ok=True)
            session.close()

    def function_bundles(self) -> dict[str, Any]:
        return {
            name: {
                "methods": bundle.methods,
                "resolution": bundle.resolution,
                "edits": {edit: [slider.low, slider.high] for edit, slider in self.engine.sliders[name].items()},
            }
            for name, bundle in self.engine.bundles.items()
        }


def amounts_of(edits: Any) -> dict[str, float]:
    if edits is None:
        return {}
    if not isinstance(edits, dict):
        raise ValueError('edits are names and amounts, such as {"smile": 2}')
    return edits


def chosen_faces(wanted: Any, found: int, largest: int) -> list[int]:
    """Faces by what was asked for: the largest, all, or one by its number from left to right."""
    word = str(wanted or "largest").strip()
    if word == "largest":
        return [largest]
    if word == "all":
        return list(range(max(1, found)))
    if not word.isdecimal() or not 1 <= int(word[:9]) <= max(1, found):
        raise ValueError(f"face is largest, all, or a number from 1 to {max(1, found)}, got {word[:80]!r}")
    return [int(word) - 1]
