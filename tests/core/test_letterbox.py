"""Letterbox: points follow the picture exactly, both ways."""

import cv2
import numpy as np
import pytest

from aop_pose.core.letterbox import PAD_VALUE, fit


@pytest.mark.parametrize(("height", "width"), [(256, 256), (480, 640), (640, 480), (97, 311), (1024, 768), (40, 40)])
def test_points_return_to_where_they_were(height, width):
    _, box = fit(np.zeros((height, width), np.uint8), 256)
    points = np.array([[0.0, 0.0], [width - 1, height - 1], [width / 3, height / 7]])
    np.testing.assert_allclose(box.backward(box.forward(points)), points, atol=1e-9)


@pytest.mark.parametrize("size", [128, 256, 384])
def test_a_dot_stands_where_its_coordinates_say(size):
    """The centre of mass of a blurred dot, resized by OpenCV, against the mapping of its coordinates."""
    picture = np.zeros((256, 192), np.float64)
    picture[100, 60] = 1
    blurred = cv2.GaussianBlur(picture, (0, 0), 6)
    pixels = np.round(blurred / blurred.max() * 255).astype(np.uint8)
    fitted, box = fit(pixels, size)
    left = box.pad_x
    inside = fitted[:, left : size - left].astype(float)
    rows, columns = np.indices(inside.shape)
    centre = [(inside * columns).sum() / inside.sum() + left, (inside * rows).sum() / inside.sum()]
    np.testing.assert_allclose(box.forward(np.array([60.0, 100.0])), centre, atol=0.05)


def test_a_frame_of_the_right_size_is_untouched():
    pixels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    fitted, box = fit(pixels, 64)
    assert (fitted == pixels).all()
    np.testing.assert_array_equal(box.forward(np.array([3.0, 5.0])), [3, 5])


def test_a_wide_frame_is_padded_not_stretched():
    fitted, box = fit(np.full((100, 200), 7, np.uint8), 64)
    assert fitted.shape == (64, 64)
    assert box.scale_x == pytest.approx(box.scale_y) == 0.32
    assert (fitted[:16] == PAD_VALUE).all()
    assert (fitted[48:] == PAD_VALUE).all()
    assert (fitted[16:48] == 7).all()


def test_a_sliver_keeps_at_least_a_pixel():
    fitted, _ = fit(np.zeros((3, 5000), np.uint8), 64)
    assert fitted.shape == (64, 64)
