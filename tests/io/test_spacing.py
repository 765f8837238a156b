"""--pixel-size: a number or a table."""

from pathlib import Path

import numpy as np
import pytest

from aop_pose.core.frame import Frame
from aop_pose.errors import UsageError
from aop_pose.io.spacing import PixelSizes, parse_pixel_size, with_pixel_size

PIXELS = np.zeros((40, 50), np.uint8)


def table(tmp_path: Path, text: str) -> PixelSizes:
    (tmp_path / "sizes.csv").write_text(text, encoding="utf-8")
    return parse_pixel_size(str(tmp_path / "sizes.csv"))


def spacing(sizes: PixelSizes, source: str) -> tuple[float, ...] | None:
    return with_pixel_size(Frame(PIXELS, source=source), sizes).spacing


def test_one_number_for_every_frame() -> None:
    assert spacing(parse_pixel_size("0.25"), "any/thing.png") == (0.25, 0.25)


@pytest.mark.parametrize("text", ["0", "-0.1", "-1e3"])
def test_number_that_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="expected a positive number of millimetres"):
        parse_pixel_size(text)


@pytest.mark.parametrize("text", ["0,25", "nan", "inf", "6_0", "\u0660.\u0662", "1e999"])
def test_neither_a_number_nor_a_file(text: str) -> None:
    with pytest.raises(UsageError, match=f"expected a number or an existing CSV, found '{text}'"):
        parse_pixel_size(text)


@pytest.mark.parametrize(
    "header", ["Filename,pixel_size_mm", "\ufefffilename,pixel size(mm)", "FILENAME, Pixel_Size_MM"]
)
def test_table_by_source_then_by_name(tmp_path: Path, header: str) -> None:
    sizes = table(tmp_path, f"{header}\r\na/1.png,0.1\n1.png,0.2\n\nb\\2.png,0.3\n")
    assert spacing(sizes, "a/1.png") == (0.1, 0.1)
    assert spacing(sizes, "c/1.png") == (0.2, 0.2)
    assert spacing(sizes, "b/2.png") == (0.3, 0.3)
    assert spacing(sizes, "2.png") is None


def test_hc18_table_with_further_columns(tmp_path: Path) -> None:
    text = "filename,pixel size(mm),head circumference (mm)\n000_HC.png,0.069136,44.3\n"
    assert spacing(table(tmp_path, text), "000_HC.png") == (0.069136, 0.069136)


def test_a_row_without_a_size_says_nothing(tmp_path: Path) -> None:
    sizes = table(tmp_path, "Filename,pixel_size_mm,head_circumference_mm\n1.png,0.1,\n2.png,,170\n")
    assert spacing(sizes, "1.png") == (0.1, 0.1)
    assert spacing(sizes, "2.png") is None
    with pytest.raises(UsageError, match=r"sizes.csv:2: expected a positive number"):
        table(tmp_path, "Filename,pixel_size_x_mm,pixel_size_y_mm\n1.png,0.1,\n")


@pytest.mark.parametrize(
    "text",
    [
        "Filename;pixel_size_mm\n1.png;0,25\n",
        "sep=;\nFilename;pixel_size_mm\n1.png;0.25\n",
        "Filename\tpixel_size_mm\n1.png\t0.25\n",
        "Filename, pixel_size_mm\n1.png, 0.25\n",
    ],
)
def test_a_table_is_parted_as_a_label_file(tmp_path: Path, text: str) -> None:
    assert spacing(table(tmp_path, text), "1.png") == (0.25, 0.25)


def test_two_axes(tmp_path: Path) -> None:
    sizes = table(tmp_path, "Filename,pixel_size_x_mm,pixel_size_y_mm\n1.png,0.1,0.2\n")
    frame = with_pixel_size(Frame(PIXELS, source="1.png", aspect=3.0), sizes)
    assert (frame.spacing, frame.aspect) == ((0.2, 0.1), None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"sizes.csv:1: expected columns Filename .* found nothing"),
        ("name,size\n", r"sizes.csv:1: expected columns .* found name, size"),
        ("Filename,pixel_size_x_mm\n", r"sizes.csv:1: expected columns"),
        ("Filename,pixel_size_mm\n1.png\n", r"sizes.csv:2: expected 2 fields, found 1"),
        ("Filename,pixel_size_mm\n1.png,0.1\n2.png,0\n", r"sizes.csv:3: .*found '0'"),
        ("Filename,pixel_size_mm\n1.png,wide\n", r"sizes.csv:2: .*found 'wide'"),
        ("Filename,pixel_size_mm\n1.png,6_0\n", r"sizes.csv:2: .*found '6_0'"),
        ("Filename,pixel_size_mm\n1.png,\u0660.\u0662\n", r"sizes.csv:2: .*found '\u0660.\u0662'"),
        ("Filename,pixel_size_mm\n1.png,-0.1\n", r"sizes.csv:2: .*found '-0.1'"),
        ("Filename,pixel_size_mm\n1.png,1e999\n", r"sizes.csv:2: .*found '1e999'"),
        ("Filename,pixel_size_mm\n1.png,0,25\n", r"sizes.csv:2: expected 2 fields, found 3"),
        ("Filename,pixel_size_mm\n,0.1\n", r"sizes.csv:2: expected a file name"),
        ("Filename,pixel_size_mm\n1.png,0.1\n1.png,0.2\n", r"sizes.csv:3: 1.png stands twice"),
    ],
)
def test_bad_tables_name_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        table(tmp_path, text)


def test_a_picture_is_not_a_table(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UsageError, match="expected UTF-8 CSV"):
        parse_pixel_size(str(tmp_path / "x.png"))


def test_one_number_does_not_overrule_a_file_that_says_not_square() -> None:
    sizes = parse_pixel_size("0.2")
    by_density = with_pixel_size(Frame(PIXELS, aspect=0.5), sizes)
    assert (by_density.spacing, by_density.aspect) == (None, 0.5)
    by_spacing = with_pixel_size(Frame(PIXELS, spacing=(0.3, 0.1)), sizes)
    assert by_spacing.spacing is None
    assert by_spacing.aspect == pytest.approx(3.0)


def test_user_goes_before_a_file_with_square_pixels() -> None:
    assert with_pixel_size(Frame(PIXELS, spacing=(0.3, 0.3), aspect=1.0), parse_pixel_size("0.2")).spacing == (0.2, 0.2)


def test_frame_without_an_entry_stays(tmp_path: Path) -> None:
    sizes = table(tmp_path, "Filename,pixel_size_mm\n1.png,0.1\n")
    frame = Frame(PIXELS, spacing=(0.3, 0.3), source="2.png")
    assert with_pixel_size(frame, sizes) is frame
