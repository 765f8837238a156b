"""A label file cut into ``train.csv`` and ``val.csv`` without cutting a group."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.labels import find_picture
from aop_pose.formats.registry import label_file
from aop_pose.formats.rows import Row, filename, header_of, parse_rows
from aop_pose.formats.split import groups_by_name, groups_of, hold_out, merge_groups, near_duplicate_groups
from aop_pose.io.atomic import replacing


@attrs.frozen
class Split:
    """What a split did."""

    train: int
    val: int
    train_groups: int
    val_groups: int


def split_table(
    source: Path,
    dst: Path,
    fraction: float,
    seed: int,
    *,
    data: Path | None = None,
    group_column: str = "",
    group_regex: str = "",
    overwrite: bool = False,
) -> Split:
    """Write ``dst/train.csv`` and ``dst/val.csv`` with the rows of a label file as they are.

    Groups are near-duplicate pictures, joined with patients where a column or a regular expression on
    ``Filename`` tells them. UsageError where a picture or patient is missing, the split is impossible, or the
    files exist.
    """
    file = label_file(Path(source))
    data = data or file.parent
    targets = [Path(dst) / "train.csv", Path(dst) / "val.csv"]
    existing = [target for target in targets if target.exists()]
    if existing and not overwrite:
        raise UsageError(f"{existing[0]}: expected no file of this name, found one; add --overwrite")

    header = header_of(file)
    required = ["Filename", *([group_column] if group_column else [])]
    rows = list(parse_rows(file, required, lambda row: (_named(row, data), row)))
    groups = _groups([path for path, _ in rows], [row for _, row in rows], group_column, group_regex)
    held = hold_out(groups, fraction, seed)
    for target, wanted in zip(targets, (False, True), strict=True):
        with replacing(target) as part, open(part, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(
                [row.cells[column] for column in header]
                for (_, row), out in zip(rows, held, strict=True)
                if out == wanted
            )
    count = len(np.unique(groups[held]))
    return Split(int((~held).sum()), int(held.sum()), len(np.unique(groups)) - count, count)


def _named(row: Row, data: Path) -> Path:
    return find_picture(data, filename(row.cells["Filename"]))


def _groups(paths: Sequence[Path], rows: Sequence[Row], column: str, pattern: str) -> np.ndarray:
    try:
        groups = near_duplicate_groups(paths)
    except UnreadableError as error:
        raise UsageError(f"{error}; run `aop-pose dataset check` first") from error
    if pattern:
        groups = merge_groups(groups, groups_by_name([row.cells["Filename"] for row in rows], pattern))
    if column:
        empty = [row.line for row in rows if not row.cells[column]]
        if empty:
            raise UsageError(f"line {empty[0]}: {column}: expected a patient, found an empty cell")
        groups = merge_groups(groups, groups_of([row.cells[column] for row in rows]))
    return groups
