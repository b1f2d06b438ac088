"""A bundle is everything that edits photos of one domain, in one folder.

`bundle.json` says what there is, one safetensors file a part holds the weights. Parts are read when they are
first asked for. What is on disk is never executed and is checked before it is used.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor, nn

from ..blueprint import ImpossibleShapes, blueprint, differences, listed
from ..config import from_json, to_json
from ..edits import Edit
from ..encoder import Encoder, EncoderConfig
from ..losses.judge import Judge, JudgeRecord
from ..methods import BASELINES, METHODS, Method
from ..stylegan2 import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig
from ..tensors import finite, read_shapes, read_tensors, write_tensors
from .checks import check_edits, check_sizes, edits_state, fingerprint
from .manifest import FORMAT, MANIFEST, BundleError, Domain, Manifest, PartInfo, read_manifest
from .places import check_target, find_bundle, swap
from .sliders import EditsConfig, Slider

AnyModule = TypeVar("AnyModule", bound=nn.Module)
Device: TypeAlias = torch.device | str

CONFIGS: dict[str, type] = {
    "generator": GeneratorConfig,
    "encoder": EncoderConfig,
    "discriminator": DiscriminatorConfig,
    **{name: method.Config for name, method in METHODS.items()},
    "judge": JudgeRecord,
}
PARTS = [*CONFIGS, "edits"]
POSES, HAIR = "pose", "hair colour"  # the groups of sliders that turn heads, and of those that colour hair


@dataclass
class _Part:
    """Holds one part: its config, and its weights or the file that they are read from."""

    config: Any
    state: Mapping[str, Tensor] | None = None
    file: Path | None = None
    sha256: str | None = None


class Bundle:
    """Holds parts by name, read lazily: `generator`, `encoder`, `discriminator`, `edits`, `judge`, one a method."""

    def __init__(self, name: str, domain: Domain | None = None, origin: str = "", licence: str = "") -> None:
        self.name, self.domain, self.origin, self.licence = name, domain or Domain(), origin, licence
        self.fingerprint = ""
        self._parts: dict[str, _Part] = {}
        self._built: dict[tuple[str, torch.dtype | None, torch.device], nn.Module] = {}

    # ---- what is in it

    def __contains__(self, part: str) -> bool:
        return part in self._parts

    def __iter__(self) -> Iterator[str]:
        return (part for part in PARTS if part in self._parts)

    @property
    def methods(self) -> list[str]:
        """The methods that this bundle can edit with, in the order of METHODS."""
        if "generator" not in self or "encoder" not in self:
            return []
        return [name for name in METHODS if name in self or name == "e4e"]  # e4e has no weights of its own

    @property
    def usual_method(self) -> str:
        """The method that edits photos unless another is named.

        It is e4e: photos are carried along the motion of its renderings, which keep no detail that holds them back.
        """
        if not self.methods:
            raise BundleError(f"bundle {self.name!r} cannot edit photos: it has no encoder")
        return "e4e"

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of each part's file; a part that is in memory alone has none."""
        return {name: part.sha256 for name, part in self._parts.items() if part.sha256 is not None}

    @property
    def _configs(self) -> dict[str, Any]:
        return {name: part.config for name, part in self._parts.items()}

    def config(self, part: str) -> Any:
        return self._part(part).config

    @property
    def resolution(self) -> int:
        return int(self.config("generator").resolution)

    def state(self, part: str, dtype: torch.dtype | None = None, device: Device = "cpu") -> dict[str, Tensor]:
        """The weights of one part alone, as they are stored unless `dtype` is given."""
        found = self._part(part)
        if found.file is not None:
            return read_tensors(found.file, dtype, found.sha256, device)[0]
        state = found.state or {}
        return {k: v.to(device, dtype if v.is_floating_point() else None) for k, v in state.items()}

    def generator(self, dtype: torch.dtype | None = torch.float32, device: Device = "cpu") -> Generator:
        """Gives the generator; `dtype` None keeps the stored precision, which may be a half that is slow on a CPU."""
        built = self._build("generator", Generator, dtype, device)
        built.fingerprint = self.fingerprint
        return built

    def encoder(self, dtype: torch.dtype | None = torch.float32, device: Device = "cpu") -> Encoder:
        return self._build("encoder", Encoder, dtype, device)

    def discriminator(self, dtype: torch.dtype | None = torch.float32, device: Device = "cpu") -> Discriminator:
        return self._build("discriminator", Discriminator, dtype, device)

    def judge(self, dtype: torch.dtype | None = torch.float32, device: Device = "cpu") -> Judge:
        """Gives the network that evaluates. None of the bundle's parts has learned from it."""
        return self._build("judge", lambda record: Judge(record.network, record.report), dtype, device)

    def method(self, name: str, dtype: torch.dtype | None = torch.float32, device: Device = "cpu") -> Method[Any]:
        """A method, or a baseline, on this bundle's generator and encoder, which all methods share."""
        every = METHODS | BASELINES
        if name not in every:
            raise BundleError(f"there is no method {name!r}; methods are {', '.join(every)}")
        if name not in self.methods and not (self.methods and name in BASELINES):
            raise BundleError(f"bundle {self.name!r} has no {name}; it has {', '.join(self.methods) or 'no method'}")
        generator, encoder = self.generator(dtype, device), self.encoder(dtype, device)
        if name not in self:
            return every[name](generator, encoder).eval()
        return self._build(name, lambda config: every[name](generator, encoder, config), dtype, device)

    @property
    def edits(self) -> dict[str, Edit]:
        """The edits by name; none if the bundle has none."""
        if "edits" not in self:
            return {}
        if (file := self._part("edits").file) is not None:
            check_edits(self.config("generator"), str(file), read_shapes(file))
        state = self.state("edits", torch.float32)
        names = dict.fromkeys(key.rpartition("/")[0] for key in state)
        sliders = self.sliders

        def edit(name: str) -> Edit:
            w, s, footprint = (state.get(f"{name}/{axis}") for axis in ("w", "s", "footprint"))
            group = sliders[name].group if name in sliders else ""
            return Edit(name, w, s, self.fingerprint, group == POSES, footprint, group == HAIR)

        return {name: edit(name) for name in names}

    @property
    def sliders(self) -> dict[str, Slider]:
        """Gives the sliders of the edits that are good for one. Edits without a slider can be used by name."""
        return dict(self._edits_config().sliders)

    @property
    def failed_edits(self) -> dict[str, dict[str, Any]]:
        """Gives the reports of edits that were measured and are too poor for a slider."""
        return dict(self._edits_config().failed)

    # ---- putting parts in

    def put(self, part: str, module: nn.Module) -> None:
        """Add or replace a part. The bundle keeps the module's tensors, not a copy."""
        if isinstance(module, Judge) and part == "judge":
            module.check_no_teacher("what is put in as the bundle's judge")
        state = module.own_state() if isinstance(module, Method) else module.state_dict()
        config = JudgeRecord(module.config, module.report) if isinstance(module, Judge) else module.config
        self.put_state(part, config, state)

    def put_state(self, part: str, config: Any, state: Mapping[str, Tensor]) -> None:
        if part not in CONFIGS:
            raise BundleError(f"{part!r} is no part that holds weights; those are {', '.join(CONFIGS)}")
        if part == "generator":
            new = fingerprint(state)
            if "edits" in self and new != self.fingerprint:
                raise BundleError(
                    f"the edits are for generator {self.fingerprint}, not for {new}: put_edits({{}}) first"
                )
            self.fingerprint = new
        self._parts[part] = _Part(config, state)
        alone = part == "judge" or part in METHODS
        stale = (part,) if alone else tuple(CONFIGS)  # methods stand on the generator and the encoder
        self._built = {key: built for key, built in self._built.items() if key[0] not in stale}

    def put_edits(
        self,
        edits: Mapping[str, Edit],
        sliders: Mapping[str, Slider] | None = None,
        failed: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """Replaces the edits, their sliders and their reports. An edit of another generator is refused."""
        config = EditsConfig(dict(sliders or {}), dict(failed or {}))
        if missing := sorted((set(config.sliders) | set(config.failed)) - set(edits)):
            known = ", ".join(edits) or "none"
            raise BundleError(f"there is no edit {missing[0]!r} to have a slider; edits are {known}")
        state = edits_state(edits, self.fingerprint)
        self._parts.pop("edits", None)
        if state:
            check_edits(self.config("generator"), f"bundle {self.name!r}", state)
            self._parts["edits"] = _Part(config, state)

    # ---- on disk

    @classmethod
    def load(cls, path_or_name: str | os.PathLike[str]) -> Bundle:
        """Open a bundle by its folder, or by a name of the user's bundle folder. Reads `bundle.json` alone."""
        folder = find_bundle(path_or_name)
        manifest = read_manifest(folder)
        bundle = cls(manifest.name, manifest.domain, manifest.origin, manifest.licence)
        bundle.fingerprint = manifest.fingerprint
        try:
            for name, info in manifest.parts.items():
                if name not in PARTS:
                    raise ValueError(f"unknown part {name[:80]!r}; a newer GradStyle may know it")
                config: Any = from_json(CONFIGS.get(name, EditsConfig), info.config, f"parts.{name}.config")
                bundle._parts[name] = _Part(config, file=folder / info.file, sha256=info.sha256)
            check_sizes(bundle.config("generator"), bundle._configs.get("encoder"), manifest.resolution)
        except ValueError as error:
            raise BundleError(f"{folder / MANIFEST}: {error}") from error
        return bundle

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype | None = None, overwrite: bool = False) -> Path:
        """Write the folder as a whole or not at all; an existing one is kept unless `overwrite` is set."""
        target = Path(path)
        if "generator" not in self:
            raise BundleError(f"bundle {self.name!r} has no generator to save")
        check_sizes(self.config("generator"), self._configs.get("encoder"), self.resolution)
        check_target(target, overwrite)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            parts = {name: self._write(name, folder, dtype) for name in self}
            about = self.name, self.resolution, self.domain, self.fingerprint, self.origin, self.licence
            Manifest(FORMAT, *about, parts).write(folder)
            folder.chmod(0o755)
            swap(folder, target)
        except ValueError as error:
            raise BundleError(f"{target} is not written: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return target

    # ---- inside

    def _part(self, name: str) -> _Part:
        if name not in self._parts:
            raise BundleError(f"bundle {self.name!r} has no {name}; it has {', '.join(self) or 'nothing'}")
        return self._parts[name]

    def _build(
        self, part: str, make: Callable[[Any], AnyModule], dtype: torch.dtype | None, device: Device
    ) -> AnyModule:
        """Build a module without initialising it, and give it the part's weights."""
        key = part, dtype, torch.device(device)
        if key not in self._built:
            found = self._part(part)
            where = found.file or f"bundle {self.name!r}, {part}"
            try:
                with blueprint():
                    module = make(found.config)
            except ImpossibleShapes as error:
                raise BundleError(f"{where}: no {part} is made as {MANIFEST} says: {error}") from error
            needed = module.own_state() if isinstance(module, Method) else module.state_dict()
            wrong = differences(needed, (found.state or {}) if found.file is None else read_shapes(found.file))
            if wrong:
                raise BundleError(f"{where}: the weights do not fit what {MANIFEST} says; {wrong}")
            module.load_state_dict(self.state(part, dtype, device), strict=False, assign=True)
            self._built[key] = module.eval().requires_grad_(False)
        return cast(AnyModule, self._built[key])

    def _write(self, part: str, folder: Path, dtype: torch.dtype | None) -> PartInfo:
        found, file = self._parts[part], folder / f"{part}.safetensors"
        if found.file is not None and found.sha256 is not None and dtype is None:
            shutil.copyfile(found.file, file)
            return PartInfo(file.name, found.sha256, to_json(found.config))
        state = self.state(part)
        if wrong := [name for name, tensor in state.items() if not finite(tensor)]:
            raise ValueError(f"{part} holds values that are not finite, in {listed('weights', wrong)}")
        return PartInfo(file.name, write_tensors(file, state, dtype=dtype), to_json(found.config))

    def _edits_config(self) -> EditsConfig:
        if "edits" not in self:
            return EditsConfig()
        config: EditsConfig = self._part("edits").config
        if (file := self._part("edits").file) is not None:
            known = {key.rpartition("/")[0] for key in read_shapes(file)}
            if unknown := sorted((set(config.sliders) | set(config.failed)) - known):
                raise BundleError(f"{file}: there is no edit {unknown[0]!r}, of which {MANIFEST} says something")
        return config
