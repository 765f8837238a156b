"""Any number type to 8 bit, by numbers worked out by hand."""

import numpy as np
import pytest

from aop_pose.errors import UnreadableError
from aop_pose.io.pixels import check_size, check_unpacked, over_black, rgb_to_gray, to_gray8


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


def noise(count: int, kind: str = "u2") -> np.ndarray:
    return np.random.default_rng(2).integers(1000, 5000, count).astype(kind)


@pytest.mark.parametrize("kind", ["u2", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("odd", [0, 20_000])
def test_a_hot_or_dead_pixel_does_not_move_the_window(kind: str, odd: int) -> None:
    for count in (64, 4096, 200_000):
        plain, hot = noise(count, kind), noise(count, kind)
        hot[count // 2] = odd
        difference = np.flatnonzero(to_gray8(plain) != to_gray8(hot))
        assert set(difference) <= {count // 2}
        assert to_gray8(hot)[count // 2] == (255 if odd else 0)


def test_hot_and_dead_pixels_together_and_as_many_as_one_in_ten_thousand() -> None:
    plain, odd = noise(200_000), noise(200_000)
    odd[:10], odd[20:40] = 60_000, 0
    assert np.array_equal(to_gray8(plain)[40:], to_gray8(odd)[40:])


def test_more_bright_pixels_than_that_or_nearer_ones_are_part_of_the_picture() -> None:
    many, near = noise(200_000), noise(200_000)
    many[:21] = 60_000
    near[0] = 5400
    for values in (many, near):
        low, high = float(values.min()), float(values.max())
        plain = np.rint((values.astype(np.float32) - low) * (255.0 / (high - low)))
        assert np.array_equal(to_gray8(values), plain)


def test_a_hot_pixel_does_not_decide_how_numbers_are_meant() -> None:
    for plain, odd in (
        (np.linspace(0, 1, 100), 7.0),
        (np.arange(100.0) * 2, 1e6),
        (np.arange(100, dtype=np.uint16), 65535),
    ):
        hot = plain.copy()
        hot[50] = odd
        assert np.array_equal(np.delete(to_gray8(hot), 50), np.delete(to_gray8(plain), 50))


def test_twelve_bits_in_sixteen_use_all_gray_levels() -> None:
    levels = np.arange(4096, dtype=np.uint16)
    assert np.array_equal(to_gray8(levels), np.rint(levels * np.float32(255 / 4095)).astype(np.uint8))


def test_luma_of_any_type_keeps_equal_channels() -> None:
    for kind in ("u1", "u2", "i2", "i4", "f4", "f8"):
        values = noise(300, kind).reshape(20, 15)
        assert np.array_equal(rgb_to_gray(np.dstack([values] * 3)), values), kind


def test_what_is_unpacked_is_bounded_by_bytes() -> None:
    check_size(8000, 8000, 4)
    with pytest.raises(UnreadableError, match="too large: 8000 x 8000 pixels of 8 bytes, at most 256 MB"):
        check_size(8000, 8000, 8)
    check_unpacked(512_000_000, 1)
    check_unpacked(2_000_000_000, 10_000_000)
    with pytest.raises(UnreadableError, match="too large: 500000 bytes that unpack to 1600 MB and more"):
        check_unpacked(1_600_000_000, 500_000)
