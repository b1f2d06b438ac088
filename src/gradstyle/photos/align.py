"""Cuts a face out of a photo as a generator's training photos were cut.

A `Frame` is the square that is cut, laid over the photo at any angle. It maps both ways exactly; `cut` samples what
lies under it. Points in a photo are in pixels whose centres are whole numbers, as dlib gives landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from ..images import to_float
from .faces import Face, Pixels, Points
from .framing import Framing
from .photo import Photo

Crop = Literal["ffhq", "celeba", "none"]
Box = tuple[float, float, float, float]
# Where a crop lies in a wider one, in shares of the wider one's side: left, top, right, bottom. Aligned CelebA photos
# of 178×218 pixels have CelebA's in rows 57 to 185, columns 25 to 153, and FFHQ's in rows 37 to 195, columns 10 to 168.
INSIDE: dict[tuple[Crop, Crop], Box] = {("celeba", "ffhq"): (15 / 158, 20 / 158, 143 / 158, 148 / 158)}
LARGEST_BORDER = 4.0  # photos of content that a crop may lie beside one, before it is refused as no crop of a face

# Where eyes and corners of the mouth lie in CelebA's crop, in parts of its side: means of dlib's landmarks over 573
# photos of the train split. Both eyes weigh as two corners and a half do: of the weights, these put other photos of
# that split back nearest to where they were cut (1.6 of 128 pixels on average).
CELEBA = np.array([[0.3508, 0.4372], [0.6492, 0.4372], [0.3645, 0.7511], [0.6355, 0.7511]])
CELEBA_WEIGHTS = np.array([1.0, 1.0, 0.4, 0.4])


class HasCrop(Protocol):
    """The fields of a bundle's domain that a crop depends on."""

    @property
    def crop(self) -> Crop: ...
    @property
    def aspect(self) -> tuple[int, int]: ...


@dataclass(frozen=True, eq=False)
class Frame:
    """A square of a photo: its top left corner, and the vectors along its upper and its left side, in pixels."""

    corner: npt.NDArray[np.float64]  # [2], x and y
    across: npt.NDArray[np.float64]
    down: npt.NDArray[np.float64]

    @property
    def side(self) -> float:
        """How many of the photo's pixels its sides are long, on average."""
        return float(np.sqrt(abs(np.linalg.det(self._sides))))

    @property
    def quad(self) -> Points:
        """Its corners [4, 2]: top left, bottom left, bottom right, top right."""
        return np.stack([self.corner, self.corner + self.down, self._end, self.corner + self.across])

    def to_photo(self, points: Points, side: int) -> Points:
        """Maps points [N, 2] of a crop of `side` pixels to the photo."""
        return np.asarray(self.corner + (points + 0.5) / side @ self._sides, np.float64)

    def to_crop(self, points: Points, side: int) -> Points:
        """Maps points [N, 2] of the photo to a crop of `side` pixels."""
        return np.asarray((points - self.corner) @ np.linalg.inv(self._sides) * side - 0.5, np.float64)

    @property
    def _sides(self) -> npt.NDArray[np.float64]:
        return np.stack([self.across, self.down])

    @property
    def _end(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.corner + self.across + self.down, np.float64)


