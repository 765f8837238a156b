"""Dice, HSD and opinions about the axis by hand; from an artefact back to a checkpoint that answers as it did."""

import sys

import axis_table
import cv2
import hsd_table
import numpy as np
import outline_table
import pytest

from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.results import Measurement, Result
from aop_pose.core.schemas import AOP
from aop_pose.formats.label import Label
from tests.fakes import POINTS


def square(left, top, side):
    return np.array([[left, top], [left + side, top], [left + side, top + side], [left, top + side]], float)


def test_dice_and_distance_by_hand(tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    mask[100:110, 100:110], mask[150:200, 100:150] = 1, 2
    label = Label("x", tmp_path / "x.png", keypoints=Keypoints.from_points(AOP, [[105, 109], [100, 100], [140, 150]]))
    result = Result(
        "x", 0, "ok", keypoints=label.keypoints, outlines={"PS": square(100, 100, 9), "FH": square(100, 175, 49)},
        measurements={"hsd_px": Measurement("hsd_px", 30.0, "px")},
    )  # fmt: skip
    found = outline_table.outlined(result, label, mask)
    # The same 100 pixels; and half of 2500 pixels shared by two squares.
    assert found.dice == (1.0, 0.5)
    # 41 pixels of 256 to the mask's edge, told in 512ths.
    assert (found.true, found.found) == (82.0, 60.0)
    missed = outline_table.outlined(Result("x", 0, "abstained", "why"), label, mask)
    assert missed.dice == (0.0, 0.0)
    assert np.isnan(missed.found)


def test_ways_to_measure_hsd_by_hand():
    """PS1 at (105, 109), a round head of radius 50 about (105, 209): 50 pixels; the second look's is 10 nearer."""
    steps = np.linspace(0, 2 * np.pi, 720, endpoint=False)[:, None]
    head = np.array([105, 209]) + 50 * np.concatenate([np.cos(steps), np.sin(steps)], axis=1)
    points = Keypoints(AOP, [[105, 109], [100, 100], [140, 150]], np.ones(3))
    looks = [Prediction(points, 1.0, outlines={"FH": contour}) for contour in (head, head - np.array([0, 10]))]
    shown = hsd_table.Case(np.array([105.0, 99.0]), head + np.array([0, 20]), (looks[0], looks[1]), 2.0)
    told = {name: way(shown) for name, way in hsd_table.WAYS.items()}
    assert told == pytest.approx({
        "contour (shipped)": 50, "ellipse fitted to the contour": 50, "half contour, half ellipse": 50,
        "ellipse fitted to both looks' contours": 43.3, "mean of both looks": 45, "true PS1, contour": 60,
        "PS1, true contour": 70,
    }, abs=1)  # fmt: skip
    lines = hsd_table.table([shown] * 3, np.arange(3)).splitlines()
    # True 80 pixels, found 50, told in 512ths of a picture half as large.
    assert lines[2].startswith("| contour (shipped) | 60.00 [60.00, 60.00] | -60.00 |")


def case(contour, points=POINTS):
    found = Prediction(Keypoints(AOP, points, np.ones(3)), 1.0, outlines={"PS": np.asarray(contour, float)})
    return axis_table.Case(np.zeros((256, 256), np.uint8), POINTS, found)


@pytest.mark.parametrize("way", [axis_table.ends_of_outline, axis_table.long_axis_of_outline])
def test_an_opinion_turns_ps2_about_ps1_and_keeps_its_distance(way):
    steps = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    contour = np.stack([110 + 40 * np.cos(steps), 70 + 12 * np.sin(steps)], axis=1)
    turned = way(case(contour))
    length = np.linalg.norm(POINTS[1] - POINTS[0])
    np.testing.assert_allclose(turned, [POINTS[0], POINTS[0] - [length, 0], POINTS[2]], atol=0.5)
    np.testing.assert_allclose(axis_table.mean_with(way)(case(contour)), (turned + POINTS) / 2)


def test_without_an_outline_the_points_stand():
    for way in (axis_table.ends_of_outline, axis_table.long_axis_of_outline):
        np.testing.assert_array_equal(way(case(np.zeros((0, 2)))), POINTS)


def test_axes_are_compared_as_directions():
    turned = POINTS.copy()
    turned[1] = POINTS[0] + (POINTS[1] - POINTS[0]) @ np.array([[0, 1], [-1, 0]])
    assert axis_table.degrees_of_axis(turned, POINTS) == pytest.approx(90)
    assert axis_table.degrees_of_axis(POINTS + 5, POINTS) == pytest.approx(0)


def test_an_artefact_becomes_a_checkpoint_that_answers_as_it_did(tmp_path, monkeypatch, capsys):
    pytest.importorskip("lightning", reason="lightning comes with the train extra")
    import unfold_artefact

    from aop_pose.inference.predictor import load
    from aop_pose.inference.weights import rewrite
    from aop_pose.phantom.write import write_phantoms
    from aop_pose.pipelines import load_weights, pipeline
    from tests.pipelines.unet_tiny import train_unet

    data = write_phantoms(tmp_path / "data", count=6, seed=5, size=96)
    train_unet(data, tmp_path / "run", "epochs=1", "encoder=yolo11n", "stem=4", "map_stride=4", "region=none")
    artefact = tmp_path / "a.onnx"
    pipeline("unet").export(tmp_path / "run", artefact)
    (data / "list.txt").write_text("\n".join(path.name for path in sorted((data / "images").iterdir())))
    words = [str(artefact), "--data", str(data), "--frames", "list.txt", "--set", "outlines=true",
             "--out", str(tmp_path / "out" / "a.pt")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["unfold_artefact", *words])
    assert unfold_artefact.main() == 0
    assert "maps differ by" in capsys.readouterr().out
    pixels = cv2.imread(str(data / "images" / "0000.png"), 0)
    (before,), (after,) = (load_weights(str(file)).find([pixels]) for file in (artefact, tmp_path / "out" / "a.pt"))
    np.testing.assert_allclose(after.found.coords, before.found.coords, atol=0.01)
    again = train_unet(data, tmp_path / "again", "epochs=1", "encoder=yolo11n", "region=none", "outlines=true",
                       init=str(tmp_path / "out" / "a.pt"))  # fmt: skip
    assert again["tensors_transferred"][0] == again["tensors_transferred"][1]
    # An artefact that was made of a bare checkpoint does not say how it was trained.
    silent = tmp_path / "silent.onnx"
    contract = load(artefact).contract
    rewrite(artefact, contract.model_copy(update={"training_run": {"name": "a.pt"}}), silent)
    monkeypatch.setattr(sys, "argv", ["unfold_artefact", str(silent), *words[1:]])
    assert unfold_artefact.main() == 2
    assert "name its record by --run" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--run", str(tmp_path / "run" / "run.json")])
    assert unfold_artefact.main() == 0
    words[words.index("outlines=true")] = "encoder=unet"
    monkeypatch.setattr(sys, "argv", ["unfold_artefact", *words])
    assert unfold_artefact.main() == 2
