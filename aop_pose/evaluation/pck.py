"""PCK: the share of points whose error is at most a threshold, its curve over thresholds, and the area under it."""

from __future__ import annotations

import numpy as np

PCK_LIMIT_MM = 20.0
"""Where the curve ends. FetusMapV2 does not state it; its tables 2 and 3 agree with 1 - ED / 20 mm (point 5 of UPatch:
2.03 mm and 89.89 %, point 2 of UNet: 2.46 mm and 87.69 %)."""
PCK_THRESHOLDS_MM = (2, 5, 10, 15, 20)


def pck_curve(distances: np.ndarray, limit: float = PCK_LIMIT_MM, steps: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds from 0 to ``limit`` and the share of the finite ``distances`` that are at most each.

    Both of shape (steps + 1,); the shares are NaN where no distance is finite.
    """
    known = np.sort(distances[np.isfinite(distances)])
    thresholds = np.linspace(0, limit, steps + 1)
    if not len(known):
        return thresholds, np.full(len(thresholds), np.nan)
    return thresholds, np.searchsorted(known, thresholds, side="right") / len(known)


def area_shares(distances: np.ndarray, limit: float = PCK_LIMIT_MM) -> np.ndarray:
    """What each distance adds to the area under the PCK curve, in [0, 1]; their mean is the AUC. NaN stays NaN.

    A point of error e is within all thresholds from e to the limit, so its share of the area is 1 - e / limit, or 0
    where e is beyond: the area is exact, whatever thresholds a curve is drawn at.
    """
    return np.clip(1 - np.asarray(distances, np.float64) / limit, 0, 1)