@dataclass(frozen=True, eq=False)
class Aligned:
    """A crop of a photo, and the frame under which it lies there."""

    pixels: Pixels  # [side, side, 3]
    frame: Frame
    face: Face | None = None  # none where the photo as a whole is the crop
    inside: tuple[slice, slice] = (slice(None), slice(None))  # rows and columns that are not bars, in all `side` pixels

    @property
    def side(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def image(self) -> Tensor:
        """The crop as networks take it, [1, 3, side, side] in [−1, 1]."""
        return to_float(torch.from_numpy(self.pixels.transpose(2, 0, 1).copy())[None])


def align(photo: Photo, face: Face | None, domain: HasCrop, side: int) -> Aligned:
    """Cuts out a face as the domain's training photos were cut, `side` pixels wide.

    Without a face the whole photo is taken as it is: its middle in the domain's aspect, with bars to the square.
    """
    if side < 1:
        raise ValueError(f"a crop is a pixel wide at least, got {side!r}")
    if face is not None and domain.crop != "none":
        return aligned_by(photo, frame_of(face.landmarks, domain.crop), side, face)
    framing = Framing(side, aspect=domain.aspect[0] / domain.aspect[1])
    left, top, right, bottom = framing.kept(*photo.size)
    rows, columns = framing.inside(side)
    wide, high = (right - left) / (columns.stop - columns.start), (bottom - top) / (rows.stop - rows.start)
    corner = np.array([left - columns.start * wide - 0.5, top - rows.start * high - 0.5])
    frame = Frame(corner, np.array([wide * side, 0.0]), np.array([0.0, high * side]))
    pixels = framing.of(Image.fromarray(photo.pixels)).transpose(1, 2, 0)
    return Aligned(np.ascontiguousarray(pixels), frame, face, (rows, columns))


def aligned_by(photo: Photo, frame: Frame, side: int, face: Face | None = None) -> Aligned:
    """Cuts out what lies under a given frame, such as one smoothed over time."""
    return Aligned(cut(photo.pixels, frame, side), frame, face)


def frame_of(landmarks: Points, crop: Crop) -> Frame:
    """Returns the square that a domain's training photos show around a face with these landmarks."""
    if landmarks.shape != (68, 2):
        raise ValueError(f"a face has landmarks [68, 2], got {list(landmarks.shape)}")
    if crop == "ffhq":
        return ffhq_frame(landmarks)
    if crop == "celeba":
        return celeba_frame(landmarks)
    raise ValueError(f"faces are cut as {' or '.join(get_args(Crop)[:-1])} says, not as {crop!r}")


def inside(crop: Crop, wider: Crop) -> Box:
    """Returns where one crop of a face lies in a wider one, in shares of its side: left, top, right, bottom."""
    if crop == wider:
        return 0.0, 0.0, 1.0, 1.0
    if (crop, wider) not in INSIDE:
        known = ", ".join(f"{narrow} in {wide}" for narrow, wide in INSIDE)
        raise ValueError(f"it is not known where a {crop} crop lies in a {wider} one, only {known}")
    return INSIDE[crop, wider]


def ffhq_frame(landmarks: Points) -> Frame:
    """Follows FFHQ's rule: by the line between the eyes and the one from eyes to mouth, whichever gives the larger."""
    left, right = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    eyes, mouth = (left + right) / 2, (landmarks[48] + landmarks[54]) / 2
    between, drop = right - left, mouth - eyes
    across = between + np.array([drop[1], -drop[0]])  # the one, and the other a quarter turned
    across = across / np.linalg.norm(across) * max(2.0 * np.linalg.norm(between), 1.8 * np.linalg.norm(drop))
    down = np.array([-across[1], across[0]])
    centre = eyes + 0.1 * drop
    return Frame(centre - across - down, 2 * across, 2 * down)


def celeba_frame(landmarks: Points) -> Frame:
    """Finds CelebA's crop: the similarity that brings eyes and corners of the mouth to where they are in its photos."""
    points = np.stack([landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0), landmarks[48], landmarks[54]])
    there, here = _complex(points), _complex(CELEBA)
    weights = CELEBA_WEIGHTS / CELEBA_WEIGHTS.sum()
    middle_there, middle_here = weights @ there, weights @ here
    spread = here - middle_here
    turn = (weights * spread.conj()) @ (there - middle_there) / (weights @ np.abs(spread) ** 2)
    corner = middle_there - turn * middle_here
    return Frame(*(np.array([z.real, z.imag]) for z in (corner, turn, 1j * turn)))


def _complex(points: Points) -> npt.NDArray[np.complex128]:
    return np.asarray(points[:, 0] + 1j * points[:, 1], np.complex128)


# ---- sampling


