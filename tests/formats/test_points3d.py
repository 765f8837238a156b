import pytest

from aop_pose.errors import UsageError
from aop_pose.formats.points3d import read_points3d, write_points3d
from tests.formats.made_up import save_nifti

HEADER = "Filename,ga_weeks,brain_i,brain_j,brain_k,left_eye_i,left_eye_j,left_eye_k"


def write(folder, *lines):
    save_nifti(folder / "volumes" / "a.nii.gz", (7, 6, 5))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


def test_points_are_named_by_their_columns(tmp_path):
    file = write(tmp_path, HEADER, "a.nii.gz,31.0,6,5,4,0,1.5,2")
    (volume,) = read_points3d(file, tmp_path)
    assert volume.shape == (7, 6, 5)
    assert {name: point.tolist() for name, point in volume.points.items()} == {
        "brain": [6, 5, 4],
        "left_eye": [0, 1.5, 2],
    }
    assert volume.notes == {"ga_weeks": "31.0"}


def test_written_rows_come_back_as_they_were(tmp_path):
    file = write(tmp_path, HEADER, "a.nii.gz,31.0,6,5,4,0,1.5,2")
    before = file.read_text()
    write_points3d(read_points3d(file, tmp_path), file)
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("Filename,brain_i,brain_j", "a.nii.gz,1,2"), "labels.csv:1: expected columns <point>_i"),
        ((HEADER, "a.nii.gz,31,x,5,4,0,1,2"), "labels.csv:2: brain_i: expected a number, found 'x'"),
        ((HEADER, "b.nii.gz,31,6,5,4,0,1,2"), "labels.csv:2: no picture b.nii.gz: .*volumes"),
    ],
)
def test_what_does_not_fit_is_named_by_file_and_line(tmp_path, lines, message):
    with pytest.raises(UsageError, match=message):
        read_points3d(write(tmp_path, *lines), tmp_path)


def test_real_volumes_are_read_whole(shared_data):
    volumes = read_points3d(shared_data / "fetal_mri" / "labelled.csv", shared_data / "fetal_mri")
    assert len(volumes) == 31
    assert volumes[0].shape == (160, 160, 64)
    assert list(volumes[0].points) == ["brain", "left_eye", "right_eye"]
