"""Any number type to 8 bit, by numbers worked out by hand."""

import numpy as np
import pytest

from aop_pose.errors import UnreadableError
from aop_pose.io.pixels import check_size, over_black, rgb_to_gray, to_gray8


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 7, 255], np.uint8), [0, 7, 255]),
        (np.array([10, 200], np.uint16), [10, 200]),
        (np.array([0, 65535, 257], np.uint16), [0, 255, 1]),
        (np.array([1000, 1003], np.uint16), [0, 3]),
        (np.array([-100, 410], np.int16), [0, 255]),
        (np.array([-1, 5], np.int8), [0, 6]),
        (np.array([0.0, 0.5, 1.0]), [0, 128, 255]),
        (np.array([0.0, 12.4, 254.6]), [0, 12, 255]),
        (np.array([-1.0, 0.0, 1.0], np.float32), [0, 128, 255]),
        (np.array([300.0, 300.0]), [0, 0]),
        (np.array([np.nan, np.inf, -np.inf, 7.0]), [0, 0, 0, 7]),
        (np.array([np.nan, np.nan]), [0, 0]),
        (np.array([2**40, 2**40 + 255], np.int64), [0, 255]),
        (np.array([True, False]), [255, 0]),
    ],
)
def test_to_gray8(values: np.ndarray, expected: list[int]) -> None:
    gray = to_gray8(values)
    assert gray.dtype == np.uint8
    assert gray.tolist() == expected


def test_equal_channels_stay() -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(rgb_to_gray(np.stack([levels] * 3, axis=-1)), levels)
    assert rgb_to_gray(np.array([[100, 200, 50]], np.uint8)).tolist() == [153]


def test_over_black() -> None:
    assert over_black(np.array([200, 200, 200], np.uint8), np.array([0, 128, 255], np.uint8)).tolist() == [
        0,
        100,
        200,
    ]


def test_sizes() -> None:
    check_size(8000, 8000)
    with pytest.raises(UnreadableError, match="too large: 8001 x 8000 pixels, at most 64 megapixels"):
        check_size(8001, 8000)
    with pytest.raises(UnreadableError, match="no pixels"):
        check_size(0, 5)