def cut(pixels: Pixels, frame: Frame, side: int) -> Pixels:
    """Samples what lies under a frame, [side, side, 3], without aliases.

    Where the frame leaves the photo, the photo is mirrored there and fades into a blur and its own middle colour, as
    FFHQ's photos were made.
    """
    step = frame.side / side  # of the photo's pixels from one of the crop's to the next
    if not 1 <= frame.side < np.inf:
        raise ValueError(f"a frame of {frame.side:.4g} pixels is none: its landmarks lie in one place")
    shrink = max(1, floor(step / 2))  # by blocks, which have phases, not all the way
    margin = 4 * shrink
    corners = frame.quad + 0.5  # from here, pixels have their edges at whole numbers
    leaves = corners.min() < -0.01 or bool((corners.max(axis=0) > np.array(pixels.shape[1::-1]) + 0.01).any())
    (x0, y0), (x1, y1) = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    part, (left, top) = _padded(pixels, floor(x0), floor(y0), ceil(x1), ceil(y1), frame.side, leaves)
    small = part.reduce(shrink) if shrink > 1 else part
    samples = ceil(step / shrink) if step > 1 else 1  # each way for a pixel of the crop
    (cx, cy), across, down = (corners[0] - (left, top)) / shrink, frame.across / shrink, frame.down / shrink
    goal = side * samples
    coefficients = (across[0] / goal, down[0] / goal, cx, across[1] / goal, down[1] / goal, cy)
    made = small.transform((goal, goal), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return np.asarray(made.reduce(samples) if samples > 1 else made)


def _padded(
    pixels: Pixels, x0: int, y0: int, x1: int, y1: int, side: float, fade: bool
) -> tuple[Image.Image, tuple[int, int]]:
    """Returns a part of a photo that may reach over its edges, and the place of its top left corner."""
    height, width = pixels.shape[:2]
    border = max(0, -x0), max(0, -y0), max(0, x1 - width), max(0, y1 - height)
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0 or max(border) > LARGEST_BORDER * max(width, height, side):
        raise ValueError(f"a face of {side:.0f} pixels that lies beside its photo of {width}×{height}")
    part = pixels[max(0, y0) : min(y1, height), max(0, x0) : min(x1, width)]
    if not any(border):
        return Image.fromarray(part), (x0, y0)
    edges = ((border[1], border[3]), (border[0], border[2]), (0, 0))
    padded = np.pad(part, edges, "symmetric" if min(part.shape[:2]) < 2 else "reflect")
    return (_faded(padded, border, side) if fade else Image.fromarray(padded)), (x0, y0)


def _faded(padded: Pixels, border: tuple[int, int, int, int], side: float) -> Image.Image:
    """Blurs mirrored borders with the distance from the photo, and ends them in its median colour."""
    height, width = padded.shape[:2]
    across = _outside(width, border[0], border[2], side)
    outside = np.maximum(across[None, :], _outside(height, border[1], border[3], side)[:, None])[..., None]
    sharp = Image.fromarray(padded)
    blurred = np.asarray(sharp.filter(ImageFilter.GaussianBlur(0.02 * side)), np.float32)
    values = padded.astype(np.float32)
    values += (blurred - values) * np.clip(3 * outside + 1, 0, 1)
    values += (np.median(padded[::8, ::8], axis=(0, 1)) - values) * np.clip(outside, 0, 1)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _outside(length: int, first: int, last: int, side: float) -> npt.NDArray[np.float32]:
    """Tells how far outside a line's pixels are: 0 at the photo's edge, 1 at the border's end, below 0 in the photo."""
    least = 0.3 * side  # FFHQ's borders were no narrower, which sets how fast they fade
    x, far = np.arange(length, dtype=np.float32), np.full(length, -np.inf, np.float32)
    before = (first - x) / max(first, least) if first else far
    after = (x - (length - 1 - last)) / max(last, least) if last else far
    return np.asarray(np.maximum(before, after), np.float32)
