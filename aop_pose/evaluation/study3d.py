"""Everything a report on points in volumes says, computed once."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np

from aop_pose.evaluation.figures3d import VolumeFigures, volume_figures
from aop_pose.evaluation.grouping import Grouping
from aop_pose.evaluation.match3d import MatchedVolumes, file_and_index
from aop_pose.evaluation.measured3d import MeasurementErrors, measurement_errors
from aop_pose.evaluation.motion import Motion, motion
from aop_pose.evaluation.points3d import PointErrors, point_errors


@attrs.frozen(eq=False)
class VolumeStudy:
    """One comparison of results with the truth, or with another results table."""

    matched: MatchedVolumes
    errors: PointErrors
    lengths: MeasurementErrors
    grouping: Grouping
    figures: VolumeFigures
    motions: Mapping[str, tuple[Motion, Motion]]
    """Predicted and true movement, by the file of a sequence; empty where there is none."""
    notes: tuple[str, ...]


def volume_study(matched: MatchedVolumes, grouping: Grouping) -> VolumeStudy:
    """Errors, figures with their intervals, and movement."""
    errors = point_errors(matched.predicted, matched.truth, matched.diagonals, matched.schema)
    lengths = measurement_errors(matched.predicted, matched.truth, matched.schema)
    return VolumeStudy(
        matched=matched,
        errors=errors,
        lengths=lengths,
        grouping=grouping,
        figures=volume_figures(errors, lengths, grouping.ids),
        motions=_motions(matched),
        notes=tuple(filter(None, (*matched.notes, grouping.note))),
    )


def _motions(matched: MatchedVolumes) -> dict[str, tuple[Motion, Motion]]:
    places: dict[str, list[tuple[int, int]]] = {}
    for position, name in enumerate(matched.names):
        file, index = file_and_index(name)
        places.setdefault(file, []).append((index, position))
    found = {}
    for file, pairs in places.items():
        if len(pairs) > 1:
            indices, rows = np.array(pairs).T
            both = (motion(side[rows], indices, matched.schema.points) for side in (matched.predicted, matched.truth))
            found[file] = next(both), next(both)
    return found
