"""Whether two pictures show the same person: vectors of a face network, of the same place in both.

No face is searched for: a crop has its face where its kind of crop puts it, so that a method that spoils a face is
measured on what it made of it, and not left out because nobody finds a face there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder.backbone import SqueezeExcite
from ..losses.face import FaceNetwork
from ..losses.identity import face_crop
from ..losses.recognition import SIDE, recognition
from .values import Metric

# The square that dlib cuts around a face (its border 0.25), in shares of the crop's side: left, top, right, bottom.
# For CelebA's crop the mean over the 152 of 160 photos of the train split in which a face was found; for FFHQ's the
# same face under FFHQ's rule.
CHIPS = {"celeba": (0.0833, 0.1760, 0.9207, 1.0134), "ffhq": (0.1496, 0.2535, 0.8545, 0.9584)}
BATCH = 16  # faces of 150 pixels at once


class Identity(Protocol):
    """Embeds pictures; says how alike two vectors are under metrics of its own name."""

    @property
    def metrics(self) -> tuple[Metric, ...]: ...

    @property
    def provenance(self) -> str: ...

    def embed(self, images: Tensor) -> Tensor: ...  # [N, D]

    def compare(self, vectors: Tensor, others: Tensor) -> dict[str, Tensor]: ...  # by metric, [N]


class DlibIdentity:
    """dlib's vectors of a fixed square of the crop."""

    metrics = (
        Metric("identity", "ID (dlib)", "higher", "cosine of dlib's recognition vectors of the same square of both"),
        Metric(
            "identity_distance",
            "ID distance (dlib)",
            "lower",
            "distance of dlib's vectors; dlib takes two faces less than 0.6 apart for one person's",
        ),
    )

    def __init__(self, crop: str, device: torch.device | str = "cpu") -> None:
        if crop not in CHIPS:
            raise ValueError(f"where faces are is known of crops {' and '.join(CHIPS)}, not of {crop!r}")
        self.chip, self.device = CHIPS[crop], torch.device(device)
        self.network = recognition().to(self.device)
        self.provenance = f"dlib_face_recognition_resnet_model_v1, square {self.chip} of the {crop} crop"

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        chips = cut(images.to(self.device), self.chip, SIDE)
        return torch.cat([self.network(part) for part in torch.split(chips, BATCH)]).cpu()

    def compare(self, vectors: Tensor, others: Tensor) -> dict[str, Tensor]:
        distance = (vectors.double() - others.double()).norm(dim=1)
        return {"identity": _cosine(vectors, others), "identity_distance": distance}


@dataclass
class FaceIdentity:
    """A published face network's vectors: ArcFace's IR-SE-50 or CurricularFace's IR-101, which the paper reports.

    They are of the middle of an aligned portrait, as the encoders' authors cut it.
    """

    network: nn.Module
    title: str
    provenance: str

    @property
    def metrics(self) -> tuple[Metric, ...]:
        about = f"cosine of {self.title}'s vectors of the middle of both"
        return (Metric("identity_network", f"ID ({self.title})", "higher", about),)

    @classmethod
    def open(cls, path: str | Path, device: torch.device | str = "cpu") -> FaceIdentity:
        """From the file as its authors publish it; nothing in it is run."""
        from ..files import file_sha256
        from ..published import open_published

        network = open_published(Path(path)).network
        if not isinstance(network, FaceNetwork):
            raise ValueError(f"{path} holds no face network: give ArcFace's or CurricularFace's published file")
        squeezed = any(isinstance(module, SqueezeExcite) for module in network.modules())
        title = "ArcFace" if squeezed else "CurricularFace"
        return cls(network.to(device).eval().requires_grad_(False), title, f"{title}, {file_sha256(Path(path))}")

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        faces = face_crop(images.to(device))
        return torch.cat([self.network(part) for part in torch.split(faces, BATCH)]).float().cpu()

    def compare(self, vectors: Tensor, others: Tensor) -> dict[str, Tensor]:
        return {"identity_network": _cosine(vectors, others)}


def cut(images: Tensor, box: tuple[float, float, float, float], side: int) -> Tensor:
    """A square of each picture at another size; beyond the edge the edge goes on. A larger one is reduced first, so
    that nothing aliases."""
    left, top, right, bottom = box
    covered = (right - left) * images.shape[-1]
    if covered > 2 * side:
        smaller = max(1, round(images.shape[-1] * 2 * side / covered))
        images = F.interpolate(images, (smaller, smaller), mode="bilinear", antialias=True)
    affine = torch.tensor([[right - left, 0, left + right - 1], [0, bottom - top, top + bottom - 1]])
    where = F.affine_grid(
        affine.expand(len(images), -1, -1).to(images), [len(images), 3, side, side], align_corners=False
    )
    return F.grid_sample(images, where, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)


def _cosine(vectors: Tensor, others: Tensor) -> Tensor:
    return F.cosine_similarity(vectors.double(), others.double(), dim=1)
