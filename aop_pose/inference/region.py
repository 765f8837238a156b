"""The ultrasound region of a frame, found in its pixels."""

from __future__ import annotations

import attrs
import numpy as np

from aop_pose.core.region import Region


@attrs.frozen
class Sight:
    """The place of the ultrasound in a picture, and what a reader of its row should know."""

    region: Region | None
    """None = nothing that could be measured, ``reason`` says why."""
    reason: str = ""


def find_region(pixels: np.ndarray) -> Sight:
    """The ultrasound region of a gray picture (H, W) uint8."""
    height, width = pixels.shape
    return Sight(Region.whole(width, height))
