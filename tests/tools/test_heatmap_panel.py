"""The panel shows the truth above, what the artefact says below, and refuses what it cannot draw."""

import sys

import cv2
import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.formats.head import HEAD_CSV
from aop_pose.formats.label import Label
from aop_pose.inference.predictor import load
from aop_pose.phantom.write import write_phantoms
from tests.fakes import textured
from tests.tiny_artefact import write_artefact, write_heatmap_artefact

pytest.importorskip("matplotlib", reason="matplotlib comes with the train extra")
import heatmap_panel

TRIANGLE = np.array([(40, 20), (15, 25), (45, 50)], float)
AXES = np.array([(8, 30), (56, 30), (32, 14), (32, 46)], float)


@pytest.fixture
def phantoms(tmp_path):
    return write_phantoms(tmp_path / "phantoms", 2, seed=3, size=128)


def test_dots_above_crosses_below_on_the_picture_and_on_each_map(tmp_path, phantoms):
    predictor = load(write_heatmap_artefact(tmp_path / "a.onnx", TRIANGLE))
    frames = heatmap_panel.labelled(AOP, phantoms / "labels.csv", phantoms, [])
    assert len(frames) == 1
    figure = heatmap_panel.panel(predictor, frames, sigma=2)
    assert len(figure.axes) == 8
    above, below = figure.axes[:4], figure.axes[4:]
    truth = (frames[0].keypoints.coords + 0.5) / 2 - 0.5
    for axes, points, mark, within in ((above, truth, "o", 1e-9), (below, TRIANGLE, "x", 0.05)):
        drawn = [line.get_xydata()[0] for line in axes[0].lines]
        assert [line.get_marker() for line in axes[0].lines] == [mark] * 3
        assert drawn == pytest.approx(points, abs=within)
        for axis, point in zip(axes[1:], points, strict=True):
            assert axis.lines[0].get_xydata()[0] == pytest.approx(point, abs=within)
            # The map's brightest pixel lies under its mark.
            shown = np.asarray(axis.images[0].get_array())
            row, column = np.unravel_index(shown.argmax(), shown.shape)
            assert (column, row) == pytest.approx(tuple(point), abs=0.51)
    red, green, blue = (line.get_color() for line in above[0].lines)
    assert [np.argmax(colour) for colour in (red, green, blue)] == [0, 1, 2]


def test_a_head_artefact_and_several_frames(monkeypatch, capsys, tmp_path):
    rows = []
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), textured(1, 60, 90))
        points = Keypoints.from_points(HEAD, [(20, 30), (70, 30), (45, 12), (45, 48)])
        rows.append(Label(name, tmp_path / name, (90, 60), points))
    HEAD_CSV.write_table(rows, tmp_path / "labels.csv")
    artefact = write_heatmap_artefact(tmp_path / "a.onnx", AXES)
    out = tmp_path / "new" / "panel.png"
    command = ["heatmap_panel.py", "--artefact", str(artefact), "--labels", str(tmp_path / "labels.csv")]
    frames = ["--frame", "b.png", "--frame", "a.png"]
    monkeypatch.setattr(sys, "argv", [*command, *frames, "--out", str(out)])
    assert heatmap_panel.main() == 0
    picture = cv2.imread(str(out))
    # Five pictures in a row, two rows a frame.
    assert picture.shape[1] == 5 * 2 * 150
    assert "commit none" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "panel.what")])
    assert heatmap_panel.main() == 1
    assert "panel.what" in capsys.readouterr().err


def test_what_has_no_maps_and_a_frame_without_a_row_are_refused(monkeypatch, capsys, tmp_path, phantoms):
    pose = write_artefact(tmp_path / "pose.onnx")
    maps = write_heatmap_artefact(tmp_path / "maps.onnx", TRIANGLE)
    labels = ["--labels", str(phantoms / "labels.csv"), "--out", str(tmp_path / "p.png")]
    for artefact, more, message in (
        (pose, [], "expected a heatmap head, found pose"),
        (maps, ["--frame", "nowhere.png"], "expected rows of nowhere.png"),
    ):
        monkeypatch.setattr(sys, "argv", ["heatmap_panel.py", "--artefact", str(artefact), *labels, *more])
        assert heatmap_panel.main() == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1
    assert not (tmp_path / "p.png").exists()
