"""Overlays: where things are drawn, that nothing breaks, and what the files are called."""

from pathlib import Path

import attrs
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aop_pose.core.frame import Frame
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.results import Measurement, Result
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.draw.frame import colours, contact_sheet, draw_overlay, overlay_name, scaling, write_overlay
from aop_pose.draw.marks import Box, name_point, pale, worth_of

POINTS = [(138.0, 36.0), (58.0, 61.0), (200.0, 66.0)]


def measured(points: list[tuple[float, float]], source: str = "x.png") -> Result:
    return Result(
        source, 0, "ok", keypoints=Keypoints(AOP, points, [1, 1, 1]),
        measurements={"aop_deg": Measurement("aop_deg", 136.8, "deg", (128.1, 145.2))},
    )  # fmt: skip


def plain(height: int, width: int, level: int) -> Frame:
    return Frame(np.full((height, width), level, np.uint8))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_points_are_drawn_in_their_colour_where_they_are(level: int) -> None:
    frame = plain(256, 256, level)
    picture = draw_overlay(frame, measured(POINTS))
    assert picture.dtype == np.uint8
    for (x, y), colour in zip(POINTS, colours(AOP.points), strict=True):
        # The centre of pixel x of 256 lies at 2 x + 0.5 of 512.
        assert tuple(picture[round(2 * y + 0.5), round(2 * x + 0.5)]) == colour


def test_mark_is_centred_half_pixel_correct() -> None:
    """A mark in colour on a picture without lines, of each shape: its centre of gravity is the point, to a tenth of a
    pixel, and no two shapes are alike."""
    frame = plain(100, 100, 0)
    shapes = []
    for number in range(3):
        points = np.full((3, 2), np.nan)
        points[number] = 37.3, 61.8
        result = Result("x.png", 0, "abstained", reason="r", keypoints=Keypoints(AOP, points, [1, 1, 1]))
        ink = draw_overlay(frame, result)[:512, :512].max(axis=-1).astype(float)
        x, y = scaling(frame).to_overlay(points[number])
        window = ink[round(y) - 7 : round(y) + 8, round(x) - 7 : round(x) + 8]
        rows, columns = np.mgrid[round(y) - 7 : round(y) + 8, round(x) - 7 : round(x) + 8]
        assert (columns * window).sum() / window.sum() == pytest.approx(x, abs=0.1)
        assert (rows * window).sum() / window.sum() == pytest.approx(y, abs=0.1)
        shapes.append(window > window.max() / 2)
    assert min(int((shapes[one] ^ shapes[one - 1]).sum()) for one in range(3)) > 8


def test_frame_lies_in_the_corner_unchanged_where_it_is_large_enough() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 700), dtype=np.uint8)
    picture = draw_overlay(Frame(pixels), Result("x.png", 0, "abstained", reason="nothing found"))
    assert np.array_equal(picture[:600, :700], np.repeat(pixels[..., None], 3, axis=-1))
    assert picture.shape[0] > 600
    assert picture.shape[1] == 700


@given(st.integers(1, 700), st.integers(1, 700), st.floats(-50, 800), st.floats(-50, 800))
def test_scaling_is_invertible(height: int, width: int, x: float, y: float) -> None:
    scale = scaling(plain(height, width, 0))
    assert scale.to_frame(scale.to_overlay(np.array([x, y]))) == pytest.approx([x, y], abs=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (3, 5000), (5000, 3), (40, 300), (33, 32), (1200, 1600)])
@pytest.mark.parametrize("points", [POINTS, [(-1e12, 4e9), (0, 0), (1e300, -5)], [(5, 5)] * 3, [(np.nan, np.nan)] * 3])
def test_any_size_and_any_points_can_be_drawn(size: tuple[int, int], points: list[tuple[float, float]]) -> None:
    picture = draw_overlay(plain(*size, 90), measured(points, "a/very/long/name/" * 20 + "漢.png"))
    assert picture.dtype == np.uint8
    assert picture.shape[1] >= 300
    assert picture.shape[0] > round(size[0] * scaling(plain(*size, 90)).y)


