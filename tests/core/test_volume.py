"""A volume knows where its voxels lie, and refuses what nothing can be measured on."""

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from tests.volume_files import AXES, ORIGIN, SPACING, affine_of

VOXELS = np.zeros((4, 5, 6), np.float32)


def test_a_voxel_lies_where_the_affine_says():
    # Axis i runs to the left, j up, k to the back; 1, 2 and 3 mm a voxel.
    volume = Volume(VOXELS, [[-1, 0, 0, 10], [0, 0, -3, -20], [0, 2, 0, 30], [0, 0, 0, 1]])
    assert volume.to_mm((0, 0, 0)).tolist() == [10, -20, 30]
    assert volume.to_mm([(1, 2, 3), (0.5, 0, 0)]).tolist() == [[9, -29, 34], [9.5, -20, 30]]
    assert volume.spacing.tolist() == [1, 2, 3]
    assert volume.shape == (4, 5, 6)


@pytest.mark.parametrize(("name", "hand"), list(zip(AXES, (1, -1, 1, -1, 1, -1), strict=True)))
def test_millimetres_come_back_as_voxels_whatever_the_orientation(name, hand):
    volume = Volume(VOXELS, affine_of(AXES[name]))
    assert volume.handedness == hand
    assert volume.spacing == pytest.approx(SPACING)
    points = np.random.default_rng(0).uniform(-50, 50, (7, 2, 3))
    assert volume.to_mm(volume.from_mm(points)) == pytest.approx(points)
    # One step along an axis is as long as the spacing says.
    for axis, spacing in enumerate(SPACING):
        step = volume.to_mm(np.eye(3)[axis]) - np.array(ORIGIN)
        assert np.linalg.norm(step) == pytest.approx(spacing)


def test_a_missing_point_stays_missing():
    volume = Volume(VOXELS, affine_of(AXES["oblique"]))
    points = np.array([(1, 2, 3), (np.nan, 2, 3)])
    for convert in (volume.to_mm, volume.from_mm):
        assert np.isfinite(convert(points)[0]).all()
        assert not np.isfinite(convert(points)[1]).all()


def test_voxels_that_are_not_finite_are_counted():
    voxels = VOXELS.copy()
    voxels[0, 0, :2] = np.nan, np.inf
    with pytest.raises(ValueError, match="expected finite gray values, found 2 of 120 that are NaN or infinite"):
        Volume(voxels, np.eye(4))


@pytest.mark.parametrize(
    ("voxels", "found"),
    [(np.zeros((4, 5)), r"float64 \(4, 5\)"), (np.zeros((4, 5, 6)), "float64"), (np.zeros((4, 0, 6), "f4"), "0")],
)
def test_other_voxels_are_refused(voxels, found):
    with pytest.raises(ValueError, match=rf"voxels: expected float32 \(I, J, K\), found .*{found}"):
        Volume(voxels, np.eye(4))


def changed(row, column, value):
    affine = affine_of(AXES["oblique"])
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), "expected finite numbers"),
        (changed(0, 3, np.nan), "expected finite numbers"),
        (changed(3, 3, 2), "the last row 0 0 0 1"),
        (np.diag([1.0, 0, 3, 1]), "expected positive millimetres along i, j, k, found 1, 0, 3"),
        (changed(0, 2, 1), "expected axes at right angles, found a sheared"),
        (affine_of(np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 1]])), "expected axes at right angles"),
    ],
)
def test_an_affine_that_is_no_place_in_space_is_refused_in_one_line(affine, message):
    with pytest.raises(ValueError, match=message) as caught:
        Volume(VOXELS, affine)
    assert "\n" not in str(caught.value)


def test_single_precision_is_no_shear():
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0].astype(np.float32)
    assert Volume(VOXELS, affine_of(axes)).spacing == pytest.approx(SPACING)
