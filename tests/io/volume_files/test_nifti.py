"""NIfTI-1: the place and the voxels, against headers worked out by hand and against SimpleITK."""

import gzip
import math
import struct

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.errors import UnreadableError
from aop_pose.io.volume_files.nifti import open_nifti
from aop_pose.io.volumes import open_volume, read_volume, write_volume
from tests.volume_files import AXES, ORIGIN, SHAPE, SPACING, VALUES, affine_of, nifti


def refusal(path):
    with pytest.raises(UnreadableError) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_sform_says_where_the_voxels_lie(tmp_path, name, suffix):
    affine = affine_of(AXES[name])
    volume = read_volume(nifti(tmp_path / f"a{suffix}", sform=affine))
    assert volume.affine == pytest.approx(affine, abs=1e-5)
    assert volume.voxels.dtype == np.float32
    # The second voxel along i is the second number of the file.
    assert volume.voxels[1, 0, 0] == 1
    assert np.array_equal(volume.voxels, VALUES)
    assert (volume.source, volume.index) == (f"a{suffix}", 0)


def test_qform_is_a_quaternion_and_a_mirror(tmp_path):
    # A quarter turn about z: a = d = sqrt(1/2). i runs along y, j along -x; qfac -1 turns k over.
    half = math.sqrt(0.5)
    for qfac in (1, -1):
        file = nifti(tmp_path / "a.nii", pixdim=(qfac, *SPACING), qform=(0, 0, half, *ORIGIN))
        expected = affine_of(np.array([[0, -1, 0], [1, 0, 0], [0, 0, qfac]], float))
        assert read_volume(file).affine == pytest.approx(expected, abs=1e-6)


def test_a_quaternion_rounded_beyond_one_is_a_half_turn(tmp_path):
    file = nifti(tmp_path / "a.nii", qform=(1.00001, 0, 0, *ORIGIN))
    assert read_volume(file).affine == pytest.approx(affine_of(np.diag([1.0, -1, -1])))


def test_sform_goes_before_qform(tmp_path):
    affine = affine_of(AXES["oblique"])
    both = nifti(tmp_path / "a.nii", sform=affine, qform=(0, 0, 0, 1, 2, 3))
    assert read_volume(both).affine == pytest.approx(affine, abs=1e-6)
    without = nifti(tmp_path / "b.nii", sform=affine, pixdim=(1, 0, 0, 0))
    assert read_volume(without).spacing == pytest.approx(SPACING)


@pytest.mark.parametrize("qform", [None, (0, 0, 0, 1, 2, 3)])
@pytest.mark.parametrize("pixdim", [(1, 1, 1, 1), (1, 1.0, 2.0, 3.1), (-1, 7, 7, 7)])
def test_two_spacings_that_disagree_are_refused(tmp_path, qform, pixdim):
    file = nifti(tmp_path / "a.nii", sform=affine_of(AXES["oblique"]), qform=qform, pixdim=pixdim)
    assert "two statements of spacing disagree: sform 1 x 2 x 3, pixdim" in refusal(file)


def test_two_spacings_that_differ_by_rounding_are_one(tmp_path):
    file = nifti(tmp_path / "a.nii", sform=affine_of(AXES["flipped"]), pixdim=(1, 1.0004, 2, 3))
    assert read_volume(file).spacing == pytest.approx(SPACING)


def test_a_file_without_orientation_is_taken_as_right_front_up(tmp_path):
    assert read_volume(nifti(tmp_path / "a.nii")).affine.tolist() == np.diag([*SPACING, 1]).tolist()


@pytest.mark.parametrize(("units", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_units_become_millimetres(tmp_path, units, factor):
    """The lower three bits; 10 = millimetres and seconds."""
    volume = read_volume(nifti(tmp_path / "a.nii", sform=affine_of(np.eye(3)), units=units))
    assert volume.spacing == pytest.approx(np.array(SPACING) * factor)
    assert volume.to_mm((0, 0, 0)) == pytest.approx(np.array(ORIGIN) * factor)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(2, "u1"), (4, "i2"), (8, "i4"), (16, "f4"), (64, "f8"), (256, "i1"), (512, "u2"), (768, "u4"), (1024, "i8")],
)
@pytest.mark.parametrize("order", "<>")
def test_every_number_type_in_both_byte_orders(tmp_path, kind, dtype, order):
    values = (VALUES - (0 if dtype[0] == "u" else 60)).astype(dtype)
    volume = read_volume(nifti(tmp_path / "a.nii", values, kind=kind, order=order))
    assert np.array_equal(volume.voxels, values.astype(np.float32))
    assert volume.spacing == pytest.approx(SPACING)


@pytest.mark.parametrize(
    ("scaling", "expected"), [((2, -5), 2 * VALUES - 5), ((0, 7), VALUES), ((math.nan, 0), VALUES), ((1, 0), VALUES)]
)
def test_stored_numbers_are_scaled_to_gray_values(tmp_path, scaling, expected):
    assert np.array_equal(read_volume(nifti(tmp_path / "a.nii", scaling=scaling)).voxels, expected)


@pytest.mark.parametrize(
    ("pixdim", "found"),
    [((1, 0, 2, 3), "0, 2, 3"), ((1, 0, 0, 0), "0, 0, 0"), ((1, -1, 2, 3), "-1, 2, 3"), ((1, math.nan, 2, 3), "nan")],
)
def test_a_spacing_that_cannot_be_is_refused_unless_one_is_given(tmp_path, pixdim, found):
    file = nifti(tmp_path / "a.nii", pixdim=pixdim)
    assert f"spacing: expected positive millimetres along i, j, k, found {found}" in refusal(file)
    assert read_volume(file, spacing=(1, 2, 3)).spacing == pytest.approx(SPACING)
    with pytest.raises(UnreadableError, match="found 1, 0, 3"):
        read_volume(file, spacing=(1, 0, 3))


