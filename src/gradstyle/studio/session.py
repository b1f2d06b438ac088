"""Holds what one visitor does: a photo, its faces, edits of each, and the steps back. It knows no page or server.

Longer than 300 lines: the photo, the steps and the pictures of one visitor share one lock.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..bundles import Slider
from ..methods import Inversion
from ..photos import Carrier, Carry, Photo, open_photo, put, remark
from ..photos.align import Aligned, Frame, align
from ..photos.faces import Face, find_faces
from ..photos.portraits import ASTRONAUT
from .engine import Engine
from .pictures import SCREEN, THUMB, VIEW, plain_name, reduced, uri
from .recipe import RECIPE_FORMAT, read_recipe

V = TypeVar("V")
Amounts = Mapping[str, float]

MOST_FACES = 20
MOST_STEPS = 60  # that one can go back
SHOWN_STEPS = 12
ONE_MOVE = 1.0  # seconds: moves of the same slider that follow faster are one step
LARGEST_AMOUNT = 1e9  # beyond what any slider says, and within what is a float


@dataclass(frozen=True)
class Step:
    """Holds one state of the edits: all that the picture follows from."""

    label: str
    method: str
    face: int = 0
    amounts: Mapping[int, Amounts] = field(default_factory=dict)  # by face, only those that are not 0
    moved: str = ""  # the slider that led here
    when: float = 0.0

    @property
    def here(self) -> Amounts:
        """The amounts of the chosen face."""
        return self.amounts.get(self.face, {})


@dataclass(frozen=True, eq=False)
class Cut:
    """Holds one face of a photo at three sizes: as the network sees it, on the page's picture, and close up."""

    aligned: Aligned  # of the photo itself
    on_screen: Aligned  # of the photo as the page shows it
    view: Photo  # the crop as the page shows it, without bars
    frame: Frame  # of the crop within the view


