"""NumPy files as volumes: what they have to hold, and what is refused."""

import numpy as np
import pytest

from aop_pose.errors import UnreadableError
from aop_pose.io.volumes import read_volume
from tests.volume_files import AXES, SPACING, VALUES, affine_of, nifti


def test_an_npz_holds_voxels_and_affine(tmp_path):
    np.savez(tmp_path / "a.npz", voxels=VALUES.astype(np.uint8), affine=affine_of(AXES["oblique"]))
    volume = read_volume(tmp_path / "a.npz", source="folder/a.npz")
    assert volume.affine == pytest.approx(affine_of(AXES["oblique"]))
    assert np.array_equal(volume.voxels, VALUES)
    assert volume.source == "folder/a.npz"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"voxels": VALUES}, "expected the arrays voxels and affine, found voxels"),
        ({"voxels": VALUES[0], "affine": np.eye(4)}, r"voxels: expected numbers .* found float32 \(5, 6\)"),
        ({"voxels": VALUES, "affine": np.eye(3)}, r"affine: expected numbers \(4, 4\), found float64 \(3, 3\)"),
        ({"voxels": VALUES, "affine": np.diag([0.0, 1, 1, 1])}, "found 0, 1, 1"),
        ({"voxels": VALUES, "affine": affine_of(np.eye(3)).T}, "affine: expected the last row 0, 0, 0, 1, found 10.0"),
        ({"voxels": VALUES[..., None][..., :0], "affine": np.eye(4)}, "no voxels"),
        ({"voxels": VALUES[:0], "affine": np.eye(4)}, "no voxels: its header says 0 x 5 x 6"),
        ({"voxels": VALUES + 1j, "affine": np.eye(4)}, "complex"),
        ({"voxels": np.array([[[None]]]), "affine": np.eye(4)}, "found one of object; it is never unpickled"),
    ],
)
def test_an_npz_that_is_no_volume_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UnreadableError, match=message) as caught:
        read_volume(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_an_npy_needs_a_spacing(tmp_path):
    np.save(tmp_path / "a.npy", VALUES)
    with pytest.raises(UnreadableError, match="expected positive millimetres along i, j, k, found none"):
        read_volume(tmp_path / "a.npy")
    assert read_volume(tmp_path / "a.npy", spacing=SPACING).affine.tolist() == np.diag([*SPACING, 1]).tolist()


def test_gray_values_beyond_float32_are_refused_without_a_warning(tmp_path):
    np.savez(tmp_path / "a.npz", voxels=VALUES.astype(np.float64) * 1e300, affine=np.eye(4))
    for file in (tmp_path / "a.npz", nifti(tmp_path / "a.nii", scaling=(3e38, 0))):
        with pytest.raises(UnreadableError, match="expected finite gray values"):
            read_volume(file)


def test_damaged_numpy_files_are_refused(tmp_path):
    np.save(tmp_path / "whole.npy", VALUES)
    np.savez(tmp_path / "whole.npz", voxels=VALUES, affine=np.eye(4))
    array, archive = ((tmp_path / name).read_bytes() for name in ("whole.npy", "whole.npz"))
    lying = array.replace(b"(4, 5, 6)", b"(9, 9, 9)")
    contents = {"a.npz": (b"hello", array, archive[:-30]), "a.npy": (b"hello", archive, array[:-1], lying)}
    for name, damaged in contents.items():
        for content in damaged:
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UnreadableError, match=r"damaged NumPy file: \w") as caught:
                read_volume(tmp_path / name)
            assert len(str(caught.value)) < 200
