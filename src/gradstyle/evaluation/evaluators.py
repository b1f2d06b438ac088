"""What is measured of a pair of pictures: each network sees each picture once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses.inception import Inception
from ..losses.judge import Judge
from ..losses.perceptual import LPIPS, unit
from ..metrics import similarity
from ..metrics.identity import Identity
from ..metrics.values import Metric

INCEPTION = "#inception"  # after a condition: the set's vectors in that network, not in the judge
FIRST, SECOND = "judge", "judge2"  # in the names of what a judge and a second one measure


JUDGED = (
    Metric(
        f"{FIRST}_frechet",
        "Fréchet distance (judge features)",
        "lower",
        "of the two sets, in the judge's embedding; not FID",
    ),
    Metric(
        f"{FIRST}_kernel",
        "Kernel distance (judge features)",
        "lower",
        "squared maximum mean discrepancy, cubic kernel, in the judge's embedding; not KID",
    ),
)
DEFINED = (
    Metric("fid", "FID", "lower", "in the Inception network that defines it; depends on how many pictures there are"),
    Metric("kid", "KID", "lower", "in the same features, over all pairs"),
)


@dataclass(frozen=True, eq=False)
class Seen:
    """Pictures as the networks saw them; of what a gauge lacks there is nothing."""

    images: Tensor  # [N, 3, H, W], rounded to 8 bits
    vectors: tuple[Tensor, ...]  # one an identity network
    features: tuple[tuple[Tensor, ...], ...]  # one list of unit maps a judge
    embeddings: tuple[Tensor, ...]  # one a judge, [N, D]
    logits: tuple[Tensor, ...]  # one a judge, [N, attributes]
    lpips: tuple[Tensor, ...] = ()
    inception: tuple[Tensor, ...] = ()  # [N, 2048], if that network is there

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Seen:
        """One picture alone."""

        def one(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(tensor[index : index + 1] for tensor in tensors)

        features = tuple(one(maps) for maps in self.features)
        pictures = self.images[index : index + 1]
        rest = one(self.embeddings), one(self.logits), one(self.lpips), one(self.inception)
        return Seen(pictures, one(self.vectors), features, *rest)

    def sets(self, condition: str) -> dict[str, Tensor]:
        """What distances of sets are computed from, by condition and network."""
        found = {condition: self.embeddings[0]} if self.embeddings else {}
        return found | {f"{condition}{INCEPTION}": vectors for vectors in self.inception}


class Gauge:
    """All networks of a run that look at pictures."""

    def __init__(
        self,
        side: int,
        identities: Sequence[Identity] = (),
        judges: Sequence[Judge] = (),
        lpips: LPIPS | None = None,
        lpips_title: str = "LPIPS",
        inception: Inception | None = None,
    ) -> None:
        self.side, self.identities, self.judges, self.lpips = side, tuple(identities), tuple(judges), lpips
        self.lpips_title, self.inception = lpips_title, inception
        self.names = (FIRST, SECOND)[: len(self.judges)]

    @property
    def pair_metrics(self) -> tuple[Metric, ...]:
        """Of two pictures that should show the same, in the order of the paper's table."""
        found = [metric for identity in self.identities for metric in identity.metrics]
        if self.side >= similarity.WINDOW:
            found.append(Metric("ssim", "SSIM", "higher", "11-pixel Gaussian window, mean over channels"))
        found.append(Metric("l2", "L2", "lower", "mean squared difference in [−1, 1]"))
        if self.lpips is not None:
            found.append(Metric("lpips", self.lpips_title, "lower", "with the published weights and heads"))
        found.append(Metric("psnr", "PSNR (dB)", "higher", "mean of the photos' own"))
        if (scales := similarity.scales_of(self.side)) > 1:
            whole = scales == len(similarity.SCALES)
            title = "MS-SSIM" if whole else f"MS-SSIM, {scales} of 5 scales"
            about = (
                "five scales" if whole else f"{self.side} px hold {scales} scales, their weights brought to a sum of 1"
            )
            found.append(Metric("ms_ssim", title, "higher", about))
        about = "mean squared difference of unit features; not LPIPS"
        for name, title in zip(self.names, ("Judge distance", "Second judge's distance")):
            found.append(Metric(f"{name}_distance", title, "lower", about))
        return tuple(found)

    @property
    def set_metrics(self) -> tuple[Metric, ...]:
        """Of two sets of pictures."""
        return (*(JUDGED if self.judges else ()), *(DEFINED if self.inception is not None else ()))

    @property
    def pairs(self) -> dict[str, str]:
        """Figures of the judge, and the same of the second one."""
        return {f"{FIRST}_distance": f"{SECOND}_distance"} if len(self.judges) > 1 else {}

    @torch.inference_mode()
    def look(self, images: Tensor, pairs: bool = True) -> Seen:
        """Without `pairs`, what is seen serves to tell people and attributes, not to compare pictures."""
        images = similarity.rounded(images)
        features, embeddings, logits = [], [], []
        for judge in self.judges:
            maps = judge.features(images)
            embedded = judge.embedding(maps[-1].mean(dim=(2, 3)))
            features.append(tuple(unit(each) for each in maps) if pairs else ())
            embeddings.append(embedded.float().cpu())
            logits.append(judge.out(torch.relu(embedded)).float().cpu())
        vectors = tuple(identity.embed(images) for identity in self.identities)
        seen = tuple(self.lpips.maps(images)) if self.lpips is not None and pairs else ()
        deep = () if self.inception is None else (self.inception(images).cpu(),)
        return Seen(images, vectors, tuple(features), tuple(embeddings), tuple(logits), seen, deep)

    @torch.inference_mode()
    def compare(self, seen: Seen, targets: Seen) -> dict[str, Tensor]:
        """By metric, [N] in float64."""
        found = self.compare_identity(seen, targets)
        a, b = seen.images, targets.images
        if self.side >= similarity.WINDOW:
            found["ssim"] = similarity.ssim(a, b)
        found["l2"] = similarity.l2(a, b)
        if self.lpips is not None:
            heads = zip(self.lpips.heads, seen.lpips, targets.lpips)
            found["lpips"] = sum(
                ((x - y).square().mean(dim=(2, 3)) @ head for head, x, y in heads), torch.zeros(len(a))
            )
        found["psnr"] = similarity.psnr(a, b)
        if similarity.scales_of(self.side) > 1:
            found["ms_ssim"] = similarity.ms_ssim(a, b)
        return {name: value.cpu().double() for name, value in (found | self.compare_judges(seen, targets)).items()}

    def compare_identity(self, seen: Seen, targets: Seen) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for identity, mine, theirs in zip(self.identities, seen.vectors, targets.vectors):
            found |= identity.compare(mine, theirs)
        return found

    def compare_judges(self, seen: Seen, targets: Seen) -> dict[str, Tensor]:
        """As FeatureDistance measures, on maps that are there already."""
        found = {}
        for name, mine, theirs in zip(self.names, seen.features, targets.features):
            each = [(a - b).square().sum(dim=1).mean(dim=(1, 2)) for a, b in zip(mine, theirs)]
            found[f"{name}_distance"] = torch.stack(each).mean(dim=0).cpu().double()
        return found
