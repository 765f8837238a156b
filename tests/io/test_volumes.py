"""Volumes of every format: written, read back, refused; sequences; folders of them."""

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.measure import measure_volume
from aop_pose.core.schemas import FETAL_FACE
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.volumes import discover_volumes, open_volume, read_volume, read_volumes, write_volume
from tests.volume_files import AXES, SHAPE, SPACING, VALUES, affine_of, metaimage, nifti, nrrd, numbers

SUFFIXES = [".nii", ".nii.gz", ".mha", ".nrrd", ".npz"]
NEEDS_ITK = pytest.importorskip("SimpleITK", reason="SimpleITK comes with the volumes extra")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", AXES)
def test_a_volume_comes_back_as_it_was_written(tmp_path, suffix, name):
    before = Volume(VALUES / 7, affine_of(AXES[name]))
    write_volume(before, tmp_path / f"a{suffix}")
    after = read_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(after.voxels, before.voxels)
    assert after.affine == pytest.approx(before.affine, abs=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", AXES)
def test_a_point_placed_in_millimetres_is_measured_there(tmp_path, suffix, name):
    """From millimetres to voxels, through a file, and back to the length between the points."""
    points = np.array([(11.5, -17.25, 33), (12, -20, 31), (15, -16, 31)])
    before = Volume(np.zeros(SHAPE, np.float32), affine_of(AXES[name]))
    write_volume(before, tmp_path / f"a{suffix}")
    after = read_volume(tmp_path / f"a{suffix}")
    indices = after.from_mm(points)
    assert indices == pytest.approx(before.from_mm(points), abs=1e-5)
    measured = measure_volume(Keypoints.from_points(FETAL_FACE, indices), after.affine)
    assert measured.measurements["eye_distance_mm"].value == pytest.approx(5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("values", "size"),
    [(VALUES, 1), (VALUES - 60, 2), (VALUES * 3, 2), (VALUES * 3000, 4), (VALUES / 7, 4)],
    ids=["bytes", "negative", "above 255", "too large", "fractions"],
)
def test_gray_values_are_stored_small_and_without_loss(tmp_path, suffix, values, size):
    write_volume(Volume(values.astype(np.float32), np.eye(4)), tmp_path / f"a{suffix}")
    assert np.array_equal(read_volume(tmp_path / f"a{suffix}").voxels, values.astype(np.float32))
    (stored,) = open_volume(tmp_path / f"a{suffix}").load()
    assert stored.dtype.itemsize == size


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("name", AXES)
def test_itk_finds_what_is_written_at_the_same_place(tmp_path, suffix, name):
    volume = Volume(VALUES, affine_of(AXES[name]))
    write_volume(volume, tmp_path / f"a{suffix}")
    image = NEEDS_ITK.ReadImage(str(tmp_path / f"a{suffix}"))
    assert np.array_equal(NEEDS_ITK.GetArrayFromImage(image), VALUES.T)
    x, y, z = image.TransformIndexToPhysicalPoint((3, 2, 5))
    assert volume.to_mm((3, 2, 5)) == pytest.approx([-x, -y, z], abs=1e-4)


# ---- sequences


SEQUENCE = np.stack([VALUES, VALUES + 500, VALUES + 900], axis=3)


def sequences(folder):
    np.savez(folder / "a.npz", voxels=SEQUENCE, affine=np.diag([*SPACING, 1]))
    lists = "kinds: list domain domain domain\nspace: LPS\nspace directions: none (-1,0,0) (0,-2,0) (0,0,3)"
    return [
        folder / "a.npz",
        nifti(folder / "a.nii.gz", SEQUENCE, pixdim=(1, *SPACING, 0.5)),
        metaimage(folder / "a.mha", f"TransformMatrix = {numbers(np.eye(4))}\nElementSpacing = 1 2 3 1", SEQUENCE),
        nrrd(folder / "a.nrrd", "spacings: 1 2 3 1", SEQUENCE),
        nrrd(folder / "b.nrrd", lists, np.moveaxis(SEQUENCE, 3, 0)),
        nrrd(folder / "c.nrrd", "kinds: list domain domain domain\nspacings: nan 1 2 3", np.moveaxis(SEQUENCE, 3, 0)),
    ]


def test_a_sequence_gives_a_volume_for_each_time_point(tmp_path):
    for file in sequences(tmp_path):
        found = list(read_volumes(file, "s"))
        assert [(volume.source, volume.index) for volume in found] == [("s", 0), ("s", 1), ("s", 2)], file
        assert np.array_equal(np.stack([volume.voxels for volume in found], axis=3), SEQUENCE), file
        assert all(np.array_equal(volume.affine, found[0].affine) for volume in found)
        assert found[0].spacing == pytest.approx(SPACING)


def test_where_one_volume_is_expected_a_sequence_is_refused_and_one_of_it_can_be_named(tmp_path):
    for file in sequences(tmp_path):
        with pytest.raises(UsageError, match=r"found a 4-D file of 3 time points; .* index, 0 to 2"):
            read_volume(file)
        assert np.array_equal(read_volume(file, index=2).voxels, SEQUENCE[..., 2])
        for index in (-1, 3):
            with pytest.raises(UsageError, match=f"expected a time point from 0 to 2, found {index}"):
                read_volume(file, index=index)


def test_a_sequence_of_one_is_a_volume(tmp_path):
    file = nifti(tmp_path / "a.nii", SEQUENCE[..., :1])
    assert np.array_equal(read_volume(file).voxels, VALUES)


def test_a_sequence_cut_off_gives_the_volumes_before_the_cut(tmp_path):
    file = nifti(tmp_path / "a.nii", SEQUENCE, cut=8)
    found = read_volumes(file)
    assert [next(found).index, next(found).index] == [0, 1]
    with pytest.raises(UnreadableError, match="truncated"):
        next(found)


# ---- files and folders


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "a folder, not a volume"),
        (lambda path: path.write_bytes(b""), "empty file: 0 bytes"),
    ],
)
@pytest.mark.parametrize("suffix", [*SUFFIXES, ".mhd", ".npy"])
def test_what_is_no_file_is_refused(tmp_path, suffix, make, message):
    make(tmp_path / f"a{suffix}")
    with pytest.raises(UnreadableError, match=message):
        read_volume(tmp_path / f"a{suffix}")


