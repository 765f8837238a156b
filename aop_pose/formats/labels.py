"""What a label format says of one frame: points, a mask or boxes; and where its files are found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
from PIL import Image

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.pictures import read_gray
from aop_pose.io.discover import METAIMAGE_SUFFIXES
from aop_pose.keypoints import Keypoints, to_edges

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


def read_mask(path: Path) -> np.ndarray:
    """Raw values, uint8 (H, W); palette pictures give their indices. UnreadableError where it fails."""
    if path.suffix.lower() in METAIMAGE_SUFFIXES:
        return read_gray(path)
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture).astype(np.int64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableError(f"{path}: expected a mask picture, found {' '.join(str(error).split())}") from error
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.min() < 0 or values.max() > 255:
        raise UnreadableError(f"{path}: expected a mask of one channel with values 0-255, found {values.shape}")
    return values.astype(np.uint8)


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
