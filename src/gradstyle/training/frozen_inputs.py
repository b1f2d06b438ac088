"""What trainings need that stand on a bundle: its frozen networks, and the networks that losses compare with."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..bundles import Bundle, BundleError
from ..bundles.checks import fingerprint
from ..edits import Edit
from ..encoder.e4e import fit
from ..files import file_sha256
from ..losses import LPIPS, FeatureDistance, IdentityLoss, Judge, KerasVGGLoss, Teacher
from ..losses.frozen import Frozen
from ..methods.method import Compare, Method
from ..rng import stream
from ..stylegan2 import Discriminator, Generator
from .gradient_steps import by_groups, place
from .trainable import Setup

log = logging.getLogger(__name__)

LOSS_FILES = ("teacher", "features", "perceptual", "heads", "identity")  # inputs that hold a network to compare with
EDIT_LENGTH = 0.7  # of a preview's edit: the part of the way from the mean code to a random one


def open_bundle(setup: Setup[Any]) -> Bundle:
    """The bundle that a training stands on, which must frame photos as the training does."""
    if "bundle" not in setup.inputs:
        raise ValueError("this training stands on a bundle: give --bundle FOLDER")
    bundle, data = Bundle.load(setup.inputs["bundle"]), setup.recipe.data
    if bundle.domain.aspect != data.aspect:
        raise ValueError(f"{setup.inputs['bundle']} is for photos {bundle.domain.aspect}, data.aspect is {data.aspect}")
    return bundle


def mean_code(generator: Generator) -> Tensor:
    """The generator's own, or the mean of what its mapping network gives."""
    if bool(generator.mean_w.any()) or not generator.config.mapping_layers:
        return generator.mean_w
    return generator.estimated_mean()


def random_edit(generator: Generator) -> Edit | None:
    """One fixed direction for previews; none where the generator came without its mapping network."""
    if not generator.config.mapping_layers:
        return None
    z = torch.randn(1, generator.config.z_dim, generator=stream("preview edit"))
    return Edit("random", EDIT_LENGTH * (generator.map(z) - mean_code(generator)))


def copied(bundle: Bundle, name: str, parts: Iterable[str], trained: str) -> Bundle:
    """A bundle with some of another's parts, and its edits with all that was found out about them."""
    origin = "; ".join(filter(None, [bundle.origin, f"{trained} trained with gradstyle train {trained}"]))
    copy = Bundle(name, bundle.domain, origin, bundle.licence)
    for part in parts:
        if part in bundle and part != "edits":
            copy.put_state(part, bundle.config(part), bundle.state(part))
    copy.put_edits(bundle.edits, bundle.sliders, bundle.failed_edits)
    return copy


# ---- what trainings begin with


def weights_of(start: str) -> Bundle:
    """A bundle, by folder or name, or what a published file holds."""
    path = Path(start)
    if path.is_dir() or not path.exists():
        return Bundle.load(path)
    from ..bundles.build import build

    return build(path.stem, [path])[0]


def begin_with(bundle: Bundle, start: str, **modules: nn.Module) -> None:
    """Put the parts of --start into modules of the same shapes."""
    for part in modules:
        if part not in bundle:
            raise BundleError(f"{start} holds no {part} to begin with; it has {', '.join(bundle)}")
    for part, module in modules.items():
        weights = bundle.state(part, torch.float32)
        own = module.own_state() if isinstance(module, Method) else module.state_dict()
        if {key: value.shape for key, value in weights.items()} != {key: value.shape for key, value in own.items()}:
            has, wanted = asdict(bundle.config(part)), asdict(module.config)  # type: ignore[call-overload]
            other = ", ".join(
                f"{key} {has[key]!r} (recipe: {wanted[key]!r})" for key in wanted if has[key] != wanted[key]
            )
            raise ValueError(f"the {part} of {start} is not the recipe's: {other}. Match it by --set")
        if isinstance(module, Method):
            module.load_own(weights)
        else:
            module.load_state_dict(weights)


class Standing:
    """Names the frozen networks of a run, and the files of those that its losses compare with, so that it never
    goes on with others."""

    def __init__(self, inputs: Mapping[str, str] | None = None, **parts: nn.Module) -> None:
        self.files = {f"--{name}": file for name, file in (inputs or {}).items() if name in LOSS_FILES}
        self.names = {name: fingerprint(part.state_dict()) for name, part in parts.items()}
        self.names |= {name: file_sha256(Path(file)) for name, file in self.files.items()}

    def check(self, before: Mapping[str, str]) -> None:
        for name, now in self.names.items():
            if before.get(name) == now:
                continue
            if name not in self.files:
                raise ValueError(f"the bundle's {name} is not the one that this run began on: start a new run on it")
            if name in before:
                raise ValueError(
                    f"{name} {self.files[name]} is not the file that this run began with, and its losses would be "
                    "others: give that file, or start a new run"
                )


