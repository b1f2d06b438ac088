"""The networks of a run that look at pictures: each sees each picture once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..bundles import Bundle
from ..losses.inception import Inception
from ..losses.judge import Judge
from ..losses.perceptual import LPIPS, unit
from ..losses.teacher import folded
from ..metrics import similarity
from ..metrics.identity import DlibIdentity, FaceIdentity, Identity
from ..metrics.values import Metric
from .protocol import Protocol

INCEPTION = "#inception"  # after a condition: the set's vectors in that network, not in the judge
FIRST, SECOND = "judge", "judge2"  # in the names of what a judge and a second one measure
EMBEDDING, DISCREPANCY = "in the judge's embedding", "squared maximum mean discrepancy, cubic kernel"
JUDGE_SETS = (
    Metric(f"{FIRST}_frechet", "Fréchet distance (judge features)", "lower", f"of the two sets, {EMBEDDING}; not FID"),
    Metric(f"{FIRST}_kernel", "Kernel distance (judge features)", "lower", f"{DISCREPANCY}, {EMBEDDING}; not KID"),
)
INCEPTION_SETS = (
    Metric("fid", "FID", "lower", "in the Inception network that defines it; depends on how many pictures there are"),
    Metric("kid", "KID", "lower", "in the same features, over all pairs"),
)
Maps = tuple[Tensor, ...]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Features:
    """Pictures, and what each network makes of them; a network that is not there has nothing."""

    images: Tensor  # [N, 3, H, W], rounded to 8 bits
    vectors: Maps  # one an identity network
    maps: tuple[Maps, ...]  # one list of unit maps a judge
    embeddings: Maps  # one a judge, [N, D]
    logits: Maps  # one a judge, [N, attributes]
    lpips: Maps = ()
    inception: Maps = ()  # [N, 2048]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Features:
        """One picture alone."""
        return Features(*(_row(field, index) for field in vars(self).values()))

    def sets(self, condition: str) -> dict[str, Tensor]:
        """What distances of sets are computed from, by condition and network."""
        judged = {condition: self.embeddings[0]} if self.embeddings else {}
        return judged | {f"{condition}{INCEPTION}": vectors for vectors in self.inception}


def _row(field: T, index: int) -> T:
    if isinstance(field, tuple):
        return tuple(_row(each, index) for each in field)  # type: ignore[return-value]
    return field[index : index + 1]  # type: ignore[index, no-any-return]


@dataclass(frozen=True)
class Evaluators:
    """All networks of a run that look at pictures, and the metrics that they give."""

    side: int
    identities: Sequence[Identity] = ()
    judges: Sequence[Judge] = ()
    lpips: LPIPS | None = None
    lpips_title: str = "LPIPS"
    inception: Inception | None = None

    @classmethod
    def open(cls, protocol: Protocol, bundle: Bundle, device: torch.device, note: Callable[[str], None]) -> Evaluators:
        """Opens the networks that a protocol names, and notes which are missing."""
        judges = [folded(judge).to(device) for judge in _open_judges(protocol, bundle, note)]
        return cls(
            bundle.resolution,
            _open_identities(protocol, bundle, device, note),
            judges,
            _open_lpips(protocol, device),
            f"LPIPS ({'AlexNet' if protocol.backbone == 'alex' else 'VGG'})",
            Inception.open(protocol.inception).to(device) if protocol.inception else None,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """How the judges are called in the names of metrics."""
        return (FIRST, SECOND)[: len(self.judges)]

    @property
    def pair_metrics(self) -> tuple[Metric, ...]:
        """Of two pictures that should show the same, in the order of the paper's table."""
        metrics = [metric for identity in self.identities for metric in identity.metrics]
        if self.side >= similarity.WINDOW:
            metrics.append(Metric("ssim", "SSIM", "higher", "11-pixel Gaussian window, mean over channels"))
        metrics.append(Metric("l2", "L2", "lower", "mean squared difference in [−1, 1]"))
        if self.lpips is not None:
            metrics.append(Metric("lpips", self.lpips_title, "lower", "with the published weights and heads"))
        metrics.append(Metric("psnr", "PSNR (dB)", "higher", "mean of the photos' own"))
        scales, side = similarity.scales_of(self.side), self.side
        if scales == len(similarity.SCALES):
            metrics.append(Metric("ms_ssim", "MS-SSIM", "higher", "five scales"))
        elif scales > 1:
            about = f"{side} px hold {scales} scales, their weights brought to a sum of 1"
            metrics.append(Metric("ms_ssim", f"MS-SSIM, {scales} of 5 scales", "higher", about))
        about = "mean squared difference of unit features; not LPIPS"
        titles = zip(self.names, ("Judge distance", "Second judge's distance"))
        return (*metrics, *(Metric(f"{name}_distance", title, "lower", about) for name, title in titles))

    @property
    def set_metrics(self) -> tuple[Metric, ...]:
        """Of two sets of pictures."""
        return (*(JUDGE_SETS if self.judges else ()), *(INCEPTION_SETS if self.inception is not None else ()))

    def agreement_pairs(self, *figures: str) -> dict[str, str]:
        """Pairs the first judge's figures with the second one's; empty without a second one."""
        return {f"{FIRST}_{name}": f"{SECOND}_{name}" for name in figures} if len(self.judges) > 1 else {}

    @torch.inference_mode()
    def look(self, images: Tensor, pairs: bool = True) -> Features:
        """Without `pairs` the features tell people and attributes apart, and do not compare pictures."""
        images = similarity.rounded(images)
        unit_maps, embeddings, logits = [], [], []
        for judge in self.judges:
            maps = judge.features(images)
            embedded = judge.embedding(maps[-1].mean(dim=(2, 3)))
            unit_maps.append(tuple(unit(each) for each in maps) if pairs else ())
            embeddings.append(embedded.float().cpu())
            logits.append(judge.out(torch.relu(embedded)).float().cpu())
        vectors = tuple(identity.embed(images) for identity in self.identities)
        lpips = tuple(self.lpips.maps(images)) if self.lpips is not None and pairs else ()
        inception = () if self.inception is None else (self.inception(images).cpu(),)
        return Features(images, vectors, tuple(unit_maps), tuple(embeddings), tuple(logits), lpips, inception)

    @torch.inference_mode()
    def compare(self, pictures: Features, targets: Features) -> dict[str, Tensor]:
        """By metric, [N] in float64."""
        figures = self.compare_identity(pictures, targets)
        a, b = pictures.images, targets.images
        if self.side >= similarity.WINDOW:
            figures["ssim"] = similarity.ssim(a, b)
        figures["l2"] = similarity.l2(a, b)
        if self.lpips is not None:
            layers = zip(self.lpips.heads, pictures.lpips, targets.lpips)
            figures["lpips"] = sum(
                ((x - y).square().mean(dim=(2, 3)) @ head for head, x, y in layers), torch.zeros(len(a))
            )
        figures["psnr"] = similarity.psnr(a, b)
        if similarity.scales_of(self.side) > 1:
            figures["ms_ssim"] = similarity.ms_ssim(a, b)
        figures |= self.compare_judges(pictures, targets)
        return {name: value.cpu().double() for name, value in figures.items()}

    def compare_identity(self, pictures: Features, targets: Features) -> dict[str, Tensor]:
        figures: dict[str, Tensor] = {}
        for identity, mine, theirs in zip(self.identities, pictures.vectors, targets.vectors):
            figures |= identity.compare(mine, theirs)
        return figures

    def compare_judges(self, pictures: Features, targets: Features) -> dict[str, Tensor]:
        """As FeatureDistance measures, on maps that are there already."""
        figures = {}
        for name, mine, theirs in zip(self.names, pictures.maps, targets.maps):
            layers = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(mine, theirs)]
            figures[f"{name}_distance"] = torch.stack(layers).mean(dim=0).cpu().double()
        return figures


