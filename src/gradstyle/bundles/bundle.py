"""A bundle: everything that edits photos of one domain, in one folder.

`bundle.json` says what there is, one safetensors file a part holds the weights. Parts are read when they are
first asked for. What is on disk is never executed and is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..edits import Edit
from ..encoder import Encoder, EncoderConfig
from ..methods import METHODS, Method
from ..stylegan2 import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from ..tensors import read_tensors, write_tensors
from .catalog import home
from .config import from_json, to_json

FORMAT = 1
MANIFEST = "bundle.json"


class BundleError(ValueError):
    """A bundle that cannot be used, with the reason and what to do."""


@dataclass(frozen=True)
class Domain:
    """What the photos of a bundle show and how they are brought to a square."""

    name: str = "unknown"
    aspect: tuple[int, int] = (1, 1)  # width : height; photos that are not square are padded and cropped back
    crop: str = "none"  # how faces are cut out before they are edited: ffhq, celeba, or none

    def __post_init__(self) -> None:
        if min(self.aspect) < 1:
            raise ValueError(f"aspect is two positive numbers, got {self.aspect!r}")


@dataclass(frozen=True)
class PartInfo:
    file: str
    sha256: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What `bundle.json` says."""

    format: int
    name: str
    resolution: int
    domain: Domain = Domain()
    fingerprint: str = ""  # of the generator's weights: edits name it
    origin: str = ""
    licence: str = ""
    parts: dict[str, PartInfo] = field(default_factory=dict)


@dataclass
class _Part:
    """One part: what it is, and its weights here or where to read them."""

    config: Any
    state: Mapping[str, Tensor] | None = None
    file: Path | None = None
    sha256: str | None = None


