"""``pseudo.csv`` read back: what is taken, and each misfit in one line."""

import json

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.pseudo.label import COLUMNS_OF_TABLE, Rule
from aop_pose.pseudo.run import Cut, Origin, read_origin, read_pseudo
from aop_pose.pseudo.signals import Noise
from tests.fakes import write_frames

HEADER = ",".join(COLUMNS_OF_TABLE)
GOOD = '{name},"(150, 60.5)","(80, 80)","(170, 120)",100,{keep},,0.9,1.5,0.49,{weight}'


def table(folder, *rows, header=HEADER):
    write_frames(folder / "images", 4)
    file = folder / "pseudo.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def row(name, keep=1, weight="0.25"):
    return GOOD.format(name=name, keep=keep, weight=weight)


def test_kept_rows_and_their_weights(tmp_path):
    dropped = "003.png,,,,,0,no anatomy found,0.1,,,"
    file = table(tmp_path, row("000.png"), row("images/001.png", weight="1"), row("002.png", keep=0), dropped)
    frames = read_pseudo(file, tmp_path)
    assert [(one.frame.name, one.weight) for one in frames] == [("000.png", 0.25), ("images/001.png", 1.0)]
    np.testing.assert_array_equal(frames[0].frame.keypoints.coords, [[150, 60.5], [80, 80], [170, 120]])
    assert [one.frame.path for one in frames] == [tmp_path / "images" / "000.png", tmp_path / "images" / "001.png"]
    assert [frame.name for frame in read_labels(file, tmp_path)] == ["000.png", "images/001.png"]


@pytest.mark.parametrize("weight", ["nan", "", "inf", "-0.1", "1.01", "much"])
def test_a_weight_that_is_none_names_its_line(tmp_path, weight):
    with pytest.raises(UsageError, match=rf"pseudo\.csv:3: weight: expected a number.*{weight!r}"):
        read_pseudo(table(tmp_path, row("000.png"), row("001.png", weight=weight)), tmp_path)


@pytest.mark.parametrize("weight", ["0", "1", "0.00000001"])
def test_the_ends_are_weights(tmp_path, weight):
    assert read_pseudo(table(tmp_path, row("000.png", weight=weight)), tmp_path)[0].weight == float(weight)


@pytest.mark.parametrize("keep", [1, 0])
def test_a_name_that_stands_twice_is_named_with_both_lines(tmp_path, keep):
    with pytest.raises(UsageError, match=r"pseudo\.csv:4: .*000\.png again \(first in line 2\)"):
        read_pseudo(table(tmp_path, row("000.png"), row("001.png"), row("000.png", keep=keep)), tmp_path)


def test_a_picture_that_stands_under_two_names(tmp_path):
    with pytest.raises(UsageError, match=r"pseudo\.csv:4: .*000\.png again \(first in line 2\)"):
        read_pseudo(table(tmp_path, row("000.png"), row("001.png"), row("images/000.png")), tmp_path)


def test_a_picture_of_another_size_than_was_labelled(tmp_path):
    """Also where the points lie within it."""
    file = table(tmp_path, row("000.png"))
    (tmp_path / "pseudo.run.json").write_text('{"sizes": ["128x128", "256x256"]}')
    assert len(read_pseudo(file, tmp_path)) == 1
    (tmp_path / "pseudo.run.json").write_text('{"sizes": ["200x200"]}')
    with pytest.raises(UsageError, match=r"pseudo\.csv:2: 000\.png: expected a picture of 200x200 .* found 256x256"):
        read_pseudo(file, tmp_path)


def test_no_frame_kept(tmp_path):
    with pytest.raises(UsageError, match="keep = 1, found none in 2 rows"):
        read_pseudo(table(tmp_path, row("000.png", keep=0), row("001.png", keep=0)), tmp_path)
    with pytest.raises(UsageError, match="found none in 0 rows"):
        read_pseudo(table(tmp_path), tmp_path)


@pytest.mark.parametrize("header", [
    "Filename,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y",
    "Filename,PS1,PS2,FH1,AoP",
])  # fmt: skip
def test_a_table_of_another_kind_says_what_is_missing(tmp_path, header):
    with pytest.raises(UsageError, match=r"pseudo\.csv:1: expected the columns .*missing .*weight"):
        read_pseudo(table(tmp_path, header=header), tmp_path)


def test_points_outside_the_picture_are_named(tmp_path):
    other = '001.png,"(400, 60)","(80, 255.5)","(170, 256)",100,1,,0.9,1.5,0.49,1'
    with pytest.raises(UsageError, match=r"pseudo\.csv:3: 001\.png: .*256x256 picture, found PS1, FH1 outside"):
        read_pseudo(table(tmp_path, row("000.png"), other), tmp_path)


def test_a_picture_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"pseudo\.csv:2: no picture 9\.png"):
        read_pseudo(table(tmp_path, row("9.png")), tmp_path)


def test_the_document_beside_a_table(tmp_path):
    file = table(tmp_path, row("000.png"))
    assert read_origin(file) == Origin()
    assert (Origin().model, Origin().confidence, Origin().rule, Origin().cut) == (None, None, Rule(), Cut())
    noise = {"shift": 0.01, "rotation": 1.0, "scale": 0.0, "gamma": 0.0, "speckle": 0.0}
    about = {"model": "fast@12345678", "confidence": "paper", "draws": 8, "noise": noise, "rows": 1}
    document = tmp_path / "pseudo.run.json"
    document.write_text(json.dumps(about))
    origin = read_origin(file)
    assert (origin.model, origin.confidence, origin.noise) == ("fast@12345678", "paper", Noise(**noise))
    damages = (
        '{"confidence": "hope"}', '{"noise": {"wind": 1}}', '{"noise": {"shift": -1}}', "{", "[]", "3", '{"cut": 1}',
        '{"draws": 0}', '{"draws": "many"}', '{"cut": {"above": 0.5, "quantile": 0.5}}',
    )  # fmt: skip
    for damaged in damages:
        document.write_text(damaged)
        with pytest.raises(UsageError, match=r"pseudo\.run\.json: expected"):
            read_origin(file)
