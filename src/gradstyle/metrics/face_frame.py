"""Where faces are in a generator's pictures, so that each is measured in the same place, edited or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..images import to_8_bits
from ..losses.recognition import SIDE as CHIP
from ..losses.recognition import recognition
from ..photos.faces import Box, face_at, find_faces
from ..stylegan2 import Generator

SIDE = 256  # pixels at which faces are searched and measured
SEEN, TRUNCATION, SEED = 32, 0.5, 0  # pictures in which faces are searched: usual ones
FEWEST = 4  # faces found in them
BORDER = 0.25  # of a face as dlib's recognition network sees it: what is around it on each side
SAME_PERSON = 0.6  # dlib's own threshold of the distance


@dataclass(frozen=True)
class FaceFrame:
    """The usual place of a face, in shares of the side: the detector's box, and the square cut for recognition."""

    box: Box
    chip: Box

    @property
    def identity(self) -> str:
        return " ".join(f"{edge:.3f}" for edge in self.box)

    @classmethod
    @torch.inference_mode()
    def of(cls, generator: Generator) -> FaceFrame:
        """The median over the faces found in some pictures."""
        codes = generator.sample(SEEN, TRUNCATION, SEED)
        pixels = pixels_of(torch.cat([generator(codes[i : i + 8]) for i in range(0, SEEN, 8)]))
        faces = [found[0] for picture in pixels if (found := find_faces(picture))]
        if len(faces) < FEWEST:
            raise ValueError(f"faces were found in {len(faces)} of {SEEN} pictures: this is no generator of faces")
        box = np.median([face.box for face in faces], axis=0)
        inner = np.median([face.landmarks for face in faces], axis=0)[17:]  # without the jaw, as dlib cuts faces
        low, high = inner.min(axis=0), inner.max(axis=0)
        middle, half = (low + high) / 2, float((high - low).mean()) * (0.5 + BORDER)
        chip = np.concatenate([middle - half, middle + half])
        return cls(*(tuple((edges / SIDE).tolist()) for edges in (box, chip)))

    def landmarks(self, images: Tensor) -> list[npt.NDArray[np.float64]]:
        left, top, right, bottom = (edge * SIDE for edge in self.box)
        box = np.array([[left, top], [right, bottom]])
        return [face_at(picture, box).landmarks for picture in pixels_of(images)]

    def embed(self, images: Tensor) -> Tensor:
        """dlib's vectors [N, 128] of the same square of each picture; people differ where they are 0.6 apart."""
        left, top, right, bottom = (2 * edge - 1 for edge in self.chip)
        affine = torch.tensor(
            [[(right - left) / 2, 0, (right + left) / 2], [0, (bottom - top) / 2, (bottom + top) / 2]]
        )
        where = F.affine_grid(affine.expand(len(images), -1, -1), [len(images), 3, CHIP, CHIP], align_corners=False)
        chips = F.grid_sample(images.float().cpu(), where, mode="bicubic", padding_mode="border", align_corners=False)
        vectors: Tensor = recognition()(chips.clamp(-1, 1))
        return vectors


def pixels_of(images: Tensor, side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Pictures as bytes [N, side, side, 3]."""
    if images.shape[-1] != side:
        images = F.interpolate(images.float(), (side, side), mode="bicubic", align_corners=False, antialias=True)
    return to_8_bits(images).permute(0, 2, 3, 1).contiguous().cpu().numpy()
