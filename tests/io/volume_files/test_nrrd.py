"""NRRD volumes: where they lie, what is refused, and that writing them needs SimpleITK."""

import builtins
import bz2
import gzip

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.volumes import read_volume, write_volume
from tests.volume_files import AXES, VALUES, affine_of, nrrd

itk = pytest.importorskip("SimpleITK", reason="SimpleITK comes with the volumes extra")


def directions(axes):
    return " ".join(f"({','.join(f'{value:g}' for value in column)})" for column in affine_of(axes)[:3, :3].T)


@pytest.mark.parametrize("name", AXES)
def test_a_nrrd_lies_where_its_header_says(tmp_path, name):
    fields = (
        f"space: right-anterior-superior\nspace directions: {directions(AXES[name])}\nspace origin: (10,-20,30)\n"
        "kinds: domain domain domain"
    )
    volume = read_volume(nrrd(tmp_path / "a.nrrd", fields))
    assert volume.affine == pytest.approx(affine_of(AXES[name]), abs=1e-6)
    assert np.array_equal(volume.voxels, VALUES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("kinds: domain domain domain", "expected positive millimetres along i, j, k, found none"),
        ("spacings: nan 2 3", "found none"),
        ("spacings: 0 2 3", "found 0, 2, 3"),
        ("spacings: 1 -2 3", "found 1, -2, 3"),
        ("spacings: 1 2", "expected 3 spacings, found 2"),
        ("spacings: 1 x 3", "spacings: expected numbers, found x"),
        ("spacings: 1 2 3\nspacings: 1 2 4", "spacings stands twice and differs"),
        ("spacings: 1 2 3\nspace: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)", "two statements of spacing"),
        ('spacings: 1 2 3\nspace units: "cm" "cm" "cm"', "space units: expected millimetres, found cm"),
        ("spacings: 1 2 3\naxis mins: 4 5 6", "axis mins is not supported"),
        ("spacings: 1 2 3\nkinds: RGB-color domain domain", "one gray value a voxel"),
        ("space: LPS\nspace directions: (1,0,0) (0,2,0)", "expected 3 vectors"),
        ("space: LPS\nspace directions: (1,0,0) (0,2) (0,0,3)", "expected 3 vectors"),
        ("space: LPS\nspace directions: (1,0,0) none (0,0,3)", "a vector of 3 numbers for each axis in space"),
        ("space: LPS\nspace directions: (0,0,0) (0,2,0) (0,0,3)", "found 0, 2, 3"),
        ("space: LPS\nspace directions: (1,0,0) (1,1,0) (0,0,3)", "expected axes at right angles"),
        ("space: 3D-left-handed\nspace directions: (1,0,0) (0,2,0) (0,0,3)", "found 3D-left-handed"),
    ],
)
def test_a_nrrd_that_states_no_place_is_refused_in_one_line(tmp_path, capfd, fields, message):
    with pytest.raises(UnreadableError, match=message) as caught:
        read_volume(nrrd(tmp_path / "a.nrrd", fields))
    assert "\n" not in str(caught.value)
    # ITK keeps its complaints to itself.
    assert capfd.readouterr() == ("", "")


def test_a_truncated_nrrd_is_refused(tmp_path):
    with pytest.raises(UnreadableError, match="truncated NRRD: its header promises 480 bytes of voxels, 472 are there"):
        read_volume(nrrd(tmp_path / "a.nrrd", "spacings: 1 2 3", cut=8))
    (tmp_path / "b.nrrd").write_bytes(b"hello")
    with pytest.raises(UnreadableError, match="expected a NRRD volume, found another file"):
        read_volume(tmp_path / "b.nrrd")


def test_without_simpleitk_a_nrrd_is_read_and_not_written(tmp_path, monkeypatch):
    file = nrrd(tmp_path / "a.nrrd", "spacings: 1 2 3")
    imported = builtins.__import__

    def without(name, *given, **named):
        if name == "SimpleITK":
            raise ImportError(name)
        return imported(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert np.array_equal(read_volume(file).voxels, VALUES)
    needed = r"writing NRRD volumes needs SimpleITK; install it with: pip install 'aop-pose\[volumes\]'"
    with pytest.raises(UsageError, match=needed):
        write_volume(Volume(VALUES, np.eye(4)), tmp_path / "b.nrrd")


SPACES = [
    "right-anterior-superior", "RAS", "left-anterior-superior", "LAS", "left-posterior-superior", "LPS",
    "scanner-xyz", "3D-right-handed", "",
]  # fmt: skip


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ["straight", "oblique and flipped"])
def test_itk_finds_the_voxels_at_the_same_place(tmp_path, space, name):
    named = f"space: {space}" if space else "space dimension: 3"
    file = nrrd(tmp_path / "a.nrrd", f"{named}\nspace directions: {directions(AXES[name])}\nspace origin: (10,-20,30)")
    image = itk.ReadImage(str(file), imageIO="NrrdImageIO")
    x, y, z = image.TransformIndexToPhysicalPoint((3, 2, 5))
    assert read_volume(file).to_mm((3, 2, 5)) == pytest.approx([-x, -y, z], abs=1e-4)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_itk_finds_the_same_voxels_in_every_number_type(tmp_path, kind, packed):
    values = (VALUES - (40 if kind[0] != "u" else 0)).astype(kind)
    image = itk.GetImageFromArray(np.ascontiguousarray(values.T))
    image.SetSpacing((1.0, 2.0, 3.0))
    itk.WriteImage(image, str(tmp_path / "a.nrrd"), useCompression=packed, imageIO="NrrdImageIO")
    assert np.array_equal(read_volume(tmp_path / "a.nrrd").voxels, values)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, bytes])
def test_big_endian_and_every_packing(tmp_path, pack):
    name = {gzip.compress: "gzip", bz2.compress: "bzip2"}.get(pack, "raw")
    header = f"NRRD0005\ntype: short\nendian: big\nencoding: {name}\ndimension: 3\nsizes: 4 5 6\nspacings: 1 2 3\n\n"
    data = pack(VALUES.astype(">i2").tobytes(order="F"))
    (tmp_path / "a.nrrd").write_bytes(header.encode() + data)
    assert np.array_equal(read_volume(tmp_path / "a.nrrd").voxels, VALUES)
    if name != "raw":
        for place in (len(data) // 2, len(data) - 5):
            flipped = bytearray(data)
            flipped[place] ^= 4
            (tmp_path / "b.nrrd").write_bytes(header.encode() + flipped)
            with pytest.raises(UnreadableError, match=r"damaged|truncated"):
                read_volume(tmp_path / "b.nrrd")


def test_a_long_word_in_a_header_is_refused_and_kills_nobody(tmp_path):
    """The reader of ITK dies of these."""
    for fields in (
        "spa" + "a" * 3000,
        "space: " + "a" * 3000,
        "kinds: " + "a" * 3000,
        "space directions: " + "(1," * 900,
    ):
        with pytest.raises(UnreadableError):
            read_volume(nrrd(tmp_path / "a.nrrd", fields))
