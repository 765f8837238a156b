"""Time points written as one file come back as they were."""

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.errors import UsageError
from aop_pose.io.volumes import read_volumes, write_sequence

AFFINE = np.array([[0, -2.0, 0, 5], [1, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]])


def frames(kind=np.uint8):
    draw = np.random.default_rng(0)
    return [Volume((draw.random((4, 5, 6)) * 200).astype(kind).astype(np.float32), AFFINE) for _ in range(3)]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_every_time_point_comes_back(tmp_path, suffix, kind):
    given = frames(kind)
    write_sequence(given, tmp_path / f"a{suffix}")
    found = list(read_volumes(tmp_path / f"a{suffix}"))
    assert [one.index for one in found] == [0, 1, 2]
    for one, other in zip(found, given, strict=True):
        np.testing.assert_array_equal(one.voxels, other.voxels)
        np.testing.assert_allclose(one.affine, AFFINE, atol=1e-6)


def test_another_program_reads_it_as_four_dimensional(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    write_sequence(frames(), tmp_path / "a.nii.gz")
    image = itk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert image.GetSize() == (4, 5, 6, 3)
    np.testing.assert_array_equal(itk.GetArrayFromImage(image)[1].transpose(), frames()[1].voxels)


def test_what_is_no_sequence_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"expected a name that ends in .nii, .nii.gz"):
        write_sequence(frames(), tmp_path / "a.mha")
    with pytest.raises(ValueError, match="one grid"):
        write_sequence([*frames(), Volume(np.zeros((4, 5, 7), np.float32), AFFINE)], tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []
