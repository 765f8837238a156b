"""The part of a frame that is ultrasound: the network, the gate and the calibration see it alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import ArrayLike

from aop_pose.errors import UsageError

How = Literal["whole", "given", "found", "file"]
HOWS: tuple[str, ...] = ("whole", "given", "found", "file")
AUTO, WHOLE = "auto", "whole"


def _whole_number(value: object) -> object:
    return int(value) if isinstance(value, np.integer) else value


def _is_whole(instance: object, attribute: attrs.Attribute, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"region {attribute.name}: expected whole pixels, found {value!r}")


@attrs.frozen
class Region:
    """A box of whole pixels of the frame as it was given, and how it came: all of it, stated by a person, found in
    the picture, or read from the file.

    ValueError for a side below 1; a corner may lie outside the frame until ``clipped`` is asked.
    """

    x: int = attrs.field(converter=_whole_number, validator=_is_whole)
    """Column of the left-most pixels."""
    y: int = attrs.field(converter=_whole_number, validator=_is_whole)
    """Row of the topmost pixels."""
    width: int = attrs.field(converter=_whole_number, validator=_is_whole)
    height: int = attrs.field(converter=_whole_number, validator=_is_whole)
    how: How = attrs.field(default="given", validator=attrs.validators.in_(HOWS))

    def __attrs_post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"region: expected a width and a height of 1 pixel or more, found {self}")

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"

    @classmethod
    def whole(cls, width: int, height: int) -> Region:
        """All of a frame of that size."""
        return cls(0, 0, width, height, "whole")

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height."""
        return self.x, self.y, self.width, self.height

    def lies_in(self, width: int, height: int) -> bool:
        """True where no part of it is outside a frame of that size."""
        return self == self.clipped(width, height)

    def holds(self, other: Region) -> bool:
        """True where no part of another one is outside it."""
        inside = other.clipped(self.x + self.width, self.y + self.height)
        return other.x >= self.x and other.y >= self.y and inside is not None and inside.box == other.box

    def clipped(self, width: int, height: int) -> Region | None:
        """The part inside a frame of that size; None where there is none."""
        left, top = max(self.x, 0), max(self.y, 0)
        right, bottom = min(self.x + self.width, width), min(self.y + self.height, height)
        if left >= right or top >= bottom:
            return None
        return Region(left, top, right - left, bottom - top, self.how)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Its part of a picture (H, W, ...), a view; ValueError where it reaches beyond."""
        height, width = pixels.shape[:2]
        if not self.lies_in(width, height):
            raise ValueError(f"region: expected one inside {width} x {height} pixels, found {self}")
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]

    def to_frame(self, points: ArrayLike) -> np.ndarray:
        """Points (..., 2), x and y in pixels of the region, in pixels of the frame."""
        return np.add(points, (float(self.x), float(self.y)))

    def to_region(self, points: ArrayLike) -> np.ndarray:
        """The inverse of ``to_frame``."""
        return np.subtract(points, (float(self.x), float(self.y)))


Wanted = Region | Literal["auto", "whole"]
"""The part of each frame that is measured: one box for all, what the file says or is found, or all of it."""


def wanted_region(value: str | Sequence[int] | Region) -> Wanted:
    """``auto``, ``whole`` or ``X,Y,W,H`` as ``--region`` takes it; UsageError for anything else."""
    if isinstance(value, Region):
        return value
    if value == "auto" or value == "whole":
        return value  # type: ignore[return-value]
    try:
        x, y, width, height = (int(part) for part in (value.split(",") if isinstance(value, str) else value))
        if min(x, y) >= 0:
            return Region(x, y, width, height)
    except (ValueError, TypeError):
        pass
    raise UsageError(
        f"--region: expected auto, whole or X,Y,W,H in whole pixels, corner from 0 and size from 1, found {value!r}"
    )
