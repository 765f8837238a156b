"""Frames that were read but must never be measured: nothing on them, or not enough of them."""

from __future__ import annotations

import numpy as np

from aop_pose.frame import Frame

MIN_SIDE = 32
"""Pixels; below it three points cannot be told apart."""
MAX_ELONGATION = 8.0
"""Longer side over shorter side; beyond it a letterboxed frame is a thread."""
BLANK_RANGE = 16
"""Gray values; a frame whose brightest and darkest pixel lie closer is blank."""
BLANK_DEVIATION = 3.0
"""Gray values; a frame whose standard deviation is below is blank. 1058 real PSFHS frames have 21 or more."""


def is_blank(frame: Frame) -> bool:
    """True for a black, constant or nearly constant frame."""
    pixels = frame.pixels
    return int(np.ptp(pixels)) < BLANK_RANGE or float(pixels.std()) < BLANK_DEVIATION


def unfit_reason(frame: Frame) -> str:
    """Why a frame must not be measured, "" where it may be."""
    width, height = frame.width, frame.height
    shorter, longer = sorted((width, height))
    if shorter < MIN_SIDE:
        return f"too small to measure: {width} x {height} pixels, {MIN_SIDE} are needed on the shorter side"
    if longer > MAX_ELONGATION * shorter:
        return f"too narrow to measure: {width} x {height} pixels, at most {MAX_ELONGATION:g}:1 is measured"
    if is_blank(frame):
        return "blank: a black or constant frame shows nothing to measure"
    return ""
