import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import HEAD
from aop_pose.errors import UsageError
from aop_pose.formats.head import COLUMNS, HeadFrame, read_head, write_head
from aop_pose.formats.label import LabelledFrame
from tests.formats.made_up import picture, save

HEADER = ",".join(COLUMNS)


def write(folder, header, *rows):
    save(folder / "a.png", picture(0))
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "labels.csv"


def test_rows_give_the_points_in_the_order_of_the_schema(tmp_path):
    file = write(tmp_path, f"{HEADER},pixel_size_mm,head_circumference_mm", "a.png,1,2,3,4,5,6,7,8,0.1,190.5")
    (head,) = read_head(file, tmp_path)
    assert head.frame.keypoints["OFD2"].tolist() == [3, 4]
    assert head.frame.keypoints["BPD1"].tolist() == [5, 6]
    assert (head.pixel_size_mm, head.head_circumference_mm) == (0.1, 190.5)


def test_what_is_not_known_in_millimetres_is_none(tmp_path):
    (head,) = read_head(write(tmp_path, HEADER, "a.png,1,2,3,4,5,6,7,8"), tmp_path)
    assert head.pixel_size_mm is None
    (head,) = read_head(write(tmp_path, f"{HEADER},pixel_size_mm", "a.png,1,2,3,4,5,6,7,8,"), tmp_path)
    assert head.pixel_size_mm is None


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
        read_head(write(tmp_path, f"{HEADER},pixel_size_mm", row), tmp_path)


def test_written_rows_come_back(tmp_path):
    path = save(tmp_path / "a.png", picture(0))
    coords = [[1.25, 2], [3, 4], [5, 6.5], [7, 8]]
    frame = LabelledFrame("a.png", path, 60, 40, Keypoints.from_points(HEAD, coords))
    write_head([HeadFrame(frame, 0.15985449)], tmp_path / "labels.csv")
    (head,) = read_head(tmp_path / "labels.csv", tmp_path)
    np.testing.assert_allclose(head.frame.keypoints.coords, coords)
    assert (head.pixel_size_mm, head.head_circumference_mm) == (0.15985449, None)


def test_real_labels_are_read_whole(shared_data):
    heads = read_head(shared_data / "hc18" / "labelled.csv", shared_data / "hc18")
    assert len(heads) == 848
    assert heads[0].head_circumference_mm == 72.87
