"""What a label format says of one frame: points, a mask or boxes; and where its files are found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np

from aop_pose.core.keypoints import Keypoints, to_edges
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.pictures import read_mask

CLASSES = ("PS", "FH")
"""Classes of a mask and of detection boxes: value 1 and class 0 is PS, value 2 and class 1 is FH."""


@attrs.frozen(eq=False)
class LabelledFrame:
    """A picture on disk with the points a label file gives it."""

    filename: str
    """As the label file names it, with forward slashes."""
    path: Path
    width: int
    height: int
    keypoints: Keypoints
    index: int = 0
    """Frame of a video; 0 for a still."""

    @property
    def inside(self) -> bool:
        """True where every point is known and within the edges, half a pixel outside the outer centres."""
        points = to_edges(self.keypoints.coords)
        return bool(((points >= 0) & (points <= [self.width, self.height])).all())


@attrs.frozen(eq=False)
class MaskedFrame:
    """A picture on disk with a mask beside it, read when asked for."""

    filename: str
    path: Path
    mask_path: Path
    values: Mapping[int, int] = attrs.field(factory=lambda: {0: 0, 1: 1, 2: 2})
    """Value in the file -> 0 background, 1 PS, 2 FH."""
    index: int = 0
    """Frame of a video; 0 for a still."""
    points: np.ndarray | None = None
    """(3, 2) PS1, PS2, FH1 where the data set gives them beside the mask."""

    def mask(self) -> np.ndarray:
        """uint8 (H, W) of 0, 1, 2; UnreadableError names the file, what was expected and what was found."""
        raw = read_mask(self.mask_path)
        unknown = sorted(set(np.unique(raw).tolist()) - set(self.values))
        if unknown:
            expected = ", ".join(str(value) for value in sorted(self.values))
            found = ", ".join(str(value) for value in unknown[:5])
            raise UnreadableError(f"{self.mask_path}: expected mask values {expected}, found {found}")
        table = np.zeros(256, dtype=np.uint8)
        for value, number in self.values.items():
            table[value] = number
        return table[raw]


@attrs.frozen(eq=False)
class BoxedFrame:
    """A picture on disk with boxes around its structures."""

    filename: str
    path: Path
    width: int
    height: int
    classes: tuple[int, ...]
    """Index into ``CLASSES`` per box."""
    boxes: np.ndarray
    """(n, 4) left, top, right, bottom in pixels; a box ends half a pixel outside its outermost centres."""
    index: int = 0


@attrs.frozen
class Skipped:
    """A frame that a format could not give, and why."""

    filename: str
    reason: str


def find_picture(data: Path, filename: str, folder: str = "images") -> Path:
    """``data/filename``, else ``data/images/filename``; UsageError names both places."""
    places = [Path(data) / filename, Path(data) / folder / filename]
    for place in places:
        if place.is_file():
            return place
    raise UsageError(f"no picture {filename}: looked for {places[0]} and {places[1]}")


def resolve(file: str | Path, data: Path) -> Path:
    """A label file or list as given, else below ``data``; UsageError names both places."""
    given, below = Path(file), Path(data) / file
    for place in (given, below):
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


@attrs.frozen
class Finding:
    """One thing that is wrong."""

    where: str
    """``file:line``, or a file; empty where the message begins with it."""
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@attrs.frozen
class Report:
    """Everything that is wrong with a data set."""

    checked: int
    unit: str
    findings: list[Finding]

    @property
    def summary(self) -> str:
        count = len(self.findings)
        return f"{self.checked} {self.unit}, {count or 'no'} finding{'' if count == 1 else 's'}"


def outside(coords: np.ndarray, names: Sequence[str], size: Sequence[int] | None) -> Iterator[str]:
    """A message per point (n, axes) beyond the edges, half a pixel outside the outer centres."""
    if size is None:
        return
    for name, point in zip(names, coords, strict=True):
        if np.isfinite(point).all() and not ((point >= -0.5) & (point <= np.array(size) - 0.5)).all():
            found = ", ".join(f"{value:g}" for value in point)
            yield f"{name}: expected a point inside {'x'.join(map(str, size))}, found ({found})"


Kind = Literal["points", "masks", "boxes", "head", "volumes"]


@attrs.frozen
class Layout:
    """How one kind of folder or file is recognised and read."""

    name: str
    """As given to ``--from``."""
    kind: Kind
    """What its frames carry: LabelledFrame, MaskedFrame, BoxedFrame, HeadFrame or LabelledVolume."""
    looks_for: str
    """What makes a folder this one, in words, for the message when nothing fits."""
    fits: Callable[[Path], bool]
    read: Callable[[Path], Iterable[Any]]
    """Frames of its kind, and ``Skipped`` for what the folder names but does not have."""
    read_with: Callable[[Path, Path], Iterable[Any]] | None = None
    """The same with pictures below another folder; None where the source itself holds them."""


def nested(folder: Path, holds: Callable[[Path], bool]) -> Path | None:
    """The folder itself or the first one that fits two levels below it (archives often add one or two)."""
    if not folder.is_dir():
        return None
    for place in (
        folder,
        *_folders(folder),
        *(deeper for child in _folders(folder) for deeper in _folders(child)),
    ):
        if holds(place):
            return place
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())
