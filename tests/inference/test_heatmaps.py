"""Maps and points: round trips at any position, in two and three dimensions, and the half-pixel convention."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aop_pose.inference.decode import decode, decode_ends, encode, peaks, read_maps, spreads, to_input, to_map

SIGMAS = st.floats(0.8, 6)


def place(size):
    return st.floats(-0.5, size - 0.5)


def slow_encode(point, shape, sigma):
    maps = np.zeros(shape)
    for index in np.ndindex(*shape):
        squared = sum((i - p) ** 2 for i, p in zip(index, point[::-1], strict=True))
        maps[index] = np.exp(-squared / (2 * sigma**2))
    return maps


@pytest.mark.parametrize(("point", "shape"), [((3.3, -0.4), (7, 9)), ((1.2, 4.9, 2.5), (4, 6, 5))])
def test_a_map_is_the_gaussian_of_the_paper(point, shape):
    np.testing.assert_allclose(encode(np.array([point]), shape, 1.7)[0], slow_encode(point, shape, 1.7), atol=1e-15)


def test_a_map_peaks_at_one_where_the_point_is_on_a_pixel():
    maps = encode(np.array([[[5.0, 2.0], [0.0, 7.0]]]), (8, 9), 2.0)
    assert maps.shape == (1, 2, 8, 9)
    assert (maps[0, 0, 2, 5], maps[0, 1, 7, 0]) == (1.0, 1.0)
    # One pixel beside it: exp(-1 / 8).
    assert maps[0, 0, 2, 6] == pytest.approx(0.8824969)


def test_a_missing_point_has_an_empty_map_and_an_empty_map_no_point():
    maps = encode(np.array([[np.nan, 2.0], [3.0, 3.0]]), (8, 8), 2.0)
    assert not maps[0].any()
    for rule in ("argmax", "soft-argmax", "subpixel"):
        points = decode(maps, rule)
        assert np.isnan(points[0]).all()
        assert np.isfinite(points[1]).all()
    np.testing.assert_allclose(peaks(maps), [0, 1])


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match="expected 3 coordinates"):
        encode(np.zeros((2, 2)), (4, 4, 4), 1.0)
    with pytest.raises(ValueError, match="expected one of argmax, soft-argmax, subpixel, found 'mean'"):
        decode(np.ones((1, 4, 4)), "mean")


@given(place(23), place(17), SIGMAS)
def test_subpixel_gives_back_any_position(x, y, sigma):
    found = decode(encode(np.array([[x, y]]), (17, 23), sigma), "subpixel")
    np.testing.assert_allclose(found, [[x, y]], atol=0.05)


@given(place(11), place(9), place(7), SIGMAS)
def test_subpixel_gives_back_any_position_in_three_dimensions(x, y, z, sigma):
    found = decode(encode(np.array([[x, y, z]]), (7, 9, 11), sigma), "subpixel", dimensions=3)
    np.testing.assert_allclose(found, [[x, y, z]], atol=0.05)


@given(place(23), place(17), SIGMAS)
def test_argmax_is_the_nearest_pixel(x, y, sigma):
    found = decode(encode(np.array([[x, y]]), (17, 23), sigma), "argmax")
    assert np.abs(found - [[x, y]]).max() <= 0.5 + 1e-9
    assert (found == found.round()).all()


@given(st.floats(20, 43), st.floats(20, 43), st.floats(0.8, 4))
def test_soft_argmax_is_right_where_no_border_cuts_the_peak(x, y, sigma):
    found = decode(encode(np.array([[x, y]]), (64, 64), sigma), "soft-argmax")
    np.testing.assert_allclose(found, [[x, y]], atol=0.01)


def test_soft_argmax_weighs_by_hand():
    maps = np.zeros((1, 3, 4))
    maps[0, 0, 1], maps[0, 2, 3] = 3.0, 1.0
    maps[0, 1, 0] = -9.0
    np.testing.assert_allclose(decode(maps, "soft-argmax"), [[1.5, 0.5]])


@given(st.integers(0, 1000), place(32), place(32))
def test_subpixel_bears_noise_better_than_argmax_or_within_half_a_pixel(seed, x, y):
    rng = np.random.default_rng(seed)
    noisy = encode(np.array([[x, y]]), (32, 32), 2.0) + rng.normal(0, 0.02, (1, 32, 32))
    assert np.linalg.norm(decode(noisy, "subpixel") - [[x, y]]) < 0.75


def test_what_is_no_peak_stays_on_its_pixel():
    flat = np.full((1, 6, 6), 0.3)
    np.testing.assert_allclose(decode(flat, "subpixel"), [[0, 0]], atol=1.0)
    alone = np.zeros((1, 6, 6))
    alone[0, 4, 2] = 1.0
    np.testing.assert_allclose(decode(alone, "subpixel"), [[2, 4]])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_has_no_point(value):
    maps = np.full((1, 5, 5), value)
    assert np.isnan(decode(maps, "subpixel")).all()
    assert peaks(maps) == [0.0]


@given(place(256), place(256), st.sampled_from([1, 2, 4, 8]))
def test_map_and_input_are_inverse(x, y, stride):
    np.testing.assert_allclose(to_input(to_map([x, y], stride), stride), [x, y], atol=1e-9)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_the_half_pixel_convention_is_that_of_a_resized_picture(stride):
    """A dot in a large picture, shrunk by OpenCV over areas, lies where the mapping says."""
    dot = np.array([[83.0, 130.0]])
    picture = encode(dot, (256, 256), 3.0 * stride)[0]
    small = cv2.resize(picture, (256 // stride, 256 // stride), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(decode(small[None], "subpixel"), to_map(dot, stride), atol=0.02)
    np.testing.assert_allclose(to_input(decode(small[None], "subpixel"), stride), dot, atol=0.02 * stride)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_both_ends_of_an_axis_are_found_whichever_map_shows_them(share):
    """``share`` of each end in the map of its name, the rest in the other's."""
    ends = np.array([[10.3, 40.0], [50.2, 20.7]])
    own = encode(ends, (64, 64), 2.0)
    maps = share * own + (1 - share) * own[::-1]
    points, scores = decode_ends(maps, "subpixel")
    expected = ends if share != 0 else ends[::-1]
    if share == 0.5:
        points, expected = points[points[:, 0].argsort()], ends
    np.testing.assert_allclose(points, expected, atol=0.05)
    np.testing.assert_allclose(scores, peaks(own if share else own[::-1]), atol=1e-2)


