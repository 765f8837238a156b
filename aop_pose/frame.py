"""One picture (or volume) and what is known of its geometry.

Pixel convention, used everywhere: the centre of the top-left pixel is (0, 0), x runs right, y runs down.
"""

from __future__ import annotations

import math

import attrs
import numpy as np


def _positive_or_none(instance: object, attribute: attrs.Attribute, value: tuple[float, ...] | None) -> None:
    if value is not None and not all(math.isfinite(v) and v > 0 for v in value):
        raise ValueError(f"{attribute.name}: expected positive millimetres per pixel, found {value}")


@attrs.frozen(eq=False)
class Frame:
    """Pixels with their spacing and where they came from. Never patient data."""

    pixels: np.ndarray = attrs.field()
    """uint8 gray values, shape (H, W), or (D, H, W) for a volume."""
    spacing: tuple[float, ...] | None = attrs.field(default=None, validator=_positive_or_none)
    """Millimetres per pixel along each axis of ``pixels`` (rows first), or None where unknown."""
    source: str = ""
    """Path below the folder that was given, or the file name."""
    index: int = 0
    """Position in a cine; 0 for a still."""
    aspect: float | None = None
    """Height of a pixel over its width where a file says so without saying millimetres; None = not said."""

    @pixels.validator
    def _check_pixels(self, attribute: attrs.Attribute, value: np.ndarray) -> None:
        if value.dtype != np.uint8 or value.ndim not in (2, 3) or value.size == 0:
            raise ValueError(f"pixels: expected uint8 (H, W) or (D, H, W), found {value.dtype} {value.shape}")

    def __attrs_post_init__(self) -> None:
        if self.spacing is not None and len(self.spacing) != self.pixels.ndim:
            raise ValueError(f"spacing: expected {self.pixels.ndim} numbers, found {len(self.spacing)}")

    @property
    def height(self) -> int:
        return int(self.pixels.shape[-2])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[-1])
