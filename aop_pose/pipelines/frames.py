"""Which labelled frames train and which choose the epoch."""

from __future__ import annotations

from aop_pose.errors import UsageError
from aop_pose.formats.labels import LabelledFrame
from aop_pose.formats.split import groups_by_name, hold_out, merge_groups, near_duplicate_groups


def split_frames(
    labelled: list[LabelledFrame],
    val: list[LabelledFrame] | None,
    holdout: float,
    seed: int,
    patient: str | None = None,
) -> tuple[list[LabelledFrame], list[LabelledFrame]]:
    """Frames that train and frames that choose the epoch.

    Without ``val`` a share ``holdout`` of the labelled frames is set aside in whole groups of near-duplicates, joined
    with the frames of a patient where ``patient``, a regular expression, finds him in the file name.

    Raises:
        UsageError: no labelled frame in a file, or one that stands in both files (it is named).
    """
    if not labelled:
        raise UsageError("--labels: expected at least one labelled frame, found none")
    if val is not None:
        if not val:
            raise UsageError("--val: expected at least one labelled frame, found none")
        shared = sorted({frame.path.resolve() for frame in labelled} & {frame.path.resolve() for frame in val})
        if shared:
            raise UsageError(f"--val: {shared[0].name} stands in --labels too ({len(shared)} such frames)")
        return labelled, val
    if not holdout:
        return labelled, []
    groups = near_duplicate_groups([frame.path for frame in labelled])
    if patient is not None:
        groups = merge_groups(groups, groups_by_name([frame.filename for frame in labelled], patient))
    held = hold_out(groups, holdout, seed)
    kept = [frame for frame, out in zip(labelled, held, strict=True) if not out]
    return kept, [frame for frame, out in zip(labelled, held, strict=True) if out]
