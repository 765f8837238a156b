"""The noun of all training, converting and comparing: one labelled picture or volume; and where its file is found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

import attrs
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schema import Schema
from aop_pose.core.schemas import AOP
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.csv_rows import RowError, can_be_a_name, number
from aop_pose.formats.pictures import read_gray, read_mask
from aop_pose.io.discover import KNOWN_SUFFIXES, is_passed_over
from aop_pose.io.volumes import read_volume

LABELS = "labels.csv"
"""The file of a set's own labels."""
CLASSES = ("PS", "FH")
"""Classes of a mask and of detection boxes: value 1 and class 0 is PS, value 2 and class 1 is FH."""

READER = "reader"
"""Column beside the points: who read a row."""
READER_COLUMNS = (READER, "rater", "observer", "annotator", "annotated_by", "labeller", "labeler")
"""Columns, in any case, that name who read a row."""

SPACING = tuple(f"spacing_{axis}_mm" for axis in "ijk")
"""Extras of a volume whose file states no spacing: mm from voxel to voxel."""


class LabelError(RowError):
    """A label that says something impossible of its picture; the message gives the reason."""

    def __init__(self, reason: str, label: Label) -> None:
        super().__init__(reason)
        self.label = label


@attrs.frozen(eq=False)
class Mask:
    """A mask on disk, decoded when asked for."""

    path: Path
    values: Mapping[int, int] = attrs.field(factory=lambda: {0: 0, 1: 1, 2: 2})
    """Value in the file -> 0 background, 1 PS, 2 FH."""

    def read(self) -> np.ndarray:
        """uint8 (H, W) of 0, 1, 2; UnreadableError names the file, what was expected and what was found."""
        raw = read_mask(self.path)
        unknown = sorted(set(np.unique(raw).tolist()) - set(self.values))
        if unknown:
            expected = ", ".join(str(value) for value in sorted(self.values))
            found = ", ".join(str(value) for value in unknown[:5])
            raise UnreadableError(f"{self.path}: expected mask values {expected}, found {found}")
        table = np.zeros(256, dtype=np.uint8)
        for value, meaning in self.values.items():
            table[value] = meaning
        return table[raw]


@attrs.frozen(eq=False)
class Boxes:
    """Boxes around the structures of a picture; there may be none."""

    classes: tuple[int, ...]
    """Index into ``CLASSES`` of each box."""
    corners: np.ndarray
    """(n, 4) left, top, right, bottom in pixels; a box ends half a pixel outside its outermost centres."""