def test_maps_of_a_schema_are_read_in_pixels_of_the_input():
    points = np.array([[30.0, 100.0], [200.0, 120.0], [110.0, 30.0], [120.0, 220.0]])
    maps = encode(to_map(points, 4), (64, 64), 2.0)
    # Each axis shows both ends in both maps; the sum tells them apart.
    maps = np.stack([maps[:2].mean(axis=0)] * 2 + [maps[2:].mean(axis=0)] * 2)
    found, scores = read_maps(maps, "subpixel", [(0, 1), (2, 3)], 256)
    for pair in ([0, 1], [2, 3]):
        assert sorted(map(tuple, found[pair].round(1))) == sorted(map(tuple, points[pair]))
    assert scores.min() > 0.9


def test_the_spread_of_two_pixels_and_of_a_gaussian():
    """Two equal pixels four apart lie 2 from their middle: 2 / 8; a Gaussian's two axes give sqrt(2) sigma."""
    maps = np.zeros((2, 8, 8))
    maps[0, 3, [1, 5]] = 7.0
    maps[1] = -1.0
    np.testing.assert_allclose(spreads(maps), [0.25, np.nan])
    wide = encode(np.array([[31.3, 30.0]]), (64, 64), 1.5)
    np.testing.assert_allclose(spreads(wide), np.sqrt(2) * 1.5 / 64, rtol=1e-3)
    assert spreads(np.full((1, 2, 4, 4), np.nan)).shape == (1, 2)
