"""Why so many labels of one file are impossible: what to look for before anybody trains on the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.formats.label import Label, Skipped

_FEW = 3
"""Labels below which nothing is concluded from all being alike."""


def common_fault(labels: Sequence[Label], left_out: Sequence[Skipped]) -> str:
    """The fault of a whole set of labels, with the likely cause; empty where nothing is.

    More than half of the points lying outside is no matter of single labels, nor are points that all lie within one
    pixel of the corner, or all mirrored and turned as an exchange of rows and columns does it.
    """
    outside = [one for one in left_out if one.coords is not None and one.size is not None and "outside" in one.reason]
    if 2 * len(outside) > len(labels) + len(left_out):
        return f"{len(outside)} of {len(labels) + len(left_out)} labels have points outside; {_cause(outside)}"
    marked = [label for label in labels if label.keypoints is not None and label.size is not None]
    if len(marked) < _FEW or len(marked) < len(labels):
        return ""
    if all(_shares(label) for label in marked):
        return f"all points of {len(marked)} labels lie between 0 and 1; are they shares in the place of pixels?"
    if all(_turned(label) for label in marked):
        return f"all points of {len(marked)} labels are mirrored and turned; are rows and columns swapped?"
    return ""


def _cause(outside: Sequence[Skipped]) -> str:
    points = [(np.nan_to_num(one.coords), np.array(one.size)) for one in outside if one.coords is not None]
    if all(((coords[:, ::-1] >= -0.5) & (coords[:, ::-1] <= size - 0.5)).all() for coords, size in points):
        return "are rows and columns swapped?"
    if min(coords.min() for coords, _ in points) < -0.5:
        return "are they counted from another corner or centre?"
    farthest = np.max([coords.max(axis=0) for coords, _ in points], axis=0)
    reach, size = "x".join(f"{value:g}" for value in farthest), "x".join(map(str, outside[0].size or ()))
    return f"are they of another picture size? They reach {reach}, and the first picture is {size}"


def _shares(label: Label) -> bool:
    return bool(((label.points >= 0) & (label.points <= 1)).all()) and min(label.size or (0,)) > 8


def _turned(label: Label) -> bool:
    """True where the symphysis stands more upright than it lies, and the head is on the wrong side of it."""
    if label.schema is not AOP:
        return False
    ps1, ps2, fh1 = label.points
    along, across = ps1 - ps2, fh1 - ps1
    return bool(along[0] * across[1] - along[1] * across[0] < 0 and abs(along[1]) > abs(along[0]) and across[1] > 0)
