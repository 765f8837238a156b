"""MetaImage volumes: where they lie, and what is refused."""

import numpy as np
import pytest

from aop_pose.errors import UnreadableError
from aop_pose.io.volumes import read_volume
from tests.volume_files import AXES, VALUES, affine_of, metaimage, numbers


def matrix(axes):
    """A row of the file is the direction of an axis, in LPS."""
    return numbers((np.diag([-1, -1, 1]) @ axes).T)


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_metaimage_lies_where_its_header_says(tmp_path, name, compressed):
    fields = f"TransformMatrix = {matrix(AXES[name])}\nOffset = -10 20 30\nElementSpacing = 1 2 3"
    volume = read_volume(metaimage(tmp_path / "a.mha", fields, compressed=compressed))
    assert volume.affine == pytest.approx(affine_of(AXES[name]))
    assert np.array_equal(volume.voxels, VALUES)


def test_a_metaimage_without_matrix_runs_left_back_up(tmp_path):
    volume = read_volume(metaimage(tmp_path / "a.mha", "ElementSpacing = 1 2 3"))
    assert volume.affine.tolist() == np.diag([-1.0, -2, 3, 1]).tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("Offset = 0 0 0", "found none; store it in the file, or give it"),
        ("ElementSpacing = 0 1 1", "expected positive millimetres along i, j, k, found 0, 1, 1"),
        ("ElementSpacing = nan 1 1", "expected a number, found 'nan'"),
        ("ElementSpacing = 6_0 1 1", "expected a number, found '6_0'"),
        ("ElementSpacing = 1 2", "expected 3 numbers, found 2"),
        ("ElementSpacing = a b c", "damaged MetaImage header"),
        ("ElementSpacing = 1 2 3\nOffset = x 0 0", "damaged MetaImage header: Offset = x 0 0"),
        ("ElementSpacing = 1 2 3\nTransformMatrix = 1 0 0 .6 .8 0 0 0 1", "expected axes at right angles"),
        ("ElementSpacing = 1 2 3\nTransformMatrix = 1 0 0 1 0 0 0 0 1", "expected axes at right angles"),
        ("ElementSpacing = 1 2 3\nElementNumberOfChannels = 3", "found 3 channels"),
    ],
)
def test_a_metaimage_that_states_no_place_is_refused_in_one_line(tmp_path, fields, message):
    with pytest.raises(UnreadableError, match=message) as caught:
        read_volume(metaimage(tmp_path / "a.mha", fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_metaimage_is_refused(tmp_path, compressed):
    file = metaimage(tmp_path / "a.mha", "ElementSpacing = 1 2 3", compressed=compressed, cut=8)
    with pytest.raises(UnreadableError, match="truncated"):
        read_volume(file)


def test_directions_that_state_a_second_spacing_are_refused(tmp_path):
    half = f"TransformMatrix = {numbers(np.diag([1, 0.5, 1]))}\nElementSpacing = 1 2 3"
    with pytest.raises(UnreadableError, match=r"TransformMatrix: expected directions of length 1 .*, found 1, 0\.5, 1"):
        read_volume(metaimage(tmp_path / "a.mha", half))
