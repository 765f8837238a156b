"""Slices and planes of volumes: sampled by the definition, proportions physical, places where they belong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aop_pose.core.frame import Volume
from aop_pose.draw.volume import Window, gray_values, plane_picture
from aop_pose.inference.grid import sample
from tests.fakes import random_volume


def interpolated(values, place):
    """One value by the definition: the corners of its cell, weighted by the opposite boxes."""
    low = np.floor(place).astype(int)
    total = 0.0
    for corner in np.ndindex(2, 2, 2):
        at = low + corner
        if (at < np.array(values.shape)).all():
            total += np.prod(1 - np.abs(place - at)) * values[tuple(at)]
    return total


def test_sampling_against_the_definition():
    values = np.random.default_rng(1).uniform(size=(5, 4, 3))
    places = np.random.default_rng(2).uniform(0, [4, 3, 2], (200, 3))
    assert sample(values, places) == pytest.approx([interpolated(values, place) for place in places])
    corners = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1)
    assert sample(values, corners) == pytest.approx(values)
    assert sample(values, np.array([[-0.01, 0, 0], [0, 3.01, 0], [4, 3, 2.5]])).tolist() == [0, 0, 0]
    assert sample(np.full((1, 1, 1), 7.0), np.zeros((1, 3))).tolist() == [7]


def test_a_plane_across_an_axis_is_that_slice():
    volume = random_volume()
    gray = gray_values(volume)
    # Rows down the first axis, columns along the second: 2 mm from voxel to voxel there.
    steps = np.array([[0.0, 2, 0], [1, 0, 0]])
    assert np.array_equal(plane_picture(volume, gray, volume.to_mm([0, 0, 5]), steps, (20, 12)), gray[:, :, 5])


def test_gray_is_what_the_network_sees_and_nothing_in_an_empty_volume():
    gray = gray_values(random_volume())
    assert (gray.min(), gray.max()) == (0, 255)
    assert not gray_values(Volume(np.full((4, 4, 4), 3, np.float32), np.eye(4))).any()


@pytest.mark.parametrize(("axis", "lengths"), [(0, (24, 32)), (1, (20, 32)), (2, (20, 24))])
def test_slices_keep_their_proportions_whatever_the_spacing(axis, lengths):
    window = Window.about(random_volume(), np.full((1, 3), np.nan), 10, 800, 400)
    width, height = window.size(axis)
    assert width / height == pytest.approx(lengths[0] / lengths[1], rel=0.02)
    assert window.slice(gray_values(random_volume()), axis, 3).shape == (height, width, 3)


def test_slices_fit_side_by_side():
    window = Window.about(random_volume(), np.full((1, 3), np.nan), 10, 800, 300)
    sizes = [window.size(axis) for axis in range(3)]
    assert sum(width for width, _ in sizes) <= 802
    assert max(height for _, height in sizes) <= 301


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_place_on_a_slice_is_that_of_its_voxel(axis):
    """One bright voxel: its centre of gravity in the picture is where a point in it is drawn."""
    voxels = np.zeros((20, 12, 8), np.uint8)
    voxels[9, 4, 3] = 255
    volume = random_volume()
    window = Window.about(volume, np.array([[9.0, 4, 3]]), 12, 800, 400)
    picture = window.slice(voxels, axis, (9, 4, 3)[axis])[..., 0].astype(float)
    rows, columns = np.indices(picture.shape)
    found = (columns * picture).sum() / picture.sum(), (rows * picture).sum() / picture.sum()
    assert found == pytest.approx(window.places(np.array([9.0, 4, 3]), axis), abs=0.1)


def test_up_is_the_second_axis_that_is_shown():
    window = Window.about(random_volume(), np.full((1, 3), np.nan), 10, 800, 400)
    low, high = window.places(np.array([[5.0, 5, 1], [5, 5, 6]]), 0)
    assert high[1] < low[1]
    left, right = window.places(np.array([[1.0, 5, 1], [9, 5, 1]]), 2)
    assert left[0] < right[0]


@given(st.lists(st.tuples(*[st.floats(-1e5, 1e5)] * 3), min_size=1, max_size=4))
def test_a_window_lies_in_its_volume_wherever_the_points_are(points):
    window = Window.about(random_volume(), np.array(points), 5, 300, 200)
    assert (window.first >= 0).all()
    assert (window.first <= window.last).all()
    assert (window.last < [20, 12, 8]).all()
