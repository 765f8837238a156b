import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import FETAL_FACE, FETUS
from aop_pose.errors import UsageError
from aop_pose.formats.label import SPACING, Label
from aop_pose.formats.points3d import POINTS_3D, points_schema, schema_of
from aop_pose.formats.registry import read_labels
from aop_pose.io.volumes import write_sequence, write_volume
from tests.formats.made_up import save_nifti

HEADER = "Filename,ga_weeks,brain_i,brain_j,brain_k,left_eye_i,left_eye_j,left_eye_k"


def write(folder, *lines):
    save_nifti(folder / "volumes" / "a.nii.gz", (7, 6, 5))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_points_are_named_by_their_columns(tmp_path):
    file = write(tmp_path, HEADER, "a.nii.gz,31.0,6,5,4,0,1.5,2")
    (volume,) = read_labels(file, tmp_path, None)
    assert volume.size == (7, 6, 5)
    assert volume.schema.points == ("brain", "left_eye")
    assert volume.points.tolist() == [[6, 5, 4], [0, 1.5, 2]]
    assert volume.extras == {"ga_weeks": "31.0"}


def test_written_rows_come_back_as_they_were(tmp_path):
    file = write(tmp_path, HEADER, "a.nii.gz,31.0,6,5,4,0,1.5,2")
    before = file.read_text()
    POINTS_3D.write_table(read_labels(file, tmp_path, None), file)
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("Filename,brain_i,brain_j", "a.nii.gz,1,2"), "labels.csv:1: expected columns <point>_i"),
        ((HEADER, "a.nii.gz,31,x,5,4,0,1,2"), "labels.csv:2: brain_i: expected a number, found 'x'"),
        ((HEADER, "a.nii.gz,31,,5,4,0,1,2"), "labels.csv:2: brain_i: expected a number, found ''"),
        ((HEADER, "b.nii.gz,31,6,5,4,0,1,2"), "labels.csv:2: no picture b.nii.gz: .*volumes"),
    ],
)
def test_what_does_not_fit_is_named_by_file_and_line(tmp_path, lines, message):
    with pytest.raises(UsageError, match=message):
        read_labels(write(tmp_path, *lines), tmp_path, None)


def test_real_volumes_are_read_whole(shared_data):
    volumes = read_labels(shared_data / "fetal_mri" / "labelled.csv", shared_data / "fetal_mri", None)
    assert len(volumes) == 31
    assert volumes[0].size == (160, 160, 64)
    assert volumes[0].schema is FETAL_FACE


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd", ".npz"])
def test_a_volume_of_any_format_has_a_shape(tmp_path, suffix):
    if suffix == ".nrrd":
        pytest.importorskip("SimpleITK")
    write_volume(Volume(np.zeros((7, 6, 5), np.float32), np.eye(4)), tmp_path / f"a{suffix}")
    (tmp_path / "labels.csv").write_text(f"{HEADER}\na{suffix},31,6,5,4,0,1.5,2\n")
    (volume,) = read_labels(tmp_path / "labels.csv", tmp_path, None)
    assert volume.size == (7, 6, 5)


def test_a_point_that_was_not_marked_has_empty_cells(tmp_path):
    file = write(tmp_path, HEADER, "a.nii.gz,31.0,6,5,4,,,")
    before = file.read_text()
    (volume,) = read_labels(file, tmp_path, None)
    assert np.isnan(volume.keypoints["left_eye"]).all()
    POINTS_3D.write_table([volume], file)
    assert file.read_text() == before


