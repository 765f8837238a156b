"""Painted strokes against a slow reference, and who wins where they meet."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from shapely import LineString

from aop_pose.scribbles.strokes import Stroke, masks, paint, strokes_for


def painted(ends, shape=(12, 15), thickness=1.0):
    mask = np.zeros(shape, np.uint8)
    paint(mask, LineString(ends), thickness)
    return mask


def test_level_line_by_hand():
    expected = np.zeros((12, 15), np.uint8)
    expected[3, 2:8] = 1
    assert_array_equal(painted([(2, 3), (7, 3)]), expected)
    expected[2:5, 2:8] = 1
    expected[3, [1, 8]] = 1
    assert_array_equal(painted([(2, 3), (7, 3)], thickness=2), expected)


# Thousandths of a pixel: shapely's own distance fails for ends that differ by 1e-295.
places = st.tuples(st.integers(-3000, 17000), st.integers(-3000, 14000)).map(
    lambda place: (place[0] / 1000, place[1] / 1000)
)


@given(places, places, st.floats(1, 6))
def test_agrees_with_the_distance_to_the_line(a, b, thickness):
    line = LineString([a, b])
    expected = np.zeros((12, 15), np.uint8)
    doubtful = np.zeros((12, 15), bool)
    for y in range(12):
        for x in range(15):
            apart = line.distance(shapely.Point(x, y))
            expected[y, x] = apart <= thickness / 2
            doubtful[y, x] = abs(apart - thickness / 2) < 1e-5
    found = painted([a, b], thickness=thickness)
    assert_array_equal(found[~doubtful], expected[~doubtful])


@pytest.mark.parametrize("structure", ["PS", "FH"])
def test_mirrored_frame_has_mirrored_pixels(structure):
    points = np.array([(138.0, 36.0), (58.0, 61.0), (200.0, 66.0)])
    turned = np.stack([255 - points[:, 0], points[:, 1]], axis=1)
    straight = masks(strokes_for(points, 256, 256).strokes, structure, 256, 256)
    flipped = masks(strokes_for(turned, 256, 256).strokes, structure, 256, 256)
    for mask, other in zip(straight, flipped, strict=True):
        assert mask.sum() > 50
        assert_array_equal(mask, other[:, ::-1])


def test_background_of_a_structure_and_foreground_of_the_other():
    strokes = [
        Stroke("ps_axis", "PS", True, LineString([(1, 1), (8, 1)])),
        Stroke("ps_beyond_ps1", "PS", False, LineString([(1, 5), (8, 5)])),
        Stroke("fh_level", "FH", True, LineString([(3, 0), (3, 9)])),
        Stroke("fh_tangent", "FH", False, LineString([(1, 8), (8, 8)])),
    ]
    positive, negative = masks(strokes, "PS", 10, 10, thickness=1)
    assert (positive.dtype, negative.dtype) == (np.uint8, np.uint8)
    assert_array_equal(np.argwhere(positive)[:, 0], [1] * 8)
    assert_array_equal(np.argwhere(negative)[:, 0], [5] * 8)
    positive, negative = masks(strokes, "PS", 10, 10, thickness=1, foreign=True)
    assert negative[9, 3] == 1
    # Where the head's stroke crosses the symphysis' own, the pixel stays foreground.
    assert (positive[1, 3], negative[1, 3]) == (1, 0)
    assert negative[8].sum() == 1