def test_a_spacing_that_the_file_states_is_kept(tmp_path):
    assert read_volume(nifti(tmp_path / "a.nii"), spacing=(9, 9, 9)).spacing == pytest.approx(SPACING)


def test_a_sform_of_zeros_or_a_sheared_one_is_refused(tmp_path):
    assert "found 0, 0, 0" in refusal(nifti(tmp_path / "a.nii", sform=np.zeros((4, 4))))
    sheared = affine_of(np.eye(3))
    sheared[0, 2] = 1
    assert "expected axes at right angles" in refusal(
        nifti(tmp_path / "b.nii", sform=sheared, pixdim=(1, 1, 2, 10**0.5))
    )


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused_and_not_filled_with_zeros(tmp_path, suffix):
    said = refusal(nifti(tmp_path / f"a{suffix}", cut=20))
    assert said in (
        "truncated: its header promises 480 bytes of voxels, 460 are there",
        "truncated: its compressed voxels have no end",
    )


def test_a_wrong_check_sum_is_refused(tmp_path):
    file = nifti(tmp_path / "a.nii.gz")
    content = bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    assert "damaged" in refusal(file)


def test_what_is_no_gray_volume_is_refused(tmp_path):
    assert "found 2 axes, 4 x 5" in refusal(nifti(tmp_path / "a.nii", VALUES[:, :, 0]))
    assert "data type 128" in refusal(nifti(tmp_path / "b.nii", kind=128))
    assert "found 5 axes, 2 x 2 x 2 x 1 x 3" in refusal(nifti(tmp_path / "c.nii", np.zeros((2, 2, 2, 1, 3), "<f4")))
    (tmp_path / "d.nii.gz").write_bytes(b"hello")
    assert "expected a NIfTI-1 volume in one file" in refusal(tmp_path / "d.nii.gz")
    (tmp_path / "e.nii.gz").write_bytes(gzip.compress(bytes(100))[:15])
    assert "damaged" in refusal(tmp_path / "e.nii.gz")


def test_an_axis_without_voxels_or_with_too_many_is_refused_from_the_header(tmp_path):
    file = nifti(tmp_path / "a.nii")
    content = bytearray(file.read_bytes())
    for sizes, message in (((30000, 30000, 30000), "too large"), ((0, 5, 6), "expected a volume")):
        struct.pack_into("<3h", content, 42, *sizes)
        file.write_bytes(content)
        with pytest.raises(UnreadableError, match=message):
            open_volume(file)


@pytest.mark.parametrize(("start", "readable"), [(0, True), (352, True), (-1, False), (math.inf, False), (1e19, False)])
def test_voxels_begin_where_the_header_says(tmp_path, start, readable):
    """0 stands in files of some programs for the first byte behind the header."""
    file = nifti(tmp_path / "a.nii")
    content = bytearray(file.read_bytes())
    struct.pack_into("<f", content, 108, start)
    file.write_bytes(content)
    if readable:
        assert np.array_equal(read_volume(file).voxels, VALUES)
    else:
        assert "damaged: its header says that the voxels begin at byte" in refusal(file)


def test_voxels_that_are_no_numbers_are_counted(tmp_path):
    values = VALUES.copy()
    values[1, 2, 3] = np.nan
    assert "found 1 of 120 that are NaN or infinite" in refusal(nifti(tmp_path / "a.nii", values))


@pytest.mark.parametrize("name", AXES)
def test_itk_finds_the_voxels_that_are_written_at_the_same_place(tmp_path, name):
    itk = pytest.importorskip("SimpleITK")
    volume = Volume(VALUES, affine_of(AXES[name]))
    write_volume(volume, tmp_path / "a.nii.gz")
    image = itk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert np.array_equal(itk.GetArrayFromImage(image), VALUES.T)
    x, y, z = image.TransformIndexToPhysicalPoint((3, 2, 5))
    assert volume.to_mm((3, 2, 5)) == pytest.approx([-x, -y, z], abs=1e-4)


def test_the_same_volume_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_volume(Volume(VALUES, affine_of(AXES["oblique"])), tmp_path / f"{name}.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_more_voxels_than_the_header_can_say_are_not_written(tmp_path):
    with pytest.raises(UnreadableError, match="at most 32767 voxels along an axis"):
        write_volume(Volume(np.zeros((32768, 1, 1), np.float32), np.eye(4)), tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []


def test_real_volumes_are_where_itk_finds_them(shared_data):
    """Straight, permuted, flipped and oblique ones; both hands."""
    itk = pytest.importorskip("SimpleITK")
    hands = set()
    for file in sorted((shared_data / "fetal_mri" / "volumes").iterdir())[::5]:
        volume, image = read_volume(file), itk.ReadImage(str(file))
        assert np.array_equal(volume.voxels, itk.GetArrayFromImage(image).T)
        for index in ((0, 0, 0), (5, 17, 9), (90, 3, 30)):
            x, y, z = image.TransformIndexToPhysicalPoint(index)
            assert volume.to_mm(index) == pytest.approx([-x, -y, z], abs=1e-3)
        hands.add(volume.handedness)
    assert hands == {1, -1}


def test_the_header_alone_says_size_and_times(tmp_path):
    sequence = nifti(tmp_path / "a.nii", np.stack([VALUES, VALUES + 1], axis=3), cut=900)
    stored = open_nifti(sequence)
    assert (stored.shape, stored.times) == (SHAPE, 2)