@attrs.frozen(eq=False)
class Label:
    """One labelled picture or volume: points of a schema, a mask, boxes, or several of these.

    Raises:
        LabelError: a known point is infinite, lies outside the picture, or coincides with another one.
        ValueError: it labels nothing.
    """

    name: str
    """As the label file names the picture, with forward slashes."""
    path: Path
    """The path of the picture; the name itself where labels are read without their pictures."""
    size: tuple[int, ...] | None = None
    """Pixels (width, height), or voxels along i, j, k; None where the picture has not been opened yet."""
    keypoints: Keypoints | None = None
    """In pixels or voxels of the picture; a point that nobody marked is NaN."""
    mask: Mask | None = None
    boxes: Boxes | None = None
    index: int | None = 0
    """Frame of a video, 0 for a still; time point of a volume, None where its row names none."""
    extras: Mapping[str, str] = attrs.field(factory=dict)
    """Columns beside the points, as text."""
    where: str = ""
    """``file:line`` that says so; empty where there is no such line."""
    kept: np.ndarray | None = attrs.field(default=None, repr=False)
    """Gray values (H, W) uint8 where they were decoded on reading, so that the file is opened once."""

    def __attrs_post_init__(self) -> None:
        if self.keypoints is None and self.mask is None and self.boxes is None:
            raise ValueError(f"{self.name}: expected points, a mask or boxes, found none")
        if self.keypoints is not None:
            for problem in point_problems(self.keypoints.schema.points, self.keypoints.coords, self.size):
                raise LabelError(problem, self)

    @property
    def width(self) -> int:
        """Pixels across; ValueError where the picture has not been opened."""
        return self._known_size()[0]

    @property
    def height(self) -> int:
        """Pixels down; ValueError where the picture has not been opened."""
        return self._known_size()[1]

    @property
    def schema(self) -> Schema:
        """The points; ValueError where there are none."""
        return self._marked().schema

    @property
    def points(self) -> np.ndarray:
        """(points, 2) or (points, 3) coordinates in the order of the schema; ValueError where there are none."""
        return self._marked().coords

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Millimetres along i, j, k of a volume whose file states none; RowError."""
        return spacing_of(self.extras)

    def points_of(self, schema: Schema) -> np.ndarray:
        """The points of a schema, in its order; it has to be one whose points are all here."""
        return self.points[list(self.schema.indices(schema.points))]

    def gray(self) -> np.ndarray:
        """uint8 (H, W) of the picture, decoded where it was not kept; UnreadableError."""
        return self.kept if self.kept is not None else read_gray(self.path, self.index or 0)

    def volume(self) -> Volume:
        """The voxels. Errors as ``io.volumes.read_volume``."""
        return read_volume(self.path, self.name, self.index, self.spacing)

    def _marked(self) -> Keypoints:
        if self.keypoints is None:
            raise ValueError(f"{self.name}: expected points, found a label without any")
        return self.keypoints

    def _known_size(self) -> tuple[int, ...]:
        if self.size is None:
            raise ValueError(f"{self.name}: expected a picture that was opened, found none")
        return self.size


@attrs.frozen
class Skipped:
    """A picture that is no label, and why."""

    name: str
    reason: str
    where: str = ""
    """``file:line`` that says so; empty where there is no such line."""
    coords: np.ndarray | None = attrs.field(default=None, eq=False, repr=False)
    """Points of a label that are impossible, for the question why."""
    size: tuple[int, ...] | None = None
    """Of their picture."""


def point_problems(names: Sequence[str], coords: np.ndarray, size: Sequence[int] | None) -> Iterator[str]:
    """All that is impossible about points (n, axes): infinite, beyond the edges, two at one place; NaN is nothing.

    The edges lie half a pixel outside the outer centres. Without a ``size`` (x, y, …) nothing is outside.
    """
    for name, point in zip(names, coords, strict=True):
        if np.isinf(point).any():
            yield f"{name}: expected numbers, found an infinite one"
        elif size is not None and ((point < -0.5) | (point > np.array(size) - 0.5)).any():
            found = ", ".join(f"{value:g}" for value in point)
            yield f"{name}: expected a point inside {'x'.join(map(str, size))}, found ({found}) outside"
    for second, point in enumerate(coords):
        same = np.flatnonzero((coords[:second] == point).all(axis=1))
        if len(same):
            where = ", ".join(f"{value:g}" for value in point)
            yield f"expected {names[same[0]]} and {names[second]} apart, found both at ({where})"


def spacing_of(cells: Mapping[str, str]) -> tuple[float, float, float] | None:
    """The spacing that a row states; RowError unless it is three positive numbers, or nothing at all."""
    texts = [cells.get(column, "") for column in SPACING]
    if not any(texts):
        return None
    i, j, k = (number(text, column) for text, column in zip(texts, SPACING, strict=True))
    if min(i, j, k) <= 0:
        raise RowError(f"{','.join(SPACING)}: expected positive millimetres, found {','.join(texts)}")
    return i, j, k


def find_picture(data: Path, filename: str, folder: str = "images") -> Path:
    """``data/filename``, else ``data/images/filename``.

    UsageError where the name leads out of the data folder, or neither is there; a name that is nearly this one is told.
    """
    check_below(filename)
    places = [Path(data) / filename, Path(data) / folder / filename]
    for place in places:
        if place.is_file():
            return within(place, data, filename)
    near = next((name for place in places if (name := _near(place))), "")
    said = f"; there is {near}: write its name as it is" if near else ""
    raise UsageError(f"no picture {filename}: looked for {places[0]} and {places[1]}{said}")


def check_below(name: str) -> None:
    """UsageError where a name in a label file, a list or a data.yaml is absolute, or climbs with ``..``."""
    if not can_be_a_name(name):
        raise UsageError(f"expected a file name, found {name[:40]!r}… of {len(name)} characters, or with a NUL")
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if parts[:1] in (("/",), ("//",)) or PureWindowsPath(name).is_absolute() or ".." in parts:
        raise UsageError(f"expected a name below the data folder, found {name}, which leads out of it")


def within(place: Path, data: Path, name: str) -> Path:
    """The place; UsageError where a link leads out of the data folder."""
    if not place.resolve().is_relative_to(Path(data).resolve()):
        raise UsageError(f"expected a file in {data}, found {name}, a link that leads out of it to {place.resolve()}")
    return place


def _near(place: Path) -> str:
    """The name of a file in the same folder that somebody may have meant, and how the two differ; else nothing."""
    try:
        stamp = place.parent.stat().st_mtime_ns
    except OSError:
        return ""
    names = _names_in(place.parent, stamp)
    wanted = PurePosixPath(place.name)
    for how, alike in (
        ("in other letters", lambda name: name.casefold() == wanted.name.casefold()),
        ("with another ending", lambda name: PurePosixPath(name).stem.casefold() == wanted.stem.casefold()),
        ("with other zeros", lambda name: _without_zeros(name) == _without_zeros(wanted.name)),
    ):
        found = next((name for name in names if alike(name)), None)
        if found is not None:
            return f"{found} ({how})"
    return ""


def _without_zeros(name: str) -> str:
    stem = PurePosixPath(name).stem if PurePosixPath(name).suffix.lower() in KNOWN_SUFFIXES else name
    return re.sub(r"0*([0-9]+)", r"\1", stem.casefold())


@lru_cache(maxsize=8)
def _names_in(folder: Path, stamp: int) -> tuple[str, ...]:
    """Files of a folder as it was at a time, so that many wrong names list it once."""
    return tuple(sorted(path.name for path in folder.iterdir() if not is_passed_over(path.name) and path.is_file()))


def reader_of(cells: Mapping[str, str]) -> str:
    """The reader that a column beside the points names, whatever it is called; empty where none does."""
    return next((text for name, text in cells.items() if name.casefold() in READER_COLUMNS), "")


def resolve(file: str | Path, data: Path, own: bool = False) -> Path:
    """A label file or list as given, else below ``data``; UsageError names both places.

    ``own``: ``labels.csv``, which nobody need name, is that of ``data`` where it has one: another set's may lie where a
    person works.
    """
    given, below = Path(file), Path(data) / file
    for place in (below, given) if own and str(file) == LABELS else (given, below):
        if place.is_file():
            return place
    raise UsageError(f"no file {given}: looked there and at {below}")


def pose_box(points: np.ndarray, margin: float, width: float, height: float) -> np.ndarray:
    """Box of the points grown by ``margin`` times its longer side on every side, clipped to the frame.

    OKS divides by the area of this box, so arms of a comparison must use the same margin.

    Args:
        points: (n, 2) in pixels.
        margin: share of the longer side.
        width, height: of the frame, in pixels.

    Returns:
        left, top, right, bottom in pixels.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    grow = margin * float((high - low).max())
    limit = np.array([width - 1, height - 1], dtype=float)
    return np.concatenate([np.clip(low - grow, 0, limit), np.clip(high + grow, 0, limit)])


def box_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Shared area over joint area of two boxes left, top, right, bottom; 0 where they do not meet."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.clip(high - low, 0, None).prod())
    joint = float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()) - shared
    return shared / joint if joint > 0 else 0.0


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
