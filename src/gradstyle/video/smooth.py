"""Smooths landmarks and codes over time.

A film is there as a whole, so the frames to come are used as well as those before: a filter that looks back alone
(One-Euro, Kalman) would lag behind a head that turns. At each moment a polynomial in time is fitted to the values
around it, with Gaussian weights: of degree 2 it follows a movement that speeds up or slows down without cutting it
short, and at the ends of a shot, where one side is missing, it needs no other rule. Times are those of the frames, so
that a variable frame rate changes nothing. Nothing is ever mixed over a cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

REACH = 12  # frames to either side that are looked at, however long they last: so many are held in memory


def weights(offsets: Values, sigma: float, degree: int = 2) -> Values:
    """Returns weights, which add up to 1, of values at `offsets` in seconds from now for the value now."""
    if sigma <= 0:
        return np.asarray(offsets == 0, np.float64)
    scaled = np.asarray(offsets, np.float64) / sigma
    nearness = np.exp(-(scaled**2) / 2)
    powers = scaled[:, None] ** np.arange(min(degree, len(scaled) - 1) + 1)  # [N, degree + 1]
    weighted = powers * nearness[:, None]
    fitted: Values = np.linalg.pinv(powers.T @ weighted)[0] @ weighted.T  # the polynomial's value at 0
    return fitted


def around(index: int, times: Values, runs: Numbers, sigma: float) -> slice:
    """Returns the neighbours of a moment that have weight: of the same run, within three sigma and REACH frames."""
    low, high = index, index + 1
    while low > max(0, index - REACH) and runs[low - 1] == runs[index] and times[index] - times[low - 1] <= 3 * sigma:
        low -= 1
    while (
        high < min(len(times), index + REACH + 1)
        and runs[high] == runs[index]
        and times[high] - times[index] <= 3 * sigma
    ):
        high += 1
    return slice(low, high)


def smooth(values: Values, times: Values, runs: Numbers, sigma: float, degree: int = 2) -> Values:
    """Smooths values [N, …] at `times` [N] in seconds inside each run; below zero there is no run."""
    calm = np.array(values)
    for index in (runs >= 0).nonzero()[0].tolist():
        near = around(index, times, runs, sigma)
        share = weights(times[near] - times[index], sigma, degree)
        calm[index] = np.tensordot(share, values[near], axes=1)
    return calm


def departures(values: Values, runs: Numbers) -> Values:
    """Returns each moment's values less the mean of its two neighbours, [M, …], where all three are of one run."""
    inner = (runs[1:-1] >= 0) & (runs[:-2] == runs[1:-1]) & (runs[2:] == runs[1:-1])
    middle: Values = values[1:-1][inner] - (values[:-2][inner] + values[2:][inner]) / 2
    return middle


def fill(values: Values, known: Flags, times: Values, runs: Numbers) -> Values:
    """Interpolates the unknown moments of a run linearly between the known ones before and after."""
    filled = np.array(values)
    for index in ((runs >= 0) & ~known).nonzero()[0].tolist():
        inside = (runs == runs[index]) & known
        before, after = inside[:index].nonzero()[0][-1], index + inside[index:].nonzero()[0][0]
        share = (times[index] - times[before]) / (times[after] - times[before])
        filled[index] = (1 - share) * values[before] + share * values[after]
    return filled
