"""From any source of labels to any format, into a folder that appears complete or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import attrs
import numpy as np

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.format import Format, Reading
from aop_pose.formats.label import Label, Skipped, common_fault
from aop_pose.formats.masks import boxes_from_mask, points_from_mask
from aop_pose.formats.pictures import unique_stems
from aop_pose.formats.registry import fitting_formats, labels_of, written_formats
from aop_pose.formats.split import cut_by_lists, hold_out, near_duplicate_groups_of, thumbnail
from aop_pose.io.folders import appearing


@attrs.frozen
class Conversion:
    """The outcome of a conversion."""

    source_format: str
    written: int
    skipped: list[Skipped]
    held_out: int | None = None
    """Frames in val; None for formats without a split."""
    notes: tuple[str, ...] = ()
    """Remarks on the source."""
    splits: Mapping[str, int] = attrs.field(factory=dict)
    """By name, how many frames the files made from lists have."""


_IN_ROWS = ("iugc", "head-csv", "points-3d")
"""Formats with a row a frame in ``labels.csv``."""


@attrs.frozen
class Holdout:
    """The split of YOLO folders where the source has none of its own."""

    fraction: float = 0.1
    seed: int = 0


def convert(
    source: Path,
    dst: Path,
    to: str,
    source_format: str = "",
    holdout: Holdout | None = None,
    overwrite: bool = False,
    data: Path | None = None,
    splits: Path | None = None,
) -> Conversion:
    """Convert ``source`` into the folder ``dst``; pictures of a label file are below ``data`` (default: its folder).

    Frames that cannot be converted (empty mask, missing picture, point outside) are left out and returned
    with the reason. UsageError where nothing can be converted, the formats do not fit, or ``dst`` is not
    free; then nothing is written. Files of annotation tools keep the names of pictures as they are, on the way out and
    back; else pictures are stored under their bare names where these are unique, or with their folders folded in.
    ``splits``: folder of name lists, of which ``cut_by_lists`` makes label files beside ``labels.csv``.
    """
    source, dst = Path(source), Path(dst)
    targets = written_formats()
    if to not in targets:
        raise UsageError(f"--to: expected one of {', '.join(targets)}, found {to!r}")
    target = targets[to]
    if splits is not None and to not in _IN_ROWS:
        raise UsageError(f"--splits: expected --to {', '.join(_IN_ROWS)}, found {to}")
    format, cast = _choose(fitting_formats(source, source_format), target, source)
    with appearing(dst, overwrite, source) as folder:
        found = labels_of(format, source, Reading(data, missing=target.takes_missing, strict=False))
        items = [item if isinstance(item, Skipped) else cast(item) for item in found]
        skipped = [item for item in items if isinstance(item, Skipped)]
        labels = [item for item in items if isinstance(item, Label)]
        if fault := common_fault(labels, skipped):
            raise UsageError(f"{source}: {fault}")
        held = np.zeros(len(labels), dtype=bool)
        if target.parted:
            labels, thumbnails, unread = _readable(labels)
            skipped += unread
            held = _held_out(labels, thumbnails, holdout or Holdout())
        if not (format.keeps_names or target.keeps_names):
            labels = _with_bare_names(labels)
        late = target.write(labels, folder, held.tolist()) if labels else []
        skipped += late
        written = len(labels) - len(late)
        if not written:
            example = f"; the first: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
            raise UsageError(f"{source}: no frame of {len(skipped)} could be converted to {to}{example}")
        cut = {} if splits is None else cut_by_lists(folder, splits)
    parted = int(held.sum()) if target.parted else None
    return Conversion(format.name, written, skipped, parted, tuple(format.notes(source)), cut)


def _with_bare_names(labels: Sequence[Label]) -> list[Label]:
    """The same labels under names without folders, all different; two of one picture share theirs."""
    names = list(dict.fromkeys((label.name, label.index) for label in labels))
    stems = dict(zip(names, unique_stems(name for name, _ in names), strict=True))
    return [
        attrs.evolve(label, name=f"{stems[label.name, label.index]}{PurePosixPath(label.name).suffix}")
        for label in labels
    ]


def _choose(
    formats: Sequence[Format], target: Format, source: Path
) -> tuple[Format, Callable[[Label], Label | Skipped]]:
    """The first format that carries what the target needs, and what makes its labels the target's."""
    for format in formats:
        kind = format.kind_of(source)
        if target.takes(kind):
            return format, lambda label: label
        cast = next((cast for (of, to), cast in _CASTS.items() if of == kind and target.takes(to)), None)
        if cast is not None:
            return format, cast
    found, kind = formats[0], formats[0].kind_of(source)
    made = {kind, *(to for of, to in _CASTS if of == kind)}
    possible = [name for name, other in written_formats().items() if any(other.takes(one) for one in made)]
    raise UsageError(
        f"--to {target.name} needs {target.kind}, {found.name} has {kind}; possible: {', '.join(possible)}"
    )


_CASTS: dict[tuple[str, str], Callable[[Label], Label | Skipped]] = {
    ("masks", "points"): points_from_mask,
    ("masks", "boxes"): boxes_from_mask,
}


def _readable(labels: Iterable[Label]) -> tuple[list[Label], list[np.ndarray], list[Skipped]]:
    """Labels whose pictures can be learned from, a thumbnail of each, and the rest."""
    readable, thumbnails, skipped = [], [], []
    for label in labels:
        try:
            thumbnails.append(thumbnail(label.gray()))
            readable.append(label)
        except UnreadableError as error:
            skipped.append(Skipped(label.name, str(error)))
    return readable, thumbnails, skipped


def _held_out(labels: Sequence[Label], thumbnails: Sequence[np.ndarray], holdout: Holdout) -> np.ndarray:
    """True for val: what the source itself keeps from train, else whole near-duplicate groups."""
    own = {Path(label.name).parts[0] for label in labels}
    if "train" in own and own - {"train"} and own <= {"train", "val", "test"}:
        return np.array([Path(label.name).parts[0] != "train" for label in labels])
    groups = near_duplicate_groups_of(thumbnails)
    if holdout.fraction == 0 or len(np.unique(groups)) < 2:
        return np.zeros(len(labels), dtype=bool)
    return hold_out(groups, holdout.fraction, holdout.seed)
