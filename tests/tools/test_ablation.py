"""What every ablation stands on: arms resume, errors count missing frames, pairs are pairs."""

import json

import ablation
import numpy as np
import pytest
from ablation import Arm, Measured, measure, read_results, train_all, train_missing

from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.registry import read_labels


class Reader:
    """Finds the points it is given, frame after frame."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def find(self, pictures):
        points = next(self.answers)
        return [Prediction(None if points is None else Keypoints.from_points(AOP, points), 0.9)]


def test_a_finished_arm_is_not_run_again(tmp_path):
    wanted = [Arm("C", "coco", 0), Arm("C", "coco", 1)]
    (tmp_path / "C-coco-0.json").write_text("{}")
    ran = []
    train_missing(wanted, tmp_path, lambda arm: ran.append(arm) or {"arm": arm.name})
    assert ran == [wanted[1]]
    assert json.loads((tmp_path / "C-coco-1.json").read_text()) == {"arm": "C"}


def test_an_arm_that_breaks_off_leaves_no_result(tmp_path):
    def broken(arm):
        raise RuntimeError("broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        train_missing([Arm("C", "coco", 0)], tmp_path, broken)
    assert not list(tmp_path.iterdir())


def run_two(results, error):
    """Folders of the arms that were begun where the first of two raises ``error``."""
    begun = []

    def run_arm(arm):
        begun.append(arm.folder)
        if len(begun) == 1:
            raise error
        return {"arm": arm.name}

    train_all([Arm("H", "head", 0), Arm("C", "head", 0)], results, run_arm)
    return begun


def test_a_training_that_breaks_off_is_said_and_the_others_go_on(tmp_path, capsys):
    assert run_two(tmp_path, AopPoseError("epoch 1: the loss is nan")) == ["H-head-0", "C-head-0"]
    assert [file.name for file in tmp_path.iterdir()] == ["C-head-0.json"]
    assert capsys.readouterr().err == "H-head-0: epoch 1: the loss is nan\n"


def test_a_wrong_call_stops_the_table(tmp_path):
    with pytest.raises(UsageError):
        run_two(tmp_path, UsageError("--labels: nothing there"))


def test_errors_of_a_found_and_of_a_missing_frame(rehearsal, monkeypatch):
    frames = read_labels(rehearsal / "val.csv", rehearsal)
    answers = [frame.keypoints.coords for frame in frames]
    answers[1] = None
    answers[2] = answers[2] + [3.0, 4.0]
    monkeypatch.setattr(ablation, "load_weights", lambda path: Reader(answers))
    errors = measure(rehearsal, rehearsal)
    assert errors[frames[0].name] == [0, 0]
    # 96 pixels a side: the diagonal is 512 sqrt(2) on the 512 scale, and 5 pixels are 5 * 512 / 96.
    assert errors[frames[1].name] == [pytest.approx(512 * 2**0.5), 180]
    assert errors[frames[2].name] == [pytest.approx(26.6667, abs=1e-4), pytest.approx(0, abs=1e-4)]


def test_arms_are_paired_over_shared_seeds_alone():
    names = [f"{i}.png" for i in range(30)]
    frames = [type("Frame", (), {"name": name}) for name in names]
    measured = Measured(frames, np.arange(30) // 2)

    def run(mre, aop):
        return {"errors": {name: [mre, aop] for name in names}}

    ours, base = {0: run(5.0, 1.0), 1: run(100.0, 100.0)}, {0: run(7.0, 1.5), 2: run(0.0, 0.0)}
    cells = measured.paired(ours, base)
    assert cells[0] == "-2.00 [-2.00, -2.00]"
    assert cells[2] == "-0.50 [-0.50, -0.50]"
    # All 15 groups have one sign: only two of 2^15 arrangements reach that.
    assert cells[1] == "< 0.001"
    assert measured.paired(ours, ours) == measured.paired(ours, {5: run(0, 0)}) == ["", "", "", ""]


def test_results_are_found_by_arm_start_and_seed(tmp_path):
    for seed in (1, 0):
        (tmp_path / f"B-coco-{seed}.json").write_text(json.dumps({"arm": "B", "start": "coco", "seed": seed}))
    assert list(read_results(tmp_path)[("B", "coco")]) == [0, 1]
