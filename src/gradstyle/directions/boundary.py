"""InterfaceGAN (Shen et al. 2020): the normal of the plane that parts codes with an attribute from codes without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import stream
from .samples import Samples

SHARE = 0.1  # of the samples, at each end: those in between are doubtful
HELD_OUT = 0.3  # of the extremes: the plane is not fitted to them
FEWEST = 10  # at each end
TOLERATED = 0.25  # standard deviations that another attribute may go along, for one of the attribute
REACH = 0.7  # of what the codes reach in the attribute, that is to be left
MOST_GIVEN = 4  # attributes projected out on its own initiative


@dataclass(frozen=True, eq=False)
class Boundary:
    attribute: str
    normal: Tensor  # [w_dim], of length 1, towards more of it
    accuracy: float  # on the extremes that were held out
    extremes: int  # codes at each end


def boundary(samples: Samples, attribute: str, share: float = SHARE, seed: int = 0) -> Boundary:
    """Fit a linear SVM to the extremes of an attribute."""
    if not 0 < share <= 0.5:
        raise ValueError(f"the share of extremes is more than 0 and at most 0.5, got {share!r}")
    scores = samples.of(attribute)
    there = (~scores.isnan()).nonzero()[:, 0]
    order = there[scores[there].argsort(stable=True)]
    rising = scores[order]
    ends = max(1, int(share * len(order)))
    while ends and not rising[ends - 1] < rising[-ends]:  # labels of zeros and ones: no zero among the highest
        ends -= 1
    if ends < FEWEST:
        raise ValueError(
            f"{attribute!r}: {ends} samples stand out at each end of {len(order):,}, {FEWEST} are needed: "
            "score more samples, or raise the share"
        )
    draw = stream("held out", seed)
    low, high = (end[torch.randperm(ends, generator=draw)] for end in (order[:ends], order[-ends:]))
    tested = max(1, int(HELD_OUT * ends))
    learned = torch.cat([low[tested:], high[tested:]])
    centre = samples.w.mean(dim=0)
    scale = (samples.w - centre).square().mean().sqrt()
    normal, offset = _svm((samples.w[learned] - centre) / scale, ends - tested, seed)
    sides = ((samples.w[torch.cat([low[:tested], high[:tested]])] - centre) / scale) @ normal + offset
    right = torch.cat([sides[:tested] < 0, sides[tested:] > 0]).float().mean()
    return Boundary(attribute, (normal / normal.norm()).float(), float(right), ends)


def _svm(x: Tensor, below: int, seed: int) -> tuple[Tensor, float]:
    """Of rows whose first `below` are without the attribute."""
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise ValueError(
            f'finding directions needs scikit-learn: pip install "gradstyle[directions]" ({error})'
        ) from error
    with_it = (torch.arange(len(x)) >= below).int()
    fitted = LinearSVC(C=0.01, dual=False, max_iter=5000, random_state=seed).fit(x.double().numpy(), with_it.numpy())
    normal: Tensor = torch.as_tensor(fitted.coef_[0], dtype=x.dtype)
    return normal, float(fitted.intercept_[0])


def conditioned(normal: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Projects a direction on the space orthogonal to all other normals, so that it changes none of them."""
    if not others:
        return normal
    basis = torch.linalg.qr(torch.stack(list(others), dim=1).double()).Q  # [w_dim, others]
    rest = normal.double() - basis @ (basis.T @ normal.double())
    if rest.norm() < 0.05 * normal.double().norm():
        raise ValueError("nothing is left of the direction when the others are projected out: give fewer")
    projected: Tensor = (rest / rest.norm()).to(normal.dtype)
    return projected


def gains(samples: Samples) -> dict[str, Tensor]:
    """How each attribute changes along W, in its standard deviations: the slopes of a linear fit, [w_dim] each."""
    w = (samples.w - samples.w.mean(dim=0)).double()
    found = {}
    for name, column in zip(samples.attributes, samples.scores.T):
        there = ~column.isnan()
        spread = column[there].double().std()
        if int(there.sum()) < 2 or not spread > 0:
            continue
        x, y = w[there], (column[there].double() - column[there].double().mean()) / spread
        square = x.T @ x
        ridge = 1e-3 * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype)
        found[name] = torch.linalg.solve(square + ridge, x.T @ y).float()
    return found


def choose_given(
    own: Boundary, others: Mapping[str, Boundary], slopes: Mapping[str, Tensor], w: Tensor, tolerated: float = TOLERATED
) -> list[str]:
    """Chooses which other normals to project out: repeatedly the one that leaks most, as long as less leaks
    then and the codes still reach far enough: `w` [N, w_dim] says how far they reach in a direction."""
    given: list[str] = []
    centred = w - w.mean(dim=0)

    def along(direction: Tensor) -> dict[str, float]:
        step = float(slopes[own.attribute] @ direction)
        return {name: abs(float(slopes[name] @ direction)) / max(step, 1e-6) for name in others if name in slopes}

    def reach(direction: Tensor) -> float:
        """Gives the standard deviations of the attribute for one standard deviation of the codes."""
        return float(slopes[own.attribute] @ direction) * float((centred @ direction).std())

    if own.attribute not in slopes:
        return []
    direction, refused = own.normal, set[str]()
    while len(given) < MOST_GIVEN:
        carried = along(direction)
        left = [name for name in carried if name not in given and name not in refused and carried[name] > tolerated]
        if not left:
            break
        worst = max(left, key=lambda name: carried[name])
        try:
            tried = conditioned(own.normal, [others[name].normal for name in [*given, worst]])
        except ValueError:
            refused.add(worst)
            continue
        if reach(tried) < REACH * reach(own.normal) or sum(along(tried).values()) >= sum(carried.values()):
            refused.add(worst)
            continue
        given, direction = [*given, worst], tried
    return given
