"""Frames that were read but must never be measured: nothing on them, or not enough of them."""

from __future__ import annotations

import cv2
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
MIN_NEIGHBOUR_CORRELATION = 0.5
"""Of the gray values of neighbouring pixels: the 1058 real PSFHS frames have 0.88 or more, white noise has 0."""
_SAMPLED_LINES = 256


def is_blank(frame: Frame) -> bool:
    """True for a black, constant or nearly constant frame."""
    darkest, brightest, _, _ = cv2.minMaxLoc(frame.pixels)
    # Not ndarray.std, which takes eight bytes a pixel.
    return brightest - darkest < BLANK_RANGE or float(cv2.meanStdDev(frame.pixels)[1][0, 0]) < BLANK_DEVIATION


def is_noise(frame: Frame) -> bool:
    """True where a pixel says nothing of the next one, neither along the rows nor along the columns."""
    for lines in (frame.pixels, frame.pixels.T):
        sampled = lines[:: max(1, len(lines) // _SAMPLED_LINES)].astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.corrcoef(sampled[:, :-1].ravel(), sampled[:, 1:].ravel())[0, 1]
        if not correlation < MIN_NEIGHBOUR_CORRELATION:
            return False
    return True


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
    if is_noise(frame):
        return "noise: neighbouring pixels have nothing in common, which no picture shows"
    return ""
