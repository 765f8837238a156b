"""Split-conformal intervals over groups: how wide an interval has to be so that it holds the truth as often as it says.

A residual |predicted - true| over a difficulty (1 where none is used) is a frame's score. The radius of the interval of
a new frame is the quantile of the scores of frames that trained nothing, times the new frame's own difficulty.

Assumption: the groups (patients, near-duplicates) are exchangeable with that of the new frame. Frames of another
machine or another population are not, and then nothing is promised.
"""

from __future__ import annotations

import math

import numpy as np

from aop_pose.errors import UsageError

_TIE = 1e-9


def check_coverage(coverage: float, groups: float | None = None) -> None:
    """UsageError for a coverage that is no share between 0 and 1, or too high for so many groups."""
    if not 0 < coverage < 1:
        raise UsageError(f"--coverage: expected a share between 0 and 1, found {coverage:g}")
    if groups is not None and coverage * (groups + 1) - _TIE > groups:
        most = math.floor(1000 * groups / (groups + 1)) / 1000
        raise UsageError(
            f"--coverage: expected at most {most:g}, which is what {groups:.4g} groups of calibration can say, "
            f"found {coverage:g}"
        )


def weighted_quantile(scores: np.ndarray, weights: np.ndarray, coverage: float) -> float:
    """The least score whose weight up to it reaches ``coverage`` times (total weight + 1); infinity where none does.

    The 1 is the new group, which may lie anywhere: the idea of Lee, Barber and Willett, "Distribution-free inference
    with hierarchical data" (2023), whose groups count alike, taken over to frames that count alike. With one frame a
    group it is the rule of split conformal prediction, the ceil(coverage (n + 1))-th smallest of n scores (Vovk et al.
    2005; Lei et al. 2018). ``scores`` and ``weights`` (n,), the weights adding up to the number of groups.
    """
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    wanted = coverage * (reached[-1] + 1) - _TIE
    place = int(np.searchsorted(reached, wanted))
    return float(scores[order][place]) if place < len(scores) else math.inf
