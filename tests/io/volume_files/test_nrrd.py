"""NRRD volumes: where they lie, what is refused, and that they alone need SimpleITK."""

import builtins

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.volumes import read_volume, write_volume
from tests.volume_files import AXES, SHAPE, VALUES, affine_of, metaimage, nifti, nrrd

pytest.importorskip("SimpleITK", reason="SimpleITK comes with the volumes extra")


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
        ("spacings: 0 2 3", r"spacing \(0\) invalid"),
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


def test_without_simpleitk_only_nrrd_is_refused(tmp_path, monkeypatch):
    file = nrrd(tmp_path / "a.nrrd", "spacings: 1 2 3")
    imported = builtins.__import__

    def without(name, *given, **named):
        if name == "SimpleITK":
            raise ImportError(name)
        return imported(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    needed = r"NRRD volumes need SimpleITK; install it with: pip install '\.\[volumes\]'"
    with pytest.raises(UnreadableError, match=needed):
        read_volume(file)
    with pytest.raises(UsageError, match=needed):
        write_volume(Volume(VALUES, np.eye(4)), tmp_path / "b.nrrd")
    for other in (nifti(tmp_path / "a.nii"), metaimage(tmp_path / "a.mha", "ElementSpacing = 1 2 3")):
        assert read_volume(other).shape == SHAPE
