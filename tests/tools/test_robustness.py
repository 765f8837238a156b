"""Kinds of frames by models: what is counted, that nothing is measured twice, and that a kind keeps its points."""

import sys

import cv2
import numpy as np
import pytest
import robustness

from aop_pose.geometry import angle_of_progression
from aop_pose.phantom import make_phantom
from lib.kinds import AS_GIVEN, KINDS, Bare, Kind, Made, register
from tests.tiny_artefact import write_heatmap_artefact
from tests.tools.page_commands import words_of


@pytest.fixture(scope="module")
def bare():
    phantom = make_phantom(3, 0)
    return Bare("a.png", phantom.frame.pixels, phantom.keypoints.coords)


@pytest.mark.parametrize("name", list(KINDS))
def test_a_kind_keeps_the_points_on_the_picture_and_is_the_same_each_time(name, bare):
    made, again = KINDS[name].of(bare, 1), KINDS[name].of(bare, 1)
    assert (made.pixels == again.pixels).all()
    assert made.pixels.dtype == np.uint8
    assert (made.points >= 0).all()
    assert (made.points < made.pixels.shape[::-1]).all()
    if KINDS[name].wanted == "measured":
        true = angle_of_progression(*bare.points)
        # A photograph is taken slightly from the side.
        assert angle_of_progression(*made.points) == pytest.approx(true, abs=4 if "photo" in name else 1e-6)


def row(kind, frame, aop, true=100.0, low=None, high=None):
    return {"model": "m", "seed": 0, "kind": kind, "frame": frame, "status": "ok" if aop else "abstained",
            "reason": "", "true": true, "aop": aop, "low": low, "high": high, "region": None}  # fmt: skip


def test_figures_are_of_the_frames_that_are_measured_as_given():
    rows = [
        row(AS_GIVEN, "a", 100.0, low=90.0, high=110.0), row(AS_GIVEN, "b", 110.0), row(AS_GIVEN, "c", None),
        row("side bars", "a", 103.0, low=88.0, high=118.0), row("side bars", "b", None), row("side bars", "c", 130.0),
    ]  # fmt: skip
    found = robustness.figures(rows, "m", "side bars")
    assert (found["n"], found["measured"], found["change_median"], found["width"]) == (2, 0.5, 3.0, 1.5)
    # Errors are of every number that is given, 3 and 30 degrees here.
    assert found["error"] == pytest.approx(16.5)
    assert found["far"] == pytest.approx(1 / 3)
    assert robustness.far_off(rows, ["m"]) == (
        "m: 1 of 6 pictures of all kinds are measured and more than 20° off, 1 of them made of c; "
        "0 have an interval of at least 30°, as 5 % of all measured pictures"
    )


def test_a_table_is_measured_once_and_goes_on_where_it_ended(tmp_path, monkeypatch, bare, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "psfhs/images").mkdir(parents=True)
    lines = ["Filename,PS1,PS2,FH1"]
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"psfhs/images/{number}.png"), bare.pixels)
        lines.append(f"{number}.png," + ",".join(f'"({x:.2f}, {y:.2f})"' for x, y in bare.points))
    (tmp_path / "psfhs/val.csv").write_text("\n".join(lines) + "\n")
    artefact = write_heatmap_artefact(tmp_path / "tiny.onnx", bare.points)
    words = [*words_of("robustness"), "--weights", str(artefact), "--kinds", "white"]

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["robustness.py", *words, *more])
        code = robustness.main()
        return code, capsys.readouterr()

    code, printed = run()
    assert code == 0, printed.err
    assert "| white | measured | tiny@" in printed.out
    rows = (tmp_path / "robustness/rows.jsonl").read_text()
    assert rows.count("\n") == 4
    (tmp_path / "robustness/rows.jsonl").write_text(rows[:-20])
    assert run()[1].out == printed.out
    assert (tmp_path / "robustness/rows.jsonl").read_text() == rows
    assert run("--table")[1].out == printed.out
    assert (tmp_path / "robustness/robustness.png").read_bytes().startswith(b"\x89PNG")
    assert run("--kinds", "nothing")[0] == 2


def test_a_kind_is_registered_once():
    with pytest.raises(ValueError, match="'side bars' twice"):
        register(Kind("side bars", lambda bare, rng: Made(bare.pixels, bare.points)))
