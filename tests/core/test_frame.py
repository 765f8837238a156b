"""A frame is checked once, where it is made."""

import math

import numpy as np
import pytest

from aop_pose.core.frame import Frame


def test_height_and_width_of_a_picture_and_of_a_volume():
    picture = Frame(np.zeros((3, 5), np.uint8), spacing=(0.2, 0.1))
    assert (picture.height, picture.width) == (3, 5)
    volume = Frame(np.zeros((2, 3, 5), np.uint8), spacing=(4.5, 0.2, 0.1))
    assert (volume.height, volume.width) == (3, 5)


def test_what_is_not_known_is_none():
    frame = Frame(np.zeros((1, 1), np.uint8))
    assert (frame.spacing, frame.aspect, frame.source, frame.index) == (None, None, "", 0)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 5), np.uint16),
        np.zeros((3, 5), np.float32),
        np.zeros(5, np.uint8),
        np.zeros((2, 3, 5, 3), np.uint8),
        np.zeros((0, 5), np.uint8),
    ],
)
def test_other_pixels_are_named_in_the_error(pixels):
    with pytest.raises(ValueError, match="pixels: expected uint8") as caught:
        Frame(pixels)
    assert str(pixels.dtype) in str(caught.value)
    assert str(pixels.shape) in str(caught.value)


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_spacing_is_positive(spacing):
    with pytest.raises(ValueError, match="spacing: expected positive millimetres"):
        Frame(np.zeros((3, 5), np.uint8), spacing=spacing)


def test_spacing_has_one_number_per_axis():
    with pytest.raises(ValueError, match="spacing: expected 2 numbers, found 3"):
        Frame(np.zeros((3, 5), np.uint8), spacing=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="spacing: expected 3 numbers, found 2"):
        Frame(np.zeros((2, 3, 5), np.uint8), spacing=(1.0, 1.0))
