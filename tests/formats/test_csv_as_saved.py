"""Tables as spreadsheets and people save them: the same labels whatever parts the cells, or one line that says why."""

import re

import pytest

from aop_pose.core.schemas import HEAD
from aop_pose.errors import UsageError
from aop_pose.formats.convert import convert
from aop_pose.formats.csv_rows import RowError, number, point
from aop_pose.formats.head import COLUMNS
from aop_pose.formats.registry import check, read_labels
from tests.formats.made_up import iugc_folder, picture, save

ROWS = [("00.png", (30, 10), (10, 10), (30, 20)), ("01.png", (30, 10), (10, 10), (30, 21))]


def saved(folder, make, encoding="utf-8"):
    iugc_folder(folder, rows=2)
    (folder / "labels.csv").write_bytes(make.encode(encoding))
    return folder / "labels.csv"


def table(separator, quote="", blank="", brackets="()"):
    lines = [separator.join(("Filename", "PS1", "PS2", "FH1", "AoP"))]
    for name, *points in ROWS:
        cells = (f"{quote}{brackets[0]}{x}, {y}{brackets[1]}{quote}" for x, y in points)
        lines.append(f"{separator}{blank}".join((name, *cells, "90.0")))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        table(";"),
        table(";", '"'),
        table("\t"),
        table(",", '"', blank=" "),
        table(",", '"', brackets="[]"),
        "sep=;\n" + table(";"),
        "\ufeff" + table(";").replace("\n", "\r\n"),
        table(";").replace("90.0", "90,0"),
        table(",", '"').replace("Filename,PS1", " Filename , PS1 "),
    ],
)
def test_the_same_labels_are_read(tmp_path, text):
    labels = read_labels(saved(tmp_path, text), tmp_path)
    assert [label.points.tolist() for label in labels] == [[list(one) for one in row[1:]] for row in ROWS]
    assert check(tmp_path).findings == []
    assert convert(tmp_path, tmp_path / "out", "yolo-pose").written == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_by_name(tmp_path, encoding):
    file = saved(tmp_path, table(";"), encoding)
    with pytest.raises(UsageError, match=r"labels\.csv:1: expected UTF-8 CSV, found UTF-16; save it as CSV UTF-8"):
        read_labels(file, tmp_path)


def test_decimal_commas_are_points_where_commas_part_nothing(tmp_path):
    save(tmp_path / "a.png", picture(0))
    cells = ["a.png", "1,5", "2", "3", "4", "5", "6", "7", "8,25", "0,1234"]
    (tmp_path / "labels.csv").write_text(";".join((*COLUMNS, "pixel_size_mm")) + "\n" + ";".join(cells))
    (label,) = read_labels(tmp_path / "labels.csv", tmp_path, HEAD)
    assert label.points.ravel().tolist() == [1.5, 2, 3, 4, 5, 6, 7, 8.25]
    assert label.extras["pixel_size_mm"] == "0.1234"


def test_commas_and_points_in_one_file_are_not_guessed_at(tmp_path):
    save(tmp_path / "a.png", picture(0))
    cells = ["a.png", "1,234", "2.5", "3", "4", "5", "6", "7", "8"]
    (tmp_path / "labels.csv").write_text(";".join(COLUMNS) + "\n" + ";".join(cells))
    with pytest.raises(UsageError, match="ofd_1_x: expected a number, found '1,234'"):
        read_labels(tmp_path / "labels.csv", tmp_path, HEAD)


@pytest.mark.parametrize("text", ["6_0", "\u0663", "\uff16", "0x10", "1e", "", "--1", "inf", "1,5", "½"])
def test_only_plain_digits_are_a_number(text):
    with pytest.raises(RowError, match="expected a number"):
        number(text, "x")


def test_a_point_has_one_kind_of_brackets():
    assert point("(1.5, -2)", "PS1") == point("[1.5,-2]", "PS1") == point("(1,5; -2)", "PS1") == (1.5, -2)
    for text in ("(1, 2]", "[1, 2)", "1, 2", "(1, 2, 3)", "(1; 2)"):
        with pytest.raises(RowError, match="expected a point"):
            point(text, "PS1")


@pytest.mark.parametrize(
    ("named", "near"),
    [
        ("00.jpg", r"there is 00\.png \(with another ending\)"),
        ("00", r"there is 00\.png \(with another ending\)"),
        ("00.PNG", r"there is 00\.png \(in other letters\)"),
        ("0.png", r"there is 00\.png \(with other zeros\)"),
        ("frame7.png", "looked for"),
    ],
)
def test_a_file_that_is_nearly_the_named_one_is_told(tmp_path, named, near):
    file = saved(tmp_path, table(",", '"').replace("00.png", named))
    with pytest.raises(UsageError, match=near):
        read_labels(file, tmp_path)
    assert any(re.search(near, str(finding)) for finding in check(tmp_path).findings)


def test_a_picture_under_two_names_is_refused(tmp_path):
    file = saved(tmp_path, table(",", '"').replace("01.png", "images/00.png"))
    for refused in (lambda: read_labels(file, tmp_path), lambda: convert(tmp_path, tmp_path / "out", "iugc")):
        with pytest.raises(UsageError, match=r"labels\.csv:3: expected each picture once, found images/00\.png again"):
            refused()


@pytest.mark.parametrize("column", ["AOP", "aop", "AoP"])
def test_a_wrong_angle_is_a_finding_however_its_column_is_written(tmp_path, column):
    saved(tmp_path, table(",", '"').replace("AoP", column).replace("90.0", "12.0"))
    assert [finding.message for finding in check(tmp_path).findings] == [
        "AoP: expected 90.0000 from the points, found 12.0"
    ] * 2