class Session:
    """Serves one visitor with one photo at a time. It is safe in several threads; the newest move wins."""

    def __init__(self, engine: Engine, folder: Path, bundle: str = "") -> None:
        self.id = secrets.token_hex(16)
        self.engine, self.folder = engine, folder / self.id
        self.bundle = bundle or engine.first
        self.touch()
        self.name, self.serial, self.note = "", 0, ""
        self.pixels = 0  # of the photo at its full size, where it is read from a file
        self.seeds, self.stopped = 0, False  # generated faces that were passed over; a batch that is to stop
        self._kind = ".jpg"
        self.steps: list[Step] = []
        self.at = 0
        self._file: Path | None = None
        self._seed: tuple[str, int] | None = None
        self._newest = 0
        self._lock = threading.RLock()
        self._work = threading.Lock()  # of two pictures asked for at once, the older waits for nothing

    def touch(self) -> None:
        """Notes that the visitor is active."""
        self.used, self.resting = time.monotonic(), False

    def rest(self) -> None:
        """Drops what can be made again when the visitor has left; the photo's file and the steps stay."""
        self.resting = True
        self.engine.shelf.drop(self.id)

    # ---- the photo

    def open(self, path: Path, name: str = "", needs_face: bool = False) -> None:
        """Take a picture file over: it is read, and moved into the session's own folder; one that is none stays."""
        try:
            photo = open_photo(path)
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), name or path.name)) from None
        except OSError as error:
            raise ValueError(f"{name or path.name}: {error.strerror}") from None
        kept = path
        if path != ASTRONAUT:
            kept = self.folder / secrets.token_hex(8)
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.move(path, kept)
        self._take(plain_name(name or path.name), kept, None)
        self.pixels, self._kind = photo.size[0] * photo.size[1], Path(name or path.name).suffix[:8].lower()
        self._keep("photo", lambda: photo)
        faces, crop = self.faces, self.engine.bundle(self.bundle).domain.crop
        self.steps = [replace(self.step, face=max(range(len(faces)), key=lambda k: faces[k].size, default=0))]
        if crop != "none" and not faces and not self.note:
            if needs_face:
                raise ValueError(f"{name or path.name}: no face is found in it")
            self.note = "No face was found, so the whole picture is taken as one."
        elif len(faces) > 1:
            self.note = f"{len(faces)} faces were found: choose one under the picture."

    def open_portrait(self) -> None:
        """Start from the portrait that comes with the package."""
        self.open(ASTRONAUT)

    def open_generated(self, seed: int) -> None:
        """Start from a face that nobody has."""
        if not 0 <= seed < 2**31:
            raise ValueError(f"a seed is a number from 0 to 2147483647, got {seed!r}")
        self._take(f"generated-{seed}", None, (self.bundle, seed))

    def _take(self, name: str, file: Path | None, seed: tuple[str, int] | None) -> None:
        with self._work, self._lock:
            old, self._file, self._seed, self.pixels = self._file, file, seed, 0
            self.name, self.note, self.serial = name, "", self.serial + 1
            method = self.step.method if self.steps else self.engine.bundle(self.bundle).usual_method
            self.steps, self.at = [Step("original", method)], 0
            self._newest += 1
            self.engine.shelf.drop(self.id)
        if old is not None and old != ASTRONAUT:
            old.unlink(missing_ok=True)

    def close(self) -> None:
        """Drops everything, in memory and on the disk."""
        with self._work, self._lock:
            self._newest += 1
            self.steps, self.at, self._file, self._seed = [], 0, None, None
            self.engine.shelf.drop(self.id)
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def photo(self) -> Photo:
        """The photo at full size, read again if there was no room to keep it."""
        file, seed = self._file, self._seed
        if seed is not None:
            return self._keep("photo", lambda: self.engine.generate(*seed))
        if file is None:
            raise ValueError("there is no photo yet: drop one, or pick a generated face")
        return self._keep("photo", lambda: open_photo(file))

    @property
    def own(self) -> bool:
        """Whether the visitor brought the photo."""
        return self._file not in (None, ASTRONAUT)

    @property
    def screen(self) -> Photo:
        """The photo as the page shows it."""
        return self._keep("screen", lambda: reduced(self.photo, SCREEN))

    @property
    def faces(self) -> list[Face]:
        """The faces found on the screen's photo, from left to right; none where the photo is itself the crop."""
        if self._seed is not None or self.engine.bundle(self.bundle).domain.crop == "none":
            return []
        return self._keep("faces", self._find_faces)

    def _find_faces(self) -> list[Face]:
        found = find_faces(self.screen.pixels, thorough=True)[:MOST_FACES]
        return sorted(found, key=lambda face: face.box[0] + face.box[2])

    def cut(self, face: int) -> Cut:
        return self._keep("cut", lambda: self._cut(face), self.bundle, face)

    def _cut(self, face: int) -> Cut:
        domain, faces = self.engine.bundle(self.bundle).domain, self.faces
        small = faces[face] if faces else None
        scale = self.photo.size[0] / self.screen.size[0]
        large = small and small.scaled(scale)
        side = self.engine.crop_side(self.bundle)
        close = align(self.photo, large, domain, max(VIEW, side))
        rows, columns = (range(close.side)[part] for part in close.inside)
        return Cut(
            align(self.photo, large, domain, side),
            align(self.screen, small, domain, side),
            Photo(np.ascontiguousarray(close.pixels[close.inside])),
            _square(columns.start, rows.start, close.side),
        )

    # ---- steps

    @property
    def step(self) -> Step:
        if not self.steps:
            raise ValueError("there is no photo yet: drop one, or pick a generated face")
        return self.steps[self.at]

    def move(self, amounts: Amounts, now: float | None = None) -> int:
        """Set the sliders of the chosen face. Gives a ticket: `shown` with an older one shows nothing."""
        now = time.monotonic() if now is None else now
        with self._lock:
            step, wanted = self.step, self.checked(amounts)
            changed = [name for name in {**step.here, **wanted} if step.here.get(name, 0) != wanted.get(name, 0)]
            if changed:
                moved = changed[0] if len(changed) == 1 else ""
                label = f"{moved} {wanted.get(moved, 0):+.3g}" if moved else ("original" if not wanted else "edit")
                others = {face: kept for face, kept in step.amounts.items() if face != step.face}
                every = {**others, step.face: wanted} if wanted else others
                new = replace(step, label=label, amounts=every, moved=moved, when=now)
                self._add(new, instead=bool(moved) and step.moved == moved and now - step.when < ONE_MOVE)
            self._newest += 1
            return self._newest

    def checked(self, amounts: Amounts) -> dict[str, float]:
        """Amounts that the bundle's edits can have: names it knows, within what each slider allows, zeros left out."""
        sliders, editor = self.sliders, self.engine.editor(self.bundle, self.step.method)
        edits = editor.edits
        wanted: dict[str, float] = {}
        for name, amount in amounts.items():
            if name not in edits:
                raise ValueError(f"bundle {self.bundle!r} has no edit {str(name)[:80]!r}; it has {', '.join(edits)}")
            if not isinstance(amount, int | float) or not abs(amount) < LARGEST_AMOUNT:
                raise ValueError(f"the amount of {name!r} is a number, got {str(amount)[:80]!r}")
            amount = sliders[name].clamp(float(amount)) if name in sliders else min(max(float(amount), -10.0), 10.0)
            if amount:
                if why := editor.refusal(name):
                    raise ValueError(why)
                wanted[name] = amount
        return wanted

    def choose_face(self, face: int) -> None:
        if not 0 <= face < max(1, len(self.faces)):
            raise ValueError(f"{len(self.faces)} faces were found, there is no number {face + 1}")
        self._go_on(label=f"face {face + 1}", face=face)

    def choose_method(self, method: str) -> None:
        self.engine.editor(self.bundle, method)
        if method != self.step.method:
            self._go_on(label=method, method=method)

    def choose_bundle(self, bundle: str) -> None:
        """Changes the bundle: the photo stays, its edits do not."""
        other, same = self.engine.bundle(bundle), self.bundle == bundle
        with self._work, self._lock:
            method = self.step.method if self.step.method in other.methods else other.usual_method
            self.bundle = bundle
            if not same:
                if self._seed is not None:
                    self._seed = (bundle, self._seed[1])
                self.engine.shelf.drop(self.id)
                self.serial += 1
                self.steps, self.at = [Step("original", method)], 0
                self._newest += 1

    def reset(self) -> None:
        """No edits of any face; one can go back to them."""
        if self.step.amounts:
            self._go_on(label="reset", amounts={})

    def undo(self) -> None:
        self.go(max(self.at - 1, 0))

    def redo(self) -> None:
        self.go(min(self.at + 1, len(self.steps) - 1))

    def go(self, number: int) -> None:
        """Goes to one of the steps."""
        with self._lock:
            if not 0 <= number < len(self.steps):
                raise ValueError(f"there are {len(self.steps)} steps, there is no number {number + 1}")
            self.at = number
            self._newest += 1

    def _go_on(self, **changes: Any) -> None:
        with self._lock:
            self._add(replace(self.step, moved="", **changes))
            self._newest += 1

    def _add(self, step: Step, instead: bool = False) -> None:
        keep = self.steps[: self.at + (0 if instead and self.at else 1)]
        self.steps = [*keep, step][-MOST_STEPS:]
        self.at = len(self.steps) - 1

    # ---- pictures

    @property
    def sliders(self) -> dict[str, Slider]:
        return self.engine.sliders[self.bundle]

    def shown(self, ticket: int | None = None) -> dict[str, Any] | None:
        """What the page shows of the present step; None if a newer move was made meanwhile."""
        with self._work:
            self.touch()
            with self._lock:
                if ticket is not None and ticket < self._newest:
                    return None
                step, at, serial = self.step, self.at, self.serial
            change = self._change(step, step.face)
            cut = self.cut(step.face)
            face, whole = _drawn(cut, change), self._whole(step)
            thumb, remarks = self._thumb(step, face), self._remarks(step, whole)
            with self._lock:
                if serial != self.serial:
                    return None
                first = max(0, min(at - SHOWN_STEPS // 2, len(self.steps) - SHOWN_STEPS))
                strip = [
                    {"number": number, "label": each.label, "thumb": thumb if each is step else self._thumb(each)}
                    for number, each in enumerate(self.steps[first : first + SHOWN_STEPS], first)
                ]
                return {
                    "photo": serial,
                    "face": step.face,
                    "after": uri(face, cut.view.size[0], quality=93),
                    "whole": uri(whole),
                    "says": says(step.here),
                    "remark": remarks,
                    "method": step.method,
                    "steps": strip,
                    "at": at,
                    "undo": at > 0,
                    "redo": at < len(self.steps) - 1,
                    "reset": bool(step.amounts),
                }

    def before(self) -> dict[str, Any]:
        """What the page shows of the photo itself."""
        step, cut = self.step, self.cut(self.step.face)
        width, height = self.photo.size
        return {
            "photo": self.serial,
            "face": step.face,
            "name": self.name,
            "size": f"{width} × {height}",
            "before": uri(cut.view, cut.view.size[0], quality=93),
            "whole": uri(self.screen),
            "faces": [uri(self.cut(number).view, THUMB) for number in range(len(self.faces))],
        }

    def compare(self) -> list[dict[str, Any]]:
        """Every method's own picture of the crop, without edits and with them; as the network draws them."""
        step, cut = self.step, self.cut(self.step.face)
        rows: list[dict[str, Any]] = []
        for method in self.engine.bundle(self.bundle).methods:
            start = time.perf_counter()
            inversion = self._inversion(method, step.face)
            inverted = time.perf_counter()
            plain, edited = self.engine.render(self.bundle, method, inversion, [{}, step.here])
            took = time.perf_counter() - inverted
            rows.append(
                {
                    "method": method,
                    "plain": uri(plain, VIEW),
                    "edited": uri(edited, VIEW),
                    "error": _psnr(plain, cut.aligned),
                    "invert": inverted - start,
                    "render": took / 2,
                }
            )
        return rows

    def save(self, to: Path) -> Path:
        """The whole photo at full size with all edits of all faces in it."""
        step = self.step
        pixels = self.photo.pixels
        for face in step.amounts:
            if (change := self._change(step, face)) is not None:
                pixels = put(pixels, self.cut(face).aligned.frame, change)
        to.parent.mkdir(parents=True, exist_ok=True)
        edited = "; ".join(says(amounts) for amounts in step.amounts.values() if amounts)
        replace(self.photo, pixels=pixels, edited=f"{edited} ({step.method}, {self.bundle})" if edited else "").save(to)
        return to

    @property
    def remarks(self) -> str:
        """Says how the edits of all faces went; nothing, if they went well."""
        return self._remarks(self.step)

    def _remarks(self, step: Step, whole: Photo | None = None) -> str:
        """Looks at the photo as the page shows it, which tells as much of a face as the photo itself."""
        if not step.amounts:
            return ""

        def looked() -> str:
            before, after = self.screen.pixels, (whole or self._whole(step)).pixels
            lines = []
            for face, amounts in step.amounts.items():
                line = remark(says(amounts), self._change(step, face), before, after, self.cut(face).on_screen)
                lines += [f"face {face + 1}: {line}" if line and len(self.faces) > 1 else line]
            return "; ".join(filter(None, lines))

        key = tuple((face, *sorted(amounts.items())) for face, amounts in step.amounts.items())
        return self._keep("remarks", lambda: self.engine.alone(looked), self.bundle, step.method, *key)

    def frames(self, name: str, count: int, side: int) -> list[Photo]:
        """The face close up, with one edit swept over its range and all others as they are."""
        if not isinstance(name, str) or name not in self.sliders:
            raise ValueError(f"there is no slider {str(name)[:80]!r}; there are {', '.join(self.sliders)}")
        step, slider = self.step, self.sliders[name]
        drawn: list[Photo] = []
        for amount in np.linspace(slider.low, slider.high, count).tolist():
            swept = replace(step, amounts={**step.amounts, step.face: {**step.here, name: amount}})
            drawn.append(reduced(_drawn(self.cut(step.face), self._change(swept, step.face)), side))
        return drawn

    def _whole(self, step: Step) -> Photo:
        pixels = self.screen.pixels
        for face in step.amounts:
            if (change := self._change(step, face)) is not None:
                pixels = put(pixels, self.cut(face).on_screen.frame, change)
        return Photo(pixels)

    def _change(self, step: Step, face: int) -> Carry | None:
        """What a step does to a face."""
        amounts = {name: amount for name, amount in step.amounts.get(face, {}).items() if amount}
        if not amounts:
            return None
        key = (step.method, face, tuple(sorted(amounts.items())))

        def changed() -> Carry | None:
            return self.engine.alone(lambda: self._changed(step.method, face, amounts))

        return self._keep("change", changed, self.bundle, *key)

    def _changed(self, method: str, face: int, amounts: Amounts) -> Carry | None:
        inversion, crop = self._inversion(method, face), self.cut(face).on_screen

        def ready() -> Carrier:
            return self.engine.carrier(self.bundle, method, self.screen, crop, inversion)

        carrier = self._keep("carrier", ready, self.bundle, method, face)
        return self.engine.carry(self.bundle, method, carrier, inversion, amounts)

    def _inversion(self, method: str, face: int) -> Inversion:
        image = self.cut(face).aligned.image
        return self._keep(
            "inversion", lambda: self.engine.invert(self.bundle, method, image), self.bundle, method, face
        )

    def _thumb(self, step: Step, face: Photo | None = None) -> str:
        key = (step.method, step.face, tuple(sorted(step.here.items())))
        return self._keep(
            "thumb",
            lambda: uri(face or _drawn(self.cut(step.face), self._change(step, step.face)), THUMB),
            self.bundle,
            *key,
        )

    def _keep(self, what: str, make: Callable[[], V], *key: Any) -> V:
        return self.engine.shelf.get((self.id, self.serial, what, *key), make)

    # ---- the edit as a file, as a command, as Python

    def recipe(self) -> dict[str, Any]:
        """The edits of the chosen face, with the generator that they belong to."""
        opened = self.engine.bundle(self.bundle)
        return {
            "gradstyle": RECIPE_FORMAT,
            "bundle": self.bundle,
            "generator": opened.fingerprint,
            "method": self.step.method,
            "edits": dict(self.step.here),
        }

    def load_recipe(self, path: Path) -> int:
        """Loads edits that were saved. Those of another generator are refused."""
        recipe = read_recipe(path)
        opened = self.engine.bundle(self.bundle)
        if recipe["generator"] != opened.fingerprint:
            raise ValueError(
                f"these edits are for generator {recipe['generator']} (bundle {recipe['bundle']!r}), "
                f"this is {opened.fingerprint} (bundle {self.bundle!r}): choose that bundle first"
            )
        wanted = self.checked(recipe["edits"])
        if recipe["method"] in opened.methods:
            self.choose_method(recipe["method"])
        return self.move(wanted)

    def command(self) -> str:
        """The command line that makes the same picture."""
        step = self.step
        words = ["gradstyle", "edit", self._file_name(), "--bundle", self.bundle, "--method", step.method]
        words += [word for name, amount in step.here.items() for word in ("--edit", f"{name}={amount:.4g}")]
        return shlex.join(words + (["--face", str(step.face + 1)] if len(self.faces) > 1 else []))

    def python(self) -> str:
        """Python that makes the same picture."""
        step = self.step
        edits = ", ".join(f"{name!r}: {amount:.4g}" for name, amount in step.here.items())
        face = f", face={step.face + 1}" if len(self.faces) > 1 else ""
        return (
            "import gradstyle\n\n"
            f"editor = gradstyle.load({self.bundle!r}, method={step.method!r})\n"
            f"photo = gradstyle.open_photo({self._file_name()!r})\n"
            f"editor.edit(photo, {{{edits}}}{face}).save({self.name + '-edited.png'!r})\n"
        )

    def _file_name(self) -> str:
        return f"{self.name}.png" if self._file is None else f"{self.name}{self._kind}"


def says(amounts: Amounts) -> str:
    """Edits as a person reads them."""
    return ", ".join(f"{name} {amount:+.3g}" for name, amount in amounts.items() if amount) or "no edits"


def _drawn(cut: Cut, change: Carry | None) -> Photo:
    return cut.view if change is None else Photo(put(cut.view.pixels, cut.frame, change))


def _square(left: float, top: float, side: float) -> Frame:
    """The frame of a crop within a part of itself that starts at `left` and `top`."""
    return Frame(np.array([-0.5 - left, -0.5 - top]), np.array([side, 0.0]), np.array([0.0, side]))


def _psnr(plain: Tensor, aligned: Aligned) -> float:
    photo = torch.nn.functional.interpolate(aligned.image, size=plain.shape[-2:], mode="area")[0]
    return float(10 * torch.log10(4 / (plain - photo).square().mean().clamp(min=1e-10)))
