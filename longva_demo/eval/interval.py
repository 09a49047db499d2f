"""Confidence intervals of shares."""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

LEVEL = 0.95


def interval(scores: Sequence[float], groups: Sequence[Hashable]) -> tuple[float, float]:
    """The 95 % interval (low, high) of the mean of `scores`, each 0 to 1.

    It is Wilson's, with the effective number of questions: those about one video (equal `groups`) are not independent,
    and the fewer videos there are, the less the questions say.

    >>> low, high = interval([1.0] * 8 + [0.0] * 2, range(10))
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    assert len(scores) == len(groups) > 0
    mean = sum(scores) / len(scores)
    return wilson(mean, effective_number(scores, groups))


def wilson(share: float, number: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `number` independent questions."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * math.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def effective_number(scores: Sequence[float], groups: Sequence[Hashable]) -> float:
    """How many independent questions would vary as much as these, from the variance between groups.

    It is between the number of groups and that of questions. Without any variance (all right, or all wrong), it is the
    number of groups.

    >>> effective_number([1.0, 1.0, 0.0, 0.0], "aabb"), effective_number([1.0, 0.0, 1.0, 0.0], "aabb")
    (2, 4)
    """
    mean = sum(scores) / len(scores)
    deviations: dict[Hashable, float] = {}
    for score, group in zip(scores, groups, strict=True):
        deviations[group] = deviations.get(group, 0.0) + score - mean
    fewest, most = len(deviations), len(scores)
    if fewest < 2 or mean in (0, 1):
        return fewest
    variance = fewest / (fewest - 1) * sum(value**2 for value in deviations.values()) / most**2
    return min(most, max(fewest, mean * (1 - mean) / variance)) if variance else most
