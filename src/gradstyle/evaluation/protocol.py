"""What a run is asked to measure: a bundle's methods, photos, networks and choices, and the presets of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..bundles import Bundle
from ..losses.perceptual import Backbone
from ..training.table import Split

File = str | Path
PAPER_EDITS = ("smile", "pose", "yaw")  # edits of the paper's table


@dataclass(frozen=True)
class Protocol:
    """Everything that a figure of a run depends on, and where the run is written."""

    bundle: str
    data: str
    out: Path
    methods: tuple[str, ...] = ()  # all that the bundle has, and the baselines, if none is named
    split: Split | None = None  # the test part of the table beside the photos, if there is one and this is not given
    every_photo: bool = False  # no split, even where there is one
    photos: int | None = 1000  # the first so many
    judge: File | None = None  # the bundle's own part, if not given
    second_judge: File | None = None
    face_network: File | None = None  # a published one
    face_crop: str | None = None  # how the photos show faces, where the bundle does not say
    lpips: File | None = None
    heads: File | None = None
    backbone: Backbone = "alex"
    inception: File | None = None  # the network that defines the FID
    batch: int = 20
    seed: int = 0
    shown: int = 12  # photos of which pictures are kept
    device: str | None = None
    force: bool = False
    command: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)  # what one kind of run alone has


@dataclass(frozen=True)
class Preset:
    """What a named protocol demands, and what it sets unless the person does."""

    resolution: int | None = None
    networks: tuple[str, ...] = ()  # fields of the protocol that must be given
    about_networks: str = ""
    every_photo: bool = False
    face_crop: str | None = None


PresetName = Literal["bundled", "celeba-hq-1000"]
PRESETS: dict[PresetName, Preset] = {
    "bundled": Preset(),
    # The first 1,000 images of CelebA-HQ at 1024 px, by the networks that the paper names.
    "celeba-hq-1000": Preset(
        1024,
        ("face_network", "lpips", "heads"),
        "CurricularFace's file; AlexNet's of torchvision; LPIPS's heads",
        every_photo=True,
        face_crop="ffhq",
    ),
}


def under_preset(protocol: Protocol, name: PresetName) -> Protocol:
    """Checks that a protocol is what a preset demands, and fills in what the preset sets."""
    preset = PRESETS[name]
    if preset.resolution:
        resolution = Bundle.load(protocol.bundle).resolution
        if resolution != preset.resolution:
            raise ValueError(
                f"--preset {name} is for generators of {preset.resolution} px, this bundle has {resolution} px"
            )
    if missing := [network for network in preset.networks if getattr(protocol, network) is None]:
        options = ", ".join("--" + network.replace("_", "-") for network in missing)
        raise ValueError(f"--preset {name} measures as the paper does: give {options} ({preset.about_networks})")
    return replace(
        protocol,
        every_photo=protocol.every_photo or (preset.every_photo and protocol.split is None),
        face_crop=protocol.face_crop or preset.face_crop,
    )


def edit_names(bundle: Bundle, wanted: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Names the edits to measure: those that are wanted, all sliders for `all`, else the usual ones."""
    edits = bundle.edits
    if not edits:
        raise ValueError(f"bundle {bundle.name!r} has no edits; `gradstyle directions` finds some")
    if list(wanted) == ["all"]:
        return list(bundle.sliders or edits)
    if missing := [name for name in wanted if name not in edits]:
        raise ValueError(f"bundle {bundle.name!r} has no edit {missing[0]!r}; it has {', '.join(edits)}")
    return list(wanted or usual)
