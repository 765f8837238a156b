import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.label import Label, find_picture, resolve
from aop_pose.formats.registry import read_labels
from tests.formats.made_up import HEIGHT, WIDTH, iugc_folder, picture, save


def rewrite(folder, old, new):
    file = folder / "labels.csv"
    file.write_text(file.read_text().replace(old, new))
    return file


def test_rows_come_with_their_pictures_in_order(tmp_path):
    iugc_folder(tmp_path, rows=2)
    frames = read_labels(tmp_path / "labels.csv", tmp_path)
    assert [frame.name for frame in frames] == ["00.png", "01.png"]
    assert frames[1].path == tmp_path / "images" / "01.png"
    assert (frames[1].width, frames[1].height) == (WIDTH, HEIGHT)
    assert frames[1].keypoints.coords.tolist() == [[30, 10], [10, 10], [30, 21]]


def test_columns_are_found_by_name_and_further_ones_are_left_alone(tmp_path):
    save(tmp_path / "a.png", picture(0))
    file = tmp_path / "some.csv"
    file.write_text('patient,FH1,Filename,PS2,PS1\n7,"(5.5, 6)",a.png,"(3,4)","( 1 , 2 )"\n')
    assert read_labels(file, tmp_path)[0].keypoints.coords.tolist() == [[1, 2], [3, 4], [5.5, 6]]


def test_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path):
    iugc_folder(tmp_path, rows=1)
    file = tmp_path / "labels.csv"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_labels(file, tmp_path)) == 1


def test_only_the_header_of_a_picture_is_read(tmp_path):
    iugc_folder(tmp_path, rows=1)
    path = tmp_path / "images" / "00.png"
    path.write_bytes(path.read_bytes()[:100])
    assert read_labels(tmp_path / "labels.csv", tmp_path)[0].width == WIDTH


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FH1", "FH", r"labels.csv:1: expected the columns .* missing FH1"),
        ("PS2,", "PS2,PS1,", r"labels.csv:1: expected each column once, found PS1"),
        ('"(30, 21)"', '"(30, 21"', r"labels.csv:3: FH1: expected a point \(x, y\), found '\(30, 21'"),
        ('"(30, 21)"', '"(30, 21, 5)"', r"labels.csv:3: FH1: expected a point"),
        ('"(30, 21)"', '"(30, nan)"', r"labels.csv:3: FH1: expected a number, found 'nan'"),
        ('"(30, 21)"', "", r"labels.csv:3: FH1: expected a point"),
        ("01.png,", "02.png,", r"labels.csv:3: no picture 02.png: looked for .* and .*images"),
        ("01.png,", "00.png,", r"labels.csv:3: expected each picture once, found 00.png .*line 2"),
        ("01.png,", "", r"labels.csv:3: expected 5 cells, found 4"),
        ("01.png,", ",", r"labels.csv:3: Filename: expected a file name"),
    ],
)
def test_the_first_bad_row_is_named_by_file_and_line(tmp_path, old, new, message):
    iugc_folder(tmp_path, rows=2)
    file = rewrite(tmp_path, old, new)
    with pytest.raises(UsageError, match=message):
        read_labels(file, tmp_path)


def test_a_text_file_called_png_is_named_by_file_and_line(tmp_path):
    iugc_folder(tmp_path, rows=2)
    (tmp_path / "images" / "01.png").write_text("hello")
    with pytest.raises(UsageError, match=r"labels.csv:3: .*01.png: not a PNG, JPEG, TIFF, BMP or GIF picture"):
        read_labels(tmp_path / "labels.csv", tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00"])
def test_a_file_without_a_header_is_one_clear_line(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(UsageError, match=r"labels\.csv:1: expected"):
        read_labels(tmp_path / "labels.csv", tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.csv: expected a CSV file"):
        read_labels(tmp_path / "none.csv", tmp_path)


def test_written_points_come_back_and_the_angle_is_that_of_the_points(tmp_path):
    save(tmp_path / "a.png", picture(0))
    # cos = (-3 * 0 + 0 * 4) / ... = 0: a right angle at PS1.
    coords = np.array([[10.123456, 5], [7.123456, 5], [10.123456, 9]])
    frame = Label("a.png", tmp_path / "a.png", (WIDTH, HEIGHT), Keypoints.from_points(AOP, coords))
    IUGC.write_table([frame], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "Filename,PS1,PS2,FH1,AoP",
        'a.png,"(10.123456, 5)","(7.123456, 5)","(10.123456, 9)",90.0000',
    ]
    np.testing.assert_array_equal(read_labels(tmp_path / "out.csv", tmp_path)[0].keypoints.coords, coords)


def test_a_picture_is_found_in_the_folder_before_its_images(tmp_path):
    inner = save(tmp_path / "images" / "a.png", picture(0))
    assert find_picture(tmp_path, "a.png") == inner
    outer = save(tmp_path / "a.png", picture(1))
    assert find_picture(tmp_path, "a.png") == outer


def test_a_file_is_taken_as_given_else_below_the_data(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "val.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve("val.csv", tmp_path / "data") == tmp_path / "data" / "val.csv"
    (tmp_path / "val.csv").touch()
    assert resolve("val.csv", tmp_path / "data").resolve() == tmp_path / "val.csv"
    with pytest.raises(UsageError, match=r"no file none\.csv"):
        resolve("none.csv", tmp_path / "data")


def test_real_labels_are_read_whole(shared_data):
    folder = shared_data / "psfhs"
    frames = read_labels(folder / "labelled.csv", folder)
    assert len(frames) == 300
    assert {(frame.width, frame.height) for frame in frames} == {(256, 256)}
    assert frames[0].keypoints.coords.tolist() == [[138, 36], [58, 61], [200, 66]]