# ---- what losses compare with


@dataclass(frozen=True)
class LossesRecipe:
    """Which published networks the files given by --perceptual and --identity hold."""

    perceptual: Literal["alex", "vgg", "keras-vgg"] = "alex"
    face_crop: bool = True  # ArcFace sees the middle of an aligned portrait


class NoDistance(Frozen):
    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        return images.new_zeros(())


def open_losses(
    inputs: Mapping[str, str], recipe: LossesRecipe, device: torch.device, bundle: Bundle | None = None
) -> tuple[Compare, Compare]:
    """Perceptual and identity distances: of published files where they are given, else of the teacher.

    Without either, the maps of the bundle's discriminator are compared, which knows the domain without labels.
    """
    perceptual: nn.Module | None = None
    identity: nn.Module | None = None
    if teacher := inputs.get("teacher"):
        network = Teacher(Judge.open(teacher))
        perceptual, identity = FeatureDistance(network), IdentityLoss(network.embed, crop=None)
        identity.network = network  # or it would not move to the device
    if file := inputs.get("perceptual"):
        perceptual = _perceptual(recipe.perceptual, file, inputs.get("heads"))
    if file := inputs.get("identity"):
        identity = _identity(file, recipe.face_crop)
    if perceptual is None and bundle is not None and "discriminator" in bundle:
        _tell_once("no network for the perceptual term: the maps of the bundle's discriminator are compared")
        perceptual = FeatureDistance(DiscriminatorFeatures(_discriminator(bundle)))
    missing = [name for name, network in (("perceptual", perceptual), ("identity", identity)) if network is None]
    if missing:
        _tell_once(
            f"no network for the {' and the '.join(missing)} term, which is left out: where there are labels, "
            "train one with `gradstyle train teacher` and give --teacher FILE, or give published weights"
        )
    perceptual, identity = perceptual or NoDistance(), identity or NoDistance()
    for each in (perceptual, identity):
        place(each, device)
    return perceptual, identity


@functools.cache
def _tell_once(text: str) -> None:
    log.warning(text)


def _perceptual(network: Literal["alex", "vgg", "keras-vgg"], file: str, heads: str | None) -> nn.Module:
    if network == "keras-vgg":
        return KerasVGGLoss.open(file)
    if heads is None:
        raise ValueError(f"LPIPS on {network} needs its linear heads beside {file}: give --heads FILE")
    return LPIPS.open(network, file, heads)


def _identity(file: str, crop: bool) -> IdentityLoss:
    from ..published import open_published

    network = open_published(Path(file)).network
    if network is None:
        raise ValueError(f"{file} holds no face network")
    made = IdentityLoss(network) if crop else IdentityLoss(network, crop=None)
    return made.freeze()


# ---- the discriminator


class DiscriminatorFeatures(nn.Module):
    """What a discriminator sees in pictures of any size."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def features(self, images: Tensor) -> list[Tensor]:
        return self.discriminator.features(fit(images, self.discriminator.config.resolution))


class GroupedDiscriminator(nn.Module):
    """A discriminator whose minibatch deviation is that of consecutive rows, so that a batch dealt out to
    processes has the groups of the joined one; pictures of another size are brought to its own."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator, self.config = discriminator, discriminator.config

    def forward(self, images: Tensor) -> Tensor:
        images, group = fit(images, self.config.resolution), self.config.group
        if len(images) % group:
            raise ValueError(
                f"{len(images)} pictures at a time are no multiple of the discriminator's group of {group}: "
                "change loop.batch or loop.parts"
            )
        return by_groups(self.discriminator, images, group)


def open_discriminator(bundle: Bundle, inputs: Mapping[str, str]) -> GroupedDiscriminator:
    """The bundle's own, or that of another bundle or a published file."""
    source, name = bundle, inputs.get("bundle", bundle.name)
    if file := inputs.get("discriminator"):
        source, name = weights_of(file), file
    if "discriminator" not in source:
        raise BundleError(
            f"{name} has no discriminator, against which this method learns: "
            "give --discriminator FILE, or set the weight of the adversarial term to 0"
        )
    return GroupedDiscriminator(_discriminator(source))


def _discriminator(bundle: Bundle) -> Discriminator:
    """One of its own, which may learn or not."""
    made = Discriminator(bundle.config("discriminator"))
    made.load_state_dict(bundle.state("discriminator", torch.float32))
    return made