class Bundle:
    """Parts by name, read lazily: `generator`, `encoder`, `discriminator`, `edits`, and one a method."""

    def __init__(self, name: str, domain: Domain | None = None, origin: str = "", licence: str = "") -> None:
        self.name, self.domain, self.origin, self.licence = name, domain or Domain(), origin, licence
        self.fingerprint = ""
        self._parts: dict[str, _Part] = {}
        self._built: dict[tuple[str, torch.dtype | None], nn.Module] = {}

    # ---- what is in it

    def __contains__(self, part: str) -> bool:
        return part in self._parts

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    @property
    def methods(self) -> list[str]:
        """The methods that this bundle can edit with."""
        with_weights = [name for name in METHODS if name in self._parts]
        return (["e4e"] if {"generator", "encoder"} <= set(self._parts) else []) + [
            m for m in with_weights if m != "e4e"
        ]

    def config(self, part: str) -> Any:
        return self._part(part).config

    @property
    def resolution(self) -> int:
        resolution: int = self.config("generator").resolution
        return resolution

    def state(self, part: str, dtype: torch.dtype | None = None) -> Mapping[str, Tensor]:
        """The weights of one part alone."""
        found = self._part(part)
        if found.state is not None:
            return found.state if dtype is None else {k: _cast(v, dtype) for k, v in found.state.items()}
        assert found.file is not None
        return read_tensors(found.file, dtype, found.sha256)[0]

    def generator(self, dtype: torch.dtype | None = torch.float32) -> Generator:
        built = self._build("generator", Generator, dtype)
        assert isinstance(built, Generator)
        built.fingerprint = self.fingerprint
        return built

    def encoder(self, dtype: torch.dtype | None = torch.float32) -> Encoder:
        built = self._build("encoder", Encoder, dtype)
        assert isinstance(built, Encoder)
        return built

    def discriminator(self, dtype: torch.dtype | None = torch.float32) -> Discriminator:
        built = self._build("discriminator", Discriminator, dtype)
        assert isinstance(built, Discriminator)
        return built

    def method(self, name: str, dtype: torch.dtype | None = torch.float32) -> Method[Any]:
        """A method on this bundle's generator and encoder, which all methods share."""
        if name not in METHODS:
            raise BundleError(f"there is no method {name!r}; methods are {', '.join(METHODS)}")
        if name not in self.methods:
            raise BundleError(f"bundle {self.name!r} has no {name}; it has {', '.join(self.methods) or 'no method'}")
        generator, encoder = self.generator(dtype), self.encoder(dtype)
        if name not in self:  # e4e has no weights of its own
            return METHODS[name](generator, encoder, METHODS[name].Config())
        built = self._build(name, lambda config: METHODS[name](generator, encoder, config), dtype)
        assert isinstance(built, Method)
        return built

    @property
    def edits(self) -> dict[str, Edit]:
        """The edits by name; none if the bundle has none."""
        if "edits" not in self._parts:
            return {}
        state = self.state("edits", torch.float32)
        names = dict.fromkeys(key.rpartition("/")[0] for key in state)
        return {n: Edit(n, state.get(f"{n}/w"), state.get(f"{n}/s"), self.fingerprint) for n in names}

    # ---- putting parts in

    def put(self, part: str, module: nn.Module) -> None:
        """Add or replace a part. The bundle keeps the module's tensors, not a copy."""
        state = module.own_state() if isinstance(module, Method) else module.state_dict()
        self.put_state(part, module.config, state)

    def put_state(self, part: str, config: Any, state: Mapping[str, Tensor]) -> None:
        self._kind(part)
        if part == "generator":
            self.fingerprint = fingerprint(state)
        self._parts[part] = _Part(config, state)
        self._built = {key: built for key, built in self._built.items() if key[0] != part}

    def put_edits(self, edits: Mapping[str, Edit]) -> None:
        """Replace the edits. An edit of another generator is refused."""
        state: dict[str, Tensor] = {}
        for name, edit in edits.items():
            if edit.generator and edit.generator != self.fingerprint:
                raise BundleError(
                    f"edit {name!r} is for generator {edit.generator}, this bundle's is {self.fingerprint}"
                )
            state |= {f"{name}/{axis}": v for axis, v in (("w", edit.w), ("s", edit.s)) if v is not None}
        self._parts["edits"] = _Part({}, state)

    # ---- on disk

    @classmethod
    def load(cls, path_or_name: str | os.PathLike[str]) -> Bundle:
        """Open a bundle by its folder, or by a name of the user's bundle folder. Reads `bundle.json` alone."""
        folder = find_bundle(path_or_name)
        manifest = read_manifest(folder)
        bundle = cls(manifest.name, manifest.domain, manifest.origin, manifest.licence)
        bundle.fingerprint = manifest.fingerprint
        for name, info in manifest.parts.items():
            if name != "edits" and name not in METHODS and name not in _KINDS:
                raise BundleError(f"{folder / MANIFEST}: unknown part {name!r}; a newer GradStyle may know it")
            config: Any = {}
            if name != "edits":
                config = _checked(folder, lambda: from_json(_config_type(name), info.config, f"parts.{name}.config"))  # noqa: B023
            bundle._parts[name] = _Part(config, file=folder / info.file, sha256=info.sha256)
        return bundle

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype | None = None, overwrite: bool = False) -> Path:
        """Write the folder as a whole or not at all; an existing one is kept unless `overwrite` is set."""
        target = Path(path)
        if target.exists() and not overwrite:
            raise BundleError(f"{target} exists: choose another name or overwrite it")
        if target.exists() and not (target / MANIFEST).is_file() and any(target.iterdir() if target.is_dir() else [1]):
            raise BundleError(f"{target} is not a bundle and is not replaced")
        if "generator" not in self._parts:
            raise BundleError(f"bundle {self.name!r} has no generator to save")
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            parts = {}
            for name, part in self._parts.items():
                file = folder / f"{name}.safetensors"
                sha256 = part.sha256
                if part.file is not None and dtype is None and sha256 is not None:
                    shutil.copyfile(part.file, file)
                else:
                    sha256 = write_tensors(file, self.state(name), dtype=dtype)
                parts[name] = PartInfo(file.name, sha256, to_json(part.config))
            manifest = Manifest(
                FORMAT, self.name, self.resolution, self.domain, self.fingerprint, self.origin, self.licence, parts
            )
            (folder / MANIFEST).write_text(json.dumps(to_json(manifest), indent=2) + "\n")
            folder.chmod(0o755)
            _swap(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return target

    # ---- inside

    def _part(self, name: str) -> _Part:
        if name not in self._parts:
            raise BundleError(f"bundle {self.name!r} has no {name}; it has {', '.join(self._parts) or 'nothing'}")
        return self._parts[name]

    @staticmethod
    def _kind(part: str) -> None:
        if part not in _KINDS and part not in METHODS:
            raise BundleError(f"there is no part {part!r}; parts are {', '.join([*_KINDS, *METHODS, 'edits'])}")

    def _build(self, part: str, make: Any, dtype: torch.dtype | None) -> nn.Module:
        """Build a module without initialising it, and give it the part's weights."""
        if (part, dtype) in self._built:
            return self._built[part, dtype]
        found = self._part(part)
        with torch.device("meta"):
            module: nn.Module = make(found.config)
        state = self.state(part, dtype)
        where = f"{found.file or self.name}: {part}"
        needed = module.own_state() if isinstance(module, Method) else module.state_dict()
        _compare(where, needed, state)
        module.load_state_dict(dict(state), strict=False, assign=True)
        module.eval().requires_grad_(False)
        self._built[part, dtype] = module
        return module


_KINDS: dict[str, type] = {
    "generator": GeneratorConfig,
    "encoder": EncoderConfig,
    "discriminator": DiscriminatorConfig,
}


def _config_type(part: str) -> type:
    return _KINDS.get(part) or METHODS[part].Config


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _compare(where: str, needed: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    missing = [name for name in needed if name not in state]
    extra = [name for name in state if name not in needed]
    differing = [
        f"{name} is {list(state[name].shape)}, needed {list(needed[name].shape)}"
        for name in needed
        if name in state and state[name].shape != needed[name].shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}"
        for what, names in (("missing", missing), ("unknown", extra), ("of another shape", differing))
        if names
    ]
    if problems:
        raise BundleError(f"{where}: the weights do not fit what bundle.json says; " + "; ".join(problems))


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """A name for a generator's weights, the same at every precision down to float16 and in every naming.

    Noise and the mean code do not count: they do not change what an edit does.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith(".noise") and name != "mean_w":
            digest.update(name.encode())
            digest.update(state[name].detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def find_bundle(path_or_name: str | os.PathLike[str]) -> Path:
    """A bundle's folder by path, or by name under `home()/bundles`."""
    given = Path(path_or_name)
    named = home() / "bundles" / given
    for folder in (given, named) if len(given.parts) == 1 and not given.is_absolute() else (given,):
        if (folder / MANIFEST).is_file():
            return folder
    if given.exists():
        raise BundleError(f"{given} is not a bundle: it has no {MANIFEST}. `gradstyle bundle import` reads checkpoints")
    known = installed()
    raise BundleError(
        f"there is no bundle {str(given)!r}: neither a folder nor one of {', '.join(known) or 'the (no) bundles'} "
        f"in {home() / 'bundles'}"
    )


def installed() -> list[str]:
    """Names of the bundles in the user's folder."""
    folder = home() / "bundles"
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else []


def read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        if path.stat().st_size > 16 << 20:
            raise BundleError(f"{path}: larger than any manifest is")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        version = values.get("format") if isinstance(values, dict) else None
        raise BundleError(
            f"{path}: format {version!r}, this GradStyle reads format {FORMAT}; a newer one may be needed"
        )
    manifest: Manifest = _checked(folder, lambda: from_json(Manifest, values, "bundle"))
    for name, info in manifest.parts.items():
        if Path(info.file).name != info.file or not info.file.endswith(".safetensors") or "\\" in info.file:
            raise BundleError(f"{path}: part {name!r} names the file {info.file!r}, which is not a file of the bundle")
        if (folder / info.file).is_symlink() or not (folder / info.file).is_file():
            raise BundleError(f"{path}: part {name!r} is missing its file {info.file}")
    generator = manifest.parts.get("generator")
    if generator is None or generator.config.get("resolution") != manifest.resolution:
        raise BundleError(f"{path}: a bundle of {manifest.resolution} px needs a generator of that resolution")
    return manifest


def _checked(folder: Path, build: Any) -> Any:
    try:
        return build()
    except ValueError as error:
        raise BundleError(f"{folder / MANIFEST}: {error}") from error


def _swap(new: Path, target: Path) -> None:
    """Put the new folder in the target's place; the old one goes only after the new one is there."""
    if not target.exists():
        new.rename(target)
        return
    old = new.with_name(new.name + ".old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
