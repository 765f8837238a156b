"""``aop-pose scribbles``: pictures, the two tables, and what is left out."""

import csv

import numpy as np
import pytest
from PIL import Image

from aop_pose.cli.main import run
from aop_pose.scribbles.sheet import COLOURS, draw_strokes
from aop_pose.scribbles.strokes import NAMES, strokes_for

GOOD = '"(140, 40)","(60, 40)","(140, 140)"'


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.full((256, 256), 60, np.uint8)).save(folder / "images" / name)
    return folder


def label(data, *rows):
    (data / "labels.csv").write_text("Filename,PS1,PS2,FH1\n" + "".join(f"{row}\n" for row in rows))


def table(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_strokes_and_frames_left_out(data, tmp_path, capsys):
    label(data, f"a.png,{GOOD}", 'b.png,"(140, 40)","(140, 40)","(140, 140)"', f"c.png,{GOOD}")
    out = tmp_path / "out"
    assert run(["scribbles", str(data), "--out", str(out)]) == 0
    rows = table(out / "strokes.csv")
    assert [row["name"] for row in rows if row["Filename"] == "a.png"] == list(NAMES)
    assert rows[0] == {
        "Filename": "a.png", "name": "ps_axis", "structure": "PS", "positive": "1",
        "x1": "136.800", "y1": "40.000", "x2": "63.200", "y2": "40.000",
    }  # fmt: skip
    assert table(out / "left_out.csv") == [
        {"Filename": "b.png", "reason": "expected PS1 and PS2 apart, found both at (140, 40)"}
    ]
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["a.png", "c.png"]
    printed = capsys.readouterr()
    assert "2 of 3 frames drawn, 1 left out" in printed.out
    assert "Not a medical device" in printed.out
    assert "left out b.png: expected PS1 and PS2 apart" in printed.err


def test_unreadable_picture_is_left_out_and_told(data, tmp_path):
    label(data, f"a.png,{GOOD}", f"b.png,{GOOD}")
    whole = (data / "images" / "b.png").read_bytes()
    (data / "images" / "b.png").write_bytes(whole[:60])
    out = tmp_path / "out"
    assert run(["scribbles", str(data), "--out", str(out)]) == 3
    (left,) = table(out / "left_out.csv")
    assert left["Filename"] == "b.png"
    assert left["reason"]
    assert {row["Filename"] for row in table(out / "strokes.csv")} == {"a.png"}


def test_an_earlier_run_is_replaced_whole_and_only_when_asked(data, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["scribbles", str(data), "--out", str(out)]
    label(data, f"a.png,{GOOD}", f"b.png,{GOOD}")
    assert run(command) == 0
    label(data, f"a.png,{GOOD}")
    assert run(command) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert len(list((out / "pictures").iterdir())) == 2
    assert run([*command, "--overwrite"]) == 0
    assert [path.name for path in (out / "pictures").iterdir()] == ["a.png"]
    assert {row["Filename"] for row in table(out / "strokes.csv")} == {"a.png"}
    (out / "notes.txt").write_text("mine")
    assert run([*command, "--overwrite"]) == 2
    assert "expected an earlier result to replace, found 'notes.txt'" in capsys.readouterr().err
    assert (out / "notes.txt").is_file()


@pytest.mark.parametrize("rows", [[], ["missing.png," + GOOD]])
def test_nothing_is_written_on_wrong_usage(data, tmp_path, rows):
    label(data, *rows)
    assert run(["scribbles", str(data), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_picture_shows_each_kind_in_its_colour_and_leaves_the_frame_to_be_seen():
    points = np.array([(140.0, 40.0), (60.0, 40.0), (140.0, 140.0)])
    picture = draw_strokes(np.full((256, 256), 60, np.uint8), points, strokes_for(points, 256, 256))
    assert picture.dtype == np.uint8
    assert picture.shape[0] == 768
    # Three times enlarged: the middle of pixel (x, y) is at 3 x + 1; places away from numbers and crossings.
    for kind, (x, y) in {("PS", True): (110, 40), ("PS", False): (180, 40), ("FH", True): (100, 140),
                         ("FH", False): (140, 90)}.items():  # fmt: skip
        assert tuple(picture[3 * y + 1, 3 * x + 1]) == COLOURS[kind]
    assert tuple(picture[600, 600]) == (60, 60, 60)
