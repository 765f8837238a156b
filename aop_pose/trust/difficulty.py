"""How hard a frame is, known without its answer: what an interval may be scaled with."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np

from aop_pose.geometry import aop_sensitivity

PLAIN = "plain"


@attrs.frozen(eq=False)
class Case:
    """What two looks at a frame say. Points (n, 2) in shares of the frame's longer side."""

    points: np.ndarray
    again: np.ndarray | None
    """Of the second look; None where there was none."""
    score: float


def _slope(case: Case) -> float:
    """Degrees that the angle moves where all three points are off by a hundredth of the longer side."""
    return float(np.linalg.norm(aop_sensitivity(*case.points))) / 100


def _moved(case: Case) -> float:
    if case.again is None:
        return np.nan
    return 0.01 + float(np.linalg.norm(case.points - case.again, axis=1).mean())


DIFFICULTIES: dict[str, Callable[[Case], float]] = {
    PLAIN: lambda case: 1.0,
    "score": lambda case: 1.05 - case.score,
    "looks": _moved,
    "geometry": _slope,
    "geometry-looks": lambda case: _slope(case) * _moved(case),
}
"""Every one positive; ``geometry`` is defined for three points only."""
NEED_TWO_LOOKS = frozenset({"looks", "geometry-looks"})


def names_for(points: int) -> tuple[str, ...]:
    """The difficulties that are defined for a schema of that many points."""
    return tuple(name for name in DIFFICULTIES if points == 3 or not name.startswith("geometry"))