# ---- opening them


def _open_judges(protocol: Protocol, bundle: Bundle, note: Callable[[str], None]) -> list[Judge]:
    judges = [bundle.judge()] if "judge" in bundle and not protocol.judge else []
    if protocol.second_judge and not (judges or protocol.judge):
        raise ValueError("a second judge needs a first one: give --judge FILE too")
    for file in (file for file in (protocol.judge, protocol.second_judge) if file):
        judge = Judge.open(file)
        judge.check_no_teacher(str(file))
        if not judge.role:
            note(
                f"{Path(file).name} is of before networks said what they are for: if methods of this bundle have "
                "learned from it, it is no judge of them."
            )
        judges.append(judge)
    if len({judge.config.attributes for judge in judges}) > 1:
        raise ValueError("the two judges tell other attributes apart, so they cannot be compared")
    if not judges:
        note("There is no judge in the bundle, and none was given: no distance of features.")
    return judges


def _open_identities(
    protocol: Protocol, bundle: Bundle, device: torch.device, note: Callable[[str], None]
) -> list[Identity]:
    identities: list[Identity] = []
    if protocol.face_network:
        identities.append(FaceIdentity.open(protocol.face_network, device))
    try:
        identities.append(DlibIdentity(protocol.face_crop or bundle.domain.crop, device))
    except ValueError as error:
        if protocol.face_crop:
            raise
        note(f"No identity by dlib's network: {error}.")
    return identities


def _open_lpips(protocol: Protocol, device: torch.device) -> LPIPS | None:
    if not (protocol.lpips or protocol.heads):
        return None
    if not (protocol.lpips and protocol.heads):
        raise ValueError("LPIPS needs the backbone's weights and its linear heads: give --lpips and --heads")
    return LPIPS.open(protocol.backbone, protocol.lpips, protocol.heads).to(device)
