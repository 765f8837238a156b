"""Splits that never cut a group: frames of one patient, or pictures that are nearly the same."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import attrs
import cv2
import numpy as np

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.csv_rows import Row, filename, header_of, parse_rows, read_list
from aop_pose.formats.format import label_file
from aop_pose.formats.label import find_picture
from aop_pose.formats.pictures import read_gray
from aop_pose.io.csv_text import Writer
from aop_pose.io.files import replacing

THUMBNAIL = 32
# At 0.97 no group of psfhs/ stands on both sides of its train-val line, whose closest pair correlates 0.964.
THRESHOLD = 0.97
_BLOCK = 1024


def near_duplicate_groups(paths: Sequence[Path], threshold: float = THRESHOLD) -> np.ndarray:
    """A group id per picture, shape (n,), from 0 in order of first appearance.

    Two pictures are near-duplicates where their 32x32 thumbnails correlate above ``threshold``; groups are
    the connected components of that relation, so the two ends of a sweep share a group through the frames
    between. UnreadableError names a picture that cannot be read.
    """
    return near_duplicate_groups_of([thumbnail(read_gray(Path(path))) for path in paths], threshold)


def near_duplicate_groups_of(thumbnails: Sequence[np.ndarray], threshold: float = THRESHOLD) -> np.ndarray:
    """As ``near_duplicate_groups``, of vectors made by ``thumbnail``."""
    if not thumbnails:
        return np.zeros(0, dtype=np.int64)
    vectors = np.stack(thumbnails)
    parent = np.arange(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        # Only pairs with a later picture: the relation is symmetric.
        close = vectors[start : start + _BLOCK] @ vectors[start:].T > threshold
        for first, second in np.argwhere(np.triu(close, 1)) + start:
            _join(parent, int(first), int(second))
    return groups_of([_root(parent, i) for i in range(len(parent))])


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Mean-free unit vector of gray (H, W) at 32x32; a flat picture gives zeros, like nothing else."""
    small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    vector = small.astype(np.float32).ravel()
    vector -= vector.mean()
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return i


def _join(parent: np.ndarray, first: int, second: int) -> None:
    a, b = _root(parent, first), _root(parent, second)
    parent[max(a, b)] = min(a, b)


def groups_of(labels: Sequence[object]) -> np.ndarray:
    """Group ids from 0 in order of first appearance, equal labels being one group."""
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def groups_by_name(filenames: Sequence[str], pattern: str) -> np.ndarray:
    """Group ids from the first bracket of an expression searched in each name (HC18: ``^(\\d+)_``)."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-regex: expected a regular expression, found {pattern!r} ({error})") from error
    if expression.groups < 1:
        raise UsageError(f"--group-regex: expected a bracket around the patient, found {pattern!r}")
    found = []
    for name in filenames:
        match = expression.search(name)
        if match is None:
            raise UsageError(f"--group-regex: {pattern!r} does not match {name!r}")
        found.append(match[1])
    return groups_of(found)


def merge_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Groups that respect both: frames share one where either joins them, directly or through others."""
    parent = np.arange(len(first))
    for groups in (first, second):
        start: dict[int, int] = {}
        for i, group in enumerate(groups):
            _join(parent, start.setdefault(int(group), i), i)
    return groups_of([_root(parent, i) for i in range(len(parent))])


def hold_out(groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Bool mask (n,) of the frames set aside: whole groups whose sizes add up closest to ``fraction`` of all.

    Groups are drawn in an order fixed by the seed; one that would go past the wanted number is left where it
    is, and at least one group is held out and one kept. UsageError where that is impossible.
    """
    groups = np.asarray(groups)
    if not 0 < fraction < 1:
        raise UsageError(f"expected a share between 0 and 1 to hold out, found {fraction:g}")
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise UsageError(f"expected at least 2 groups to hold one out, found {len(names)} in {len(groups)} frames")
    wanted = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    chosen: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(names)):
        if sizes[chosen].sum() + sizes[i] <= wanted:
            chosen.append(int(i))
    if not chosen:
        smallest = int(np.argmin(sizes))
        if sizes[smallest] > 2 * wanted:
            raise UsageError(
                f"expected to hold out about {wanted} of {len(groups)} frames, found that the smallest of "
                f"{len(names)} groups has {sizes[smallest]}; ask for a larger share or add other patients"
            )
        chosen = [smallest]
    return np.isin(groups, names[chosen])


@attrs.frozen
class Split:
    """The outcome of a split."""

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
            writer = Writer(stream)
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


_LABELS, _UNLABELLED, _ANSWERS = "labels.csv", "unlabelled.txt", "unlabelled_answers.csv"


def cut_by_lists(data: Path, lists: Path) -> dict[str, int]:
    """Cut the label file of a converted set by lists of names; returns the rows of each file written, by its name.

    Every list ``NAME.txt`` becomes ``NAME.csv``, the rows of ``labels.csv`` in the order of the list.
    ``unlabelled.txt`` is copied as it is; its rows go to ``unlabelled_answers.csv``, which is for measuring alone.

    UsageError where there is no list or no label file, a name has no row, or a name stands in two lists.
    """
    header, rows = _rows(data / _LABELS)
    names = {file.name: read_list(file) for file in sorted(lists.glob("*.txt"))}
    if not names:
        raise UsageError(f"{lists}: expected lists of file names (NAME.txt), found none")
    seen: dict[str, str] = {}
    for file, listed in names.items():
        for name in listed:
            if name in seen:
                raise UsageError(f"{lists / file}: expected each frame in one list, found {name} in {seen[name]} too")
            if name not in rows:
                raise UsageError(
                    f"{lists / file}: expected names of frames in {_LABELS}, found {name}, which has no row"
                )
            seen[name] = file
    written = {}
    for file, listed in names.items():
        target = _ANSWERS if file == _UNLABELLED else f"{file.removesuffix('.txt')}.csv"
        with replacing(data / target) as part, open(part, "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(header)
            table.writerows(rows[name] for name in listed)
        written[target] = len(listed)
        if file == _UNLABELLED:
            with replacing(data / file) as part:
                part.write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")
            written[file] = len(listed)
    return written


def _rows(file: Path) -> tuple[list[str], dict[str, list[str]]]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as stream:
            header, *rows = csv.reader(stream)
        return header, {row[header.index("Filename")]: row for row in rows if row}
    except OSError as error:
        raise UsageError(f"{file.name}: expected labels in rows, found {error.strerror}") from None
    except (ValueError, IndexError):
        raise UsageError(f"{file.name}: expected labels in rows, found no column Filename") from None
