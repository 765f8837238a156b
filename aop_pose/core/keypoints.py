"""Points of a schema in one image, and what a predictor found there."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np

from aop_pose.core.schema import Schema


def _floats(value: object) -> np.ndarray:
    return np.array(value, dtype=np.float64)


@attrs.frozen(eq=False)
class Keypoints:
    """Coordinates in pixels of the original frame, or voxels of the original volume.

    A missing point is NaN, and so is all that rests on it.
    """

    schema: Schema
    coords: np.ndarray = attrs.field(converter=_floats)
    """Shape (points, 2), columns x, y; in a volume (points, 3), columns i, j, k along the file's axes."""
    scores: np.ndarray = attrs.field(converter=_floats)
    """Shape (points,), each in [0, 1]; NaN where the source gives none."""

    @coords.validator
    def _check_coords(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        expected = (len(self.schema.points), self.schema.dimensions)
        if value.shape != expected:
            raise ValueError(f"coords of schema {self.schema.name}: expected shape {expected}, found {value.shape}")

    @scores.validator
    def _check_scores(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        expected = (len(self.schema.points),)
        if value.shape != expected:
            raise ValueError(f"scores of schema {self.schema.name}: expected shape {expected}, found {value.shape}")

    @classmethod
    def from_points(cls, schema: Schema, coords: object) -> Keypoints:
        """Points without scores, as a label gives them."""
        return cls(schema, coords, np.full(len(schema.points), np.nan))

    def __getitem__(self, point: str) -> np.ndarray:
        """x, y of a named point, shape (2,), or i, j, k, shape (3,)."""
        return self.coords[self.schema.index(point)]

    def outside(self, *size: int) -> list[str]:
        """Names of the points beyond the outer edges of a picture (width, height) or volume (I, J, K) of that size."""
        within = ((self.coords >= -0.5) & (self.coords <= np.array(size) - 0.5)).all(axis=1)
        known = np.isfinite(self.coords).all(axis=1)
        return [name for name, out in zip(self.schema.points, known & ~within, strict=True) if out]

    @property
    def complete(self) -> bool:
        """True where no point is missing."""
        return bool(np.isfinite(self.coords).all())


@attrs.frozen(eq=False)
class Prediction:
    """The answer of a predictor on one image, a frame or a volume."""

    keypoints: Keypoints | None
    """In pixels or voxels of the original image; None where nothing was found."""
    score: float
    """The lowest score of the points that were found; the best one where none was."""
    reason: str = ""
    """Why nothing was found, or what a reader of the points should know."""
    spread: np.ndarray | None = None
    """(points,) width of each point's map (``inference.decode.spreads``); None for a head without maps."""
    outlines: Mapping[str, np.ndarray] | None = None
    """Structure (``PS``, ``FH``) -> closed contour (m, 2) in pixels of the original; None for a head without any."""
    stances: np.ndarray | None = None
    """(8,) probabilities that the picture stands in each way of ``core.stances.STANCES``; None where nobody asked."""
    rival: float = 0.0
    """Score of the best other place that may show the same, as a share of this one's; 0 where none was looked at."""
    beside: Keypoints | None = None
    """The points of the surest place that shares none of them; None where none was looked at."""

    @property
    def found(self) -> Keypoints:
        """The points; ValueError where nothing was found."""
        if self.keypoints is None:
            raise ValueError(f"prediction: expected points, found none ({self.reason})")
        return self.keypoints


def to_edges(points: np.ndarray) -> np.ndarray:
    """Our coordinates -> coordinates counted from the picture's edge, any shape, in pixels.

    Ours put the centre of the top-left pixel at (0, 0). Boxes of YOLO and COCO put its top-left corner there, so
    that 0 and 1 are the picture's two edges: half a pixel more.
    """
    return np.asarray(points, dtype=np.float64) + 0.5


def to_centres(points: np.ndarray) -> np.ndarray:
    """Coordinates counted from the picture's edge -> ours; the inverse of :func:`to_edges`."""
    return np.asarray(points, dtype=np.float64) - 0.5
