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
    spread: np.ndarray | None = None
    """(n,) how wide the map of each point is (``heatmaps.spreads``); None for a head without maps."""


def _slope(case: Case) -> float:
    """Degrees that the angle moves where all three points are off by a hundredth of the longer side."""
    return float(np.linalg.norm(aop_sensitivity(*case.points))) / 100


def _moved(case: Case) -> float:
    if case.again is None:
        return np.nan
    return 0.01 + float(np.linalg.norm(case.points - case.again, axis=1).mean())


def _wide(case: Case) -> float:
    return np.nan if case.spread is None else 0.01 + float(case.spread.mean())


DIFFICULTIES: dict[str, Callable[[Case], float]] = {
    PLAIN: lambda case: 1.0,
    "score": lambda case: 1.05 - case.score,
    "looks": _moved,
    "geometry": _slope,
    "geometry-looks": lambda case: _slope(case) * _moved(case),
    "spread": _wide,
    "geometry-spread": lambda case: _slope(case) * _wide(case),
}
"""Every one positive; ``geometry`` is defined for three points only."""
NEED_TWO_LOOKS = frozenset({"looks", "geometry-looks"})


NEED_MAPS = frozenset({"spread", "geometry-spread"})


def names_for(points: int, maps: bool) -> tuple[str, ...]:
    """The difficulties that are defined for a schema of that many points, and a head with or without ``maps``."""
    defined = [name for name in DIFFICULTIES if points == 3 or not name.startswith("geometry")]
    return tuple(name for name in defined if maps or name not in NEED_MAPS)
