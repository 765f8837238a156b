"""Progress bars: lines of epochs in words, and rates that an earlier run does not change."""

import pytest

from aop_pose.cli.terminal import speech
from aop_pose.cli.terminal.progress import EpochProgress, FrameProgress
from aop_pose.pipelines.job import Step
from aop_pose.pipelines.run import in_words


@pytest.fixture(autouse=True)
def plain():
    speech.reset()


def epoch(number, **checked):
    return {"epoch": number, "seconds": 2.0, "train/loss": 1.5} | {f"val/{k}": v for k, v in checked.items()}


def test_an_epoch_is_said_in_words_with_units_and_the_best_is_marked(capsys):
    with EpochProgress() as bar:
        bar.epoch(epoch(1, mre_px=30.04, aop_mae_deg=12.0, missing=3.0, loss=2.5))
        bar.epoch(epoch(2, mre_px=31.0, aop_mae_deg=9.0, missing=0.0, loss=2.0))
        bar.epoch(epoch(3, mre_px=30.04, aop_mae_deg=9.0, missing=0.0, loss=2.0))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "epoch 1  loss 1.500  MRE 30 px  AoP off by 12°  3 not found  loss there 2.5  2 s  best so far"
    assert "best" not in second
    # Of equal epochs the last is kept.
    assert third.endswith("best so far")


def test_a_greater_overlap_is_the_better_one(capsys):
    with EpochProgress() as bar:
        bar.epoch(epoch(1, box_iou=0.5))
        bar.epoch(epoch(2, box_iou=0.4))
        bar.epoch(epoch(3, box_iou=0.6))
    assert ["best so far" in line for line in capsys.readouterr().err.splitlines()] == [True, False, True]


def test_a_network_that_finds_nothing_is_said_to_find_nothing():
    assert in_words({"val/mre_px": 362.0, "val/aop_mae_deg": 180.0, "val/missing": 30.0}) == ["finds nothing yet"]
    assert in_words({"val/error_mm": 4.25}) == ["error 4.25 mm"]


def test_every_number_of_an_epoch_has_words():
    boxes = {"val/box_iou": 0.5, "val/box_iou_ps": 0.25, "val/box_iou_fh": 0.75}
    assert in_words(boxes) == ["IoU 0.5", "of PS 0.25", "of FH 0.75"]
    moco = {"val/loss": 2.5, "val/spread": 0.9, "val/retrieval": 0.125}
    assert in_words(moco) == ["loss there 2.5", "spread 0.9", "views found again 12.5%"]
    assert in_words({"val/exchanged": 0.04}) == ["left and right exchanged 4.0%"]


def test_files_of_an_earlier_run_are_no_speed_of_this_one():
    with FrameProgress(shown=True) as bar:
        bar.start(100)
        bar.row(None, 91)
        task = bar._bar.bar.tasks[0]
        assert (task.completed, task.total, bar.rows) == (91, 100, 1)
        # rich's own speed is made of the advances after the bar began: of one file, not of 91.
        assert sum(sample.completed for sample in task._progress) == 1


def test_the_bar_of_a_training_begins_anew_with_each_work():
    with EpochProgress() as bar:
        assert (bar.bar.tasks[0].description, bar.bar.tasks[0].total) == ("loading", None)
        bar.frames(50, 60)
        assert (bar.bar.tasks[0].completed, bar.bar.tasks[0].total) == (50, 60)
        bar.frames(1, 90)
        assert [(task.completed, task.total) for task in bar.bar.tasks] == [(1, 90)]


def test_in_a_narrow_terminal_numbers_stand_where_the_bar_has_no_room(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    with FrameProgress(shown=True) as bar:
        bar.start(1000)
        bar.row(None, 1)
        bar._bar.bar.update(bar.task, completed=900, rate="13.2 frames/s")
        drawn = "".join(segment.text for segment in bar._bar.console.render(bar._bar.bar.get_renderable()))
    assert "900/1000 13.2 frames/s" in drawn
    assert "…" not in drawn


def test_after_the_last_batch_the_bar_says_that_it_is_not_over():
    with EpochProgress() as bar:
        bar.batch(Step(epoch=2, epochs=2, batch=3, batches=4, loss=0.5))
        assert (bar.bar.tasks[0].description, bar.bar.tasks[0].total) == ("epoch 2 of 2", 8)
        bar.batch(Step(epoch=2, epochs=2, batch=4, batches=4, loss=0.5))
        assert [(task.description, task.total) for task in bar.bar.tasks] == [("finishing", None)]
