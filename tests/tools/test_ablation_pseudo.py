"""Arms of the ablation of pseudo-labels have equal budgets, and their tables are what training reads."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from ablation import Measured
from ablation_data import Budget, quality, write_answers
from ablation_pseudo import ARMS, TRAIN, arms, paired_table
from hypothesis import given
from hypothesis import strategies as st

from aop_pose.formats.csv_rows import read_list
from aop_pose.formats.registry import read_labels
from aop_pose.pseudo.run import read_pseudo

PSFHS = Budget(labelled=300, answers=626, batch=16, pose_epochs=30, epochs=15)


def steps(budget, arm):
    """Batches of an arm, counted by walking through its epochs."""
    frames, batch = {
        "K": (budget.labelled, budget.batch),
        "F": (budget.labelled + budget.answers, budget.batch),
    }.get(arm, (budget.labelled, budget.batch // 2))
    return sum(len(range(0, frames, batch)) for _ in range(budget.epochs_of(arm)))


def test_steps_on_psfhs():
    assert PSFHS.further == steps(PSFHS, "C") == steps(PSFHS, "MT") == steps(PSFHS, "K") == 570
    assert PSFHS.all_steps == 570 + 570
    # 20 epochs of 58 batches come nearest to 1140 steps.
    assert steps(PSFHS, "F") == 1160
    # Warm-up: three epochs of C are 114 steps, which are six epochs of K.
    assert (PSFHS.warmup("C", 3), PSFHS.warmup("K", 3)) == (3, 6)


@given(
    st.builds(
        Budget,
        labelled=st.integers(16, 500),
        answers=st.integers(1, 900),
        batch=st.integers(1, 8).map(lambda half: 2 * half),
        pose_epochs=st.integers(1, 40),
        epochs=st.integers(1, 40),
    )
)
def test_no_arm_is_further_off_than_half_an_epoch(budget):
    for arm, wanted, frames in (
        ("K", budget.further, budget.labelled),
        ("F", budget.all_steps, budget.labelled + budget.answers),
    ):
        epoch = math.ceil(frames / budget.batch)
        assert abs(steps(budget, arm) - wanted) <= epoch / 2 or steps(budget, arm) == epoch


def test_every_arm_can_be_trained_and_the_question_comes_first():
    assert TRAIN.keys() == ARMS.keys()
    order = [arm.folder for arm in arms(["D", "K", "C"], ["coco"], 2)]
    assert order == ["C-coco-0", "K-coco-0", "C-coco-1", "K-coco-1", "D-coco-0", "D-coco-1"]


def test_answers_become_pseudo_labels_of_weight_one(rehearsal, tmp_path):
    answers = read_labels(rehearsal / "unlabelled_answers.csv", rehearsal)
    write_answers(answers, tmp_path / "t.csv")
    read = read_pseudo(tmp_path / "t.csv", rehearsal)
    assert [one.frame.name for one in read] == read_list(rehearsal / "unlabelled.txt")
    assert {one.weight for one in read} == {1.0}
    for one, answer in zip(read, answers, strict=True):
        assert one.frame.keypoints.coords == pytest.approx(answer.keypoints.coords, abs=1e-6)
    # Answers taken as predictions have no error.
    assert quality(tmp_path / "t.csv", rehearsal) == {
        "frames": 8,
        "kept": 8,
        "mean_weight": 1.0,
        "mre_px": 0.0,
        "aop_mae_deg": 0.0,
    }


def test_the_record_of_pseudo_labels_counts_kept_rows_alone(rehearsal, tmp_path):
    file = tmp_path / "pseudo.csv"
    write_answers(read_labels(rehearsal / "unlabelled_answers.csv", rehearsal), file)
    lines = file.read_text().splitlines()
    lines[1] = lines[1][: -len(",1,,,,,1")] + ",0,too far,,,,0.125"
    lines[2] = lines[2].removesuffix("1") + "0.3"
    file.write_text("\n".join(lines) + "\n")
    found = quality(file, rehearsal)
    # Seven rows are kept: six of weight 1 and one of 0.3.
    assert (found["frames"], found["kept"], found["mean_weight"]) == (8, 7, 0.9)


def test_each_base_has_its_columns():
    frames = [SimpleNamespace(name=name) for name in "ab"]
    measured = Measured(frames, np.array([0, 1]))
    runs = {
        (name, "coco"): {0: {"errors": {"a": [mre, 1.0], "b": [mre, 3.0]}}}
        for name, mre in (("A", 5.0), ("K", 4.0), ("D", 2.0))
    }
    assert measured.each({2: runs["D", "coco"][0], 1: runs["A", "coco"][0]}) == ["5.0, 2.0", "2.0, 2.0"]
    head, _, *rows = paired_table(runs, measured, ["A", "K"])
    assert head == "| start | arm | MRE - A | p | AoP - A | p | MRE - K | p | AoP - K | p |"
    assert [row.split("|")[2].strip()[0] for row in rows] == ["K", "D"]
    assert [cell.split()[0] for cell in rows[1].split("|")[3:10:4]] == ["-3.00", "-2.00"]


def test_the_rehearsal_keeps_its_frames_apart(rehearsal):
    labelled, answers, val = (
        {frame.name for frame in read_labels(rehearsal / f"{name}.csv", rehearsal)}
        for name in ("labelled", "unlabelled_answers", "val")
    )
    assert (len(labelled), len(answers), len(val)) == (8, 8, 4)
    assert len(labelled | answers | val) == 20