@pytest.mark.parametrize("corner", [(0, 0), (255, 0), (0, 255), (255, 255)])
def test_names_at_the_border_stay_in_the_picture(corner: tuple[int, int]) -> None:
    """Pixels of the name's colour are found beside the mark, and as many as in the middle of a picture."""
    colour = np.array(pale(colours(AOP.points)[0]))

    def inked(x: float, y: float) -> int:
        points = [(x, y), (np.nan, np.nan), (np.nan, np.nan)]
        result = Result("x.png", 0, "abstained", reason="r", keypoints=Keypoints(AOP, points, [1, 1, 1]))
        picture = draw_overlay(plain(256, 256, 0), result)[:512].astype(int)
        place = scaling(plain(256, 256, 0)).to_overlay(np.array([x, y]))
        rows, columns = np.nonzero(np.abs(picture - colour).max(axis=-1) < 40)
        return int((np.hypot(columns - place[0], rows - place[1]) > 7).sum())

    assert inked(*corner) == pytest.approx(inked(128, 128), rel=0.1)


def test_a_name_hides_neither_line_nor_anatomy_where_a_place_is_free() -> None:
    """Anatomy right of the point and a line left above it: the name goes left below; nothing free: where least is."""
    anatomy, line, place = [[98, 0], [199, 0], [199, 99], [98, 99]], [[0, 38], [96, 38]], np.array([100.0, 50.0])
    worth = worth_of((100, 200), [np.array(anatomy)], [np.array(line)])
    for _ in range(2):
        occupied: list[Box] = []
        assert name_point(np.zeros((100, 200, 3), np.uint8), "PS1", place, (255, 255, 255), occupied, 0.5, worth=worth)
        _, top, right, bottom = occupied[0]
        assert right < 98
        assert 38 < top < bottom < 80
        worth += 1


def test_an_outline_is_drawn_all_round() -> None:
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)[:, None]
    ring = np.rint(256 + 150 * np.hstack([np.cos(turn), np.sin(turn)]))
    bare = Result("x.png", 0, "abstained", reason="none", width=512, height=512, model="m")
    picture = draw_overlay(plain(512, 512, 128), attrs.evolve(bare, outlines={"FH": ring}))[:512]
    drawn = (picture != 128).any(axis=2).astype(np.uint8)
    near = cv2.dilate(drawn, np.ones((3, 3), np.uint8))
    columns, rows = ring.astype(int).T
    assert near[rows, columns].all()


def test_a_large_frame_is_shrunk_so_that_marks_can_be_seen() -> None:
    """Marks of fixed size on a picture that a screen shows whole; its points stay where they are."""
    frame = plain(1800, 2400, 40)
    assert scaling(frame).x == 1024 / 2400
    picture = draw_overlay(frame, measured([(1200, 900), (300, 900), (1200, 1700)]))
    assert picture.shape[1] == 1024
    assert scaling(frame).to_overlay(np.array([0.0, 0.0])) == pytest.approx([-0.2867, -0.2867], abs=1e-4)


def test_reason_and_note_are_written_in_the_band() -> None:
    frame = plain(256, 256, 0)
    short = draw_overlay(frame, Result("x.png", 0, "abstained", reason="no detection"))
    long = draw_overlay(frame, Result("x.png", 0, "abstained", reason="no detection because of this and that " * 4))
    assert long.shape[0] > short.shape[0] > 512
    assert (short[-30:, 256:].max(axis=-1) > 200).sum() > 100


