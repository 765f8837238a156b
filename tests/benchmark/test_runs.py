"""One run through the real pipeline: train, export, measure as a user does."""

import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

from aop_pose.benchmark.run import Task, find_pace, measure, train_and_export  # noqa: E402
from aop_pose.formats.registry import read_labels  # noqa: E402
from aop_pose.geometry import angle_of_progression  # noqa: E402
from aop_pose.inference.weights import load  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.phantom.write import write_phantoms  # noqa: E402
from tests.pipelines.conftest import TINY  # noqa: E402


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    data = folder / "set"
    write_phantoms(data, count=10, seed=5, size=96)
    header, *rows = (data / "labels.csv").read_text().splitlines(keepends=True)
    for name, part in {"train": rows[:5], "check": rows[5:7], "test": rows[7:]}.items():
        (data / f"{name}.csv").write_text("".join([header, *part]))
    return Task(
        "yolo", 0, data, data / "train.csv", data / "check.csv", data / "test.csv", folder / "training",
        folder / "artefact.onnx", tuple(TINY), None, "scratch", "cpu",
    )  # fmt: skip


def test_a_run_from_frames_to_errors(task):
    made = train_and_export(task, 1)
    assert made["training"]["config"]["epochs"] == 1
    assert made["training"]["peak_memory_mb"] > 100
    assert made["artefact"]["bytes"] == task.artefact.stat().st_size
    measured = measure(task)
    assert measured["figures"]["scale"] == 512
    assert measured["measuring"]["ms_per_frame"] > 0
    # Each error against the definition, from the artefact's own answer.
    predictor = load(task.artefact)
    for frame in read_labels(task.tested, task.data):
        points = predictor.find([read_frame(frame.path).pixels])[0].keypoints
        truth = frame.keypoints.coords
        expected = [512 / 96 * np.hypot(96, 96), 180.0]
        if points is not None and not points.outside(96, 96):
            expected = [
                512 / 96 * np.linalg.norm(points.coords - truth, axis=1).mean(),
                abs(float(angle_of_progression(*points.coords) - angle_of_progression(*truth))),
            ]
        assert measured["errors"][frame.name] == pytest.approx(expected, abs=0.01)


def test_a_finished_training_is_not_repeated(task):
    before = (task.folder / "run.json").stat().st_mtime_ns
    train_and_export(task, 1)
    assert (task.folder / "run.json").stat().st_mtime_ns == before


def test_the_pace_of_a_real_training(task):
    pace = find_pace(task)
    assert pace.epoch > 0
    assert pace.fixed >= 0