def test_indices_are_written_to_the_fourth_decimal(tmp_path):
    brain = Keypoints.from_points(points_schema(["brain"]), [[123.45678, 200, 0]])
    volume = Label("a.nii", tmp_path / "a.nii", (300, 300, 300), brain, index=None)
    POINTS_3D.write_table([volume], tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text() == "Filename,brain_i,brain_j,brain_k\na.nii,123.4568,200,0\n"


def test_the_columns_choose_the_schema():
    assert schema_of(["right_eye", "tip of the nose", "brain", "left_eye"]) is FETAL_FACE
    assert schema_of(FETUS.points) is FETUS
    with pytest.raises(
        UsageError, match=r"expected the points of one of the schemas .*fetal_face: brain.*, found brain$"
    ):
        schema_of(["brain"])


def test_keypoints_stand_in_the_order_of_the_schema(tmp_path):
    schema = points_schema(["right_eye", "brain", "left_eye"])
    keypoints = Keypoints.from_points(schema, [[7, 8, 8], [1, 2, 3], [np.nan] * 3])
    brain, left_eye, right_eye = Label("a.nii", tmp_path / "a.nii", (9, 9, 9), keypoints).points_of(FETAL_FACE)
    assert right_eye.tolist() == [7, 8, 8]
    assert brain.tolist() == [1, 2, 3]
    assert np.isnan(left_eye).all()


def test_real_labels_are_a_fetal_face_inside_its_volume(shared_data):
    volumes = read_labels(shared_data / "fetal_mri" / "labelled.csv", shared_data / "fetal_mri", None)
    schema = schema_of(volumes[0].schema.points)
    assert schema is FETAL_FACE
    assert all(volume.keypoints.outside(*volume.size) == [] for volume in volumes)


def test_time_points_of_a_file_are_rows_of_their_own_and_are_read_as_such(tmp_path):
    frames = [Volume(np.full((7, 6, 5), value, np.float32), np.diag([2.0, 2, 3, 1])) for value in (3, 4)]
    (tmp_path / "volumes").mkdir()
    write_sequence(frames, tmp_path / "volumes" / "a.nii.gz")
    header = HEADER.replace("ga_weeks", "index")
    lines = (header, "a.nii.gz,1,6,5,4,0,1.5,2", "a.nii.gz,0,6,5,4,0,1.5,2")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    later, earlier = read_labels(tmp_path / "labels.csv", tmp_path, None)
    assert (later.index, earlier.index) == (1, 0)
    assert (later.volume().voxels.max(), earlier.volume().voxels.max(), later.volume().index) == (4, 3, 1)
    POINTS_3D.write_table([later, earlier], tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == "\n".join(lines) + "\n"


def test_a_file_without_spacing_has_that_of_its_row(tmp_path):
    (tmp_path / "volumes").mkdir()
    np.save(tmp_path / "volumes" / "a.npy", np.zeros((7, 6, 5)))
    write_volume(Volume(np.zeros((7, 6, 5), np.float32), np.diag([2.0, 2, 3, 1])), tmp_path / "volumes" / "b.npz")
    header = HEADER.replace("ga_weeks", ",".join(SPACING))
    lines = (header, "a.npy,1,2.5,3,6,5,4,0,1.5,2", "b.npz,9,9,9,6,5,4,0,1.5,2", "b.npz,,,,6,5,4,0,1.5,2")
    (tmp_path / "labels.csv").write_text("\n".join(lines[:3]))
    given, stated = read_labels(tmp_path / "labels.csv", tmp_path, None)
    assert given.spacing == (1, 2.5, 3)
    assert given.volume().spacing.tolist() == [1, 2.5, 3]
    # What the file says of itself stands.
    assert stated.volume().spacing.tolist() == [2, 2, 3]
    (tmp_path / "labels.csv").write_text("\n".join([lines[0], lines[3]]))
    assert read_labels(tmp_path / "labels.csv", tmp_path, None)[0].spacing is None


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        ("index", ["0.5"], "labels.csv:2: index: expected a whole number from 0 on, found '0.5'"),
        ("index", ["-1"], "labels.csv:2: index: expected a whole number from 0 on, found '-1'"),
        ("index", ["1", "1"], r"labels.csv:3: .*found a.nii.gz, time point 1 again \(first in line 2\)"),
        (",".join(SPACING), ["1,0,2"], "labels.csv:2: spacing_i_mm.*: expected positive millimetres, found 1,0,2"),
        (",".join(SPACING), ["1,,2"], "labels.csv:2: spacing_j_mm: expected a number, found ''"),
    ],
)
def test_a_wrong_time_or_spacing_is_named(tmp_path, columns, cells, message):
    lines = [f"a.nii.gz,{one},6,5,4,0,1,2" for one in cells]
    with pytest.raises(UsageError, match=message):
        read_labels(write(tmp_path, HEADER.replace("ga_weeks", columns), *lines), tmp_path, None)
