"""Random perspective warps, which make misaligned details to train aligners on (Wang et al. 2022)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..rng import Draws


def random_perspectives(count: int, draws: Draws, distortion: float = 0.15, probability: float = 1.0) -> Tensor:
    """Homographies that move each corner inwards by up to `distortion` of half the side; else the identity.

    Coordinates are in [−1, 1] from edge to edge, so that one warp fits maps of any size. They take a point of
    the warped map to the point of the source that is shown there.
    """
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])  # [4, 2]
    moved = corners - corners * distortion * draws.uniform(count, 4, 2)
    homographies = _homography(moved, corners.expand(count, -1, -1))
    chosen = draws.uniform(count, 1, 1) < probability
    return torch.where(chosen, homographies, torch.eye(3))  # [N, 3, 3]


def warp(x: Tensor, homographies: Tensor) -> Tensor:
    """Look at a map through homographies, bilinearly; outside the map is zero."""
    height, width = x.shape[2:]
    ys = (torch.arange(height, device=x.device) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=x.device) + 0.5) * (2 / width) - 1
    points = torch.stack([xs.expand(height, -1), ys[:, None].expand(-1, width), torch.ones_like(x[0, 0]).float()], -1)
    # In float32 throughout: bfloat16 cannot tell neighbouring pixels of a 256 px map apart.
    with torch.autocast(x.device.type, enabled=False):
        seen = points.flatten(0, 1) @ homographies.to(x.device).transpose(1, 2)  # [N, HW, 3]
        grid = (seen[..., :2] / seen[..., 2:]).reshape(-1, height, width, 2)
        warped = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.to(x.dtype)


def _homography(source: Tensor, target: Tensor) -> Tensor:
    """The projective maps that take four points to four points."""
    x, y = source.unbind(-1)  # [N, 4]
    u, v = target.unbind(-1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows_u = torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1)
    rows_v = torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1)
    system = torch.cat([rows_u, rows_v], 1)  # [N, 8, 8]
    solution = torch.linalg.solve(system, torch.cat([u, v], 1))  # [N, 8]
    return torch.cat([solution, torch.ones_like(solution[:, :1])], 1).reshape(-1, 3, 3)
