"""The left side of a fetus, told by where its points lie (FetusMapV2, equation 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aop_pose.core.schemas import FETUS
from aop_pose.geometry import first_is_left

SEEN_FROM = FETUS.indices(("cranial_crest", "nasal_bone", "hind_neck"))
"""Points 1, 4 and 6 of the paper, whose plane tells left from right."""


def sides_order(points: np.ndarray, pairs: Sequence[tuple[Sequence[int], Sequence[int]]] = FETUS.sides) -> list[int]:
    """The order in which the points stand where each pair of sides is named by equation 7 on its first points.

    A side moves as a whole: its points belong together, whichever side it is (section 3.2).

    Args:
        points: (22, 3), x, y, z in mm, right-handed. Where one that is needed is missing the names stay.
        pairs: positions of the left and of the right points of each pair.
    """
    order = list(range(len(points)))
    for left, right in pairs:
        here = _needed(points, left, right)
        if not np.isnan(here).any() and not first_is_left(*here):
            for one, other in zip(left, right, strict=True):
                order[one], order[other] = other, one
    return order


def sides_unknown(points: np.ndarray, pairs: Sequence[tuple[Sequence[int], Sequence[int]]] = FETUS.sides) -> list[int]:
    """Positions of the points whose side equation 7 cannot tell, because one that it needs is missing."""
    unknown = [(*left, *right) for left, right in pairs if np.isnan(_needed(points, left, right)).any()]
    return [index for side in unknown for index in side]


def _needed(points: np.ndarray, left: Sequence[int], right: Sequence[int]) -> np.ndarray:
    return points[[*SEEN_FROM, left[0], right[0]]]