def test_an_unknown_suffix_names_the_known_ones(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UnreadableError, match=r"expected a volume \(\.nii, \.nii\.gz, .*\), found another suffix"):
        read_volume(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"a\.mhd: expected a name that ends in \.nii"):
        write_volume(Volume(VALUES, np.eye(4)), tmp_path / "a.mhd")


def test_a_header_beside_its_voxels_is_one_volume(tmp_path):
    file = metaimage(tmp_path / "a.mhd", "ElementSpacing = 1 2 3")
    header, _, content = file.read_bytes().partition(b"LOCAL\n")
    file.write_bytes(header + b"a.raw\n")
    (tmp_path / "a.raw").write_bytes(content)
    assert np.array_equal(read_volume(file).voxels, VALUES)
    assert [entry.source for entry in discover_volumes([tmp_path]).entries] == ["a.mhd"]
    (tmp_path / "a.raw").unlink()
    with pytest.raises(UnreadableError, match=r"no file 'a\.raw' beside the header"):
        read_volume(file)


def test_the_volumes_of_a_folder_are_found_by_their_suffix(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.NII.GZ", "a.nii", "sub/c.mha", "d.nrrd", "e.npz", "f.npy", "g.png", "h.gz", ".hidden.nii"):
        (tmp_path / name).write_bytes(b"x")
    found = discover_volumes([tmp_path])
    assert [entry.source for entry in found.entries] == [
        "a.nii", "b.NII.GZ", "d.nrrd", "e.npz", "f.npy", "sub/c.mha",
    ]  # fmt: skip
    assert found.ignored == 2
    assert [entry.source for entry in discover_volumes([str(tmp_path / "*.n*")]).entries] == [
        "a.nii", "d.nrrd", "e.npz", "f.npy",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="expected an existing file, folder or pattern"):
        discover_volumes([tmp_path / "none"])