def test_head_axes_are_blue_and_green_and_their_ellipse_is_drawn(tmp_path: Path) -> None:
    points = [(10, 50), (90, 50), (50, 20), (50, 80)]
    values = {"ofd_px": 80.0, "bpd_px": 60.0, "ofd_mm": 12.0, "hc_px": 219.9}
    result = Result(
        "x.png", 0, "ok", keypoints=Keypoints(HEAD, points, [1] * 4),
        measurements={name: Measurement(name, value, name[-2:]) for name, value in values.items()},
    )  # fmt: skip
    frame = plain(100, 100, 30)
    drawn = draw_overlay(frame, result).astype(int)

    def at(x: float, y: float) -> tuple[int, int, int]:
        column, row = scaling(frame).to_overlay(np.array([x, y], float)).round().astype(int)
        return tuple(drawn[row, column])

    blue, green, red = at(30, 50)
    assert blue > 200 > green > red
    blue, green, red = at(50, 35)
    assert green > 130 > max(blue, red)
    turn = np.radians(40)
    blue, green, red = at(50 + 40 * np.cos(turn), 50 + 30 * np.sin(turn))
    assert min(green, red) > 150 > blue
    write_overlay(tmp_path / "sub" / "x.png", drawn.astype(np.uint8))
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["x.png"]
    assert cv2.imread(str(tmp_path / "sub" / "x.png")) is not None


def test_contact_sheet_holds_every_picture() -> None:
    pictures = [np.full((50 + 40 * number, 90, 3), 50 * (number + 1), np.uint8) for number in range(5)]
    sheet = contact_sheet(pictures, columns=3, tile=100)
    assert sheet.shape == (2 * 106 + 6, 3 * 106 + 6, 3)
    for number in range(5):
        row, column = divmod(number, 3)
        assert tuple(sheet[6 + 50 + row * 106, 6 + 50 + column * 106]) == (50 * (number + 1),) * 3
    assert contact_sheet(pictures[:1], columns=4, tile=100).shape == (112, 112, 3)
    with pytest.raises(ValueError, match="expected pictures"):
        contact_sheet([])


@pytest.mark.parametrize(
    ("source", "index", "name"),
    [
        ("x.png", 0, "x.png"),
        ("sub/x.png", 0, "sub/x.png"),
        ("sub/x.gif", 0, "sub/x@gif.png"),
        ("sub/x.gif", 12, "sub/x@gif-0012.png"),
        ("x.png", 1, "x@png-0001.png"),
        ("x", 0, "x@@.png"),
        ("../../etc/x.png", 0, "..@/..@/etc/x.png"),
        ("/x.png", 0, "@/x.png"),
        ("a:b*.png", 0, "a%3Ab%2A.png"),
        ("x.png/y.png", 0, "x.png@/y.png"),
    ],
)
def test_overlay_names(source: str, index: int, name: str) -> None:
    assert str(overlay_name(source, index)) == name


def test_long_names_are_cut_and_stay_different() -> None:
    one, two = overlay_name("漢" * 200 + "1.png", 0), overlay_name("漢" * 200 + "2.png", 0)
    assert one != two
    assert len(str(one).encode()) < 200


SOURCES = st.lists(st.text("ab.@%/-0png~", min_size=1, max_size=8), min_size=1, max_size=3).map("".join)


@given(st.tuples(SOURCES, st.integers(0, 2)), st.tuples(SOURCES, st.integers(0, 2)))
def test_different_frames_never_share_a_name(one: tuple[str, int], two: tuple[str, int]) -> None:
    assert (overlay_name(*one) == overlay_name(*two)) == (one == two)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (61, 43), (64, 2), (65, 3), (200, 5)])
def test_other_readers_find_the_same_pixels_in_a_png(shape: tuple[int, int], tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    write_overlay(tmp_path / "deep" / "x.png", picture)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "deep" / "x.png")), picture)
    with Image.open(tmp_path / "deep" / "x.png") as found:
        found.verify()  # The sums of its chunks.
    with Image.open(tmp_path / "deep" / "x.png") as found:
        assert found.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(found), picture[..., ::-1])


def test_a_png_of_a_part_of_a_picture_is_that_part(tmp_path: Path) -> None:
    picture = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    write_overlay(tmp_path / "x.png", picture[3:9, 5:11])
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "x.png")), picture[3:9, 5:11])
