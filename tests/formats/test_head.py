import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import HEAD
from aop_pose.errors import UsageError
from aop_pose.formats.head import COLUMNS, HEAD_CSV, OPTIONAL, millimetres
from aop_pose.formats.label import Label
from aop_pose.formats.registry import read_labels
from tests.formats.made_up import picture, save

HEADER = ",".join(COLUMNS)


def write(folder, header, *rows):
    save(folder / "a.png", picture(0))
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "labels.csv"


def test_rows_give_the_points_in_the_order_of_the_schema(tmp_path):
    file = write(tmp_path, f"{HEADER},pixel_size_mm,head_circumference_mm", "a.png,1,2,3,4,5,6,7,8,0.1,190.5")
    (head,) = read_labels(file, tmp_path, HEAD)
    assert head.keypoints["OFD2"].tolist() == [3, 4]
    assert head.keypoints["BPD1"].tolist() == [5, 6]
    assert [millimetres(head.extras, column) for column in OPTIONAL] == [0.1, 190.5]


def test_what_is_not_known_in_millimetres_is_none(tmp_path):
    (head,) = read_labels(write(tmp_path, HEADER, "a.png,1,2,3,4,5,6,7,8"), tmp_path, HEAD)
    assert millimetres(head.extras) is None
    (head,) = read_labels(write(tmp_path, f"{HEADER},pixel_size_mm", "a.png,1,2,3,4,5,6,7,8,"), tmp_path, HEAD)
    assert millimetres(head.extras) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,1,2,3,x,5,6,7,8,0.1", "labels.csv:2: ofd_2_y: expected a number, found 'x'"),
        ("a.png,1,2,3,4,5,6,7,8,-1", "labels.csv:2: pixel_size_mm: expected a positive number"),
        ("a.png,1,2,3,4,5,6,7", "labels.csv:2: expected 10 cells, found 8"),
        ("b.png,1,2,3,4,5,6,7,8,0.1", "labels.csv:2: no picture b.png"),
        ("a.png,1,2,3,4,5,6,7,8,1\na.png,1,2,3,4,5,6,7,8,1", "labels.csv:3: expected each picture once"),
    ],
)
def test_the_first_bad_row_is_named_by_file_and_line(tmp_path, row, message):
    with pytest.raises(UsageError, match=message):
        read_labels(write(tmp_path, f"{HEADER},pixel_size_mm", row), tmp_path, HEAD)


def test_written_rows_come_back(tmp_path):
    path = save(tmp_path / "a.png", picture(0))
    coords = [[1.25, 2], [3, 4], [5, 6.5], [7, 8]]
    frame = Label("a.png", path, (60, 40), Keypoints.from_points(HEAD, coords), extras={"pixel_size_mm": "0.15985449"})
    HEAD_CSV.write_table([frame], tmp_path / "labels.csv")
    (head,) = read_labels(tmp_path / "labels.csv", tmp_path, HEAD)
    np.testing.assert_allclose(head.keypoints.coords, coords)
    assert [millimetres(head.extras, column) for column in OPTIONAL] == [0.15985449, None]


def test_real_labels_are_read_whole(shared_data):
    said = []
    heads = read_labels(shared_data / "hc18" / "labelled.csv", shared_data / "hc18", HEAD, say=said.append)
    assert len(heads) == 847
    assert said == [
        "left out 1 of 848 labels (a point outside the picture), the first 346_HC.png: BPD1: expected a point inside "
        "400x270, found (185.34, -0.91) outside"
    ]
    assert millimetres(heads[0].extras, "head_circumference_mm") == 72.87
