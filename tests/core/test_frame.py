"""A frame is checked once, where it is made."""

import math

import numpy as np
import pytest

from aop_pose.core.frame import Frame


def test_size_of_a_picture_and_millimetres_of_its_points():
    picture = Frame(np.zeros((3, 5), np.uint8), spacing=(0.2, 0.1))
    assert (picture.height, picture.width, picture.shape) == (3, 5, (5, 3))
    assert picture.to_mm([(10, 20), (0, 1)]).tolist() == [[1.0, 4.0], [0.0, 0.2]]
    assert np.isnan(Frame(np.zeros((3, 5), np.uint8)).to_mm((1, 2))).all()


def test_what_is_not_known_is_none():
    frame = Frame(np.zeros((1, 1), np.uint8))
    assert (frame.spacing, frame.aspect, frame.source, frame.index) == (None, None, "", 0)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((3, 5), np.uint16),
        np.zeros((3, 5), np.float32),
        np.zeros(5, np.uint8),
        np.zeros((2, 3, 5), np.uint8),
        np.zeros((0, 5), np.uint8),
    ],
)
def test_other_pixels_are_named_in_the_error(pixels):
    with pytest.raises(ValueError, match="pixels: expected gray values") as caught:
        Frame(pixels)
    assert str(pixels.dtype) in str(caught.value)
    assert str(pixels.shape) in str(caught.value)


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_spacing_is_positive(spacing):
    with pytest.raises(ValueError, match=r"spacing: expected .row, column. millimetres per pixel"):
        Frame(np.zeros((3, 5), np.uint8), spacing=spacing)


def test_spacing_has_one_number_per_axis():
    with pytest.raises(ValueError, match=r"two positive numbers, found .1\.0, 1\.0, 1\.0."):
        Frame(np.zeros((3, 5), np.uint8), spacing=(1.0, 1.0, 1.0))
