"""A run to review: phantoms, and rows as predict would have written them, without a model."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.measure import measure
from aop_pose.core.results import Measurement, Result
from aop_pose.core.schemas import AOP
from aop_pose.formats.registry import read_labels
from aop_pose.io.table import ResultsWriter

PHANTOMS = Path(__file__).resolve().parents[2] / "datasets" / "phantom"


def row_of(label, place):
    """Rows of growing doubt; the third is withheld, the fourth could not be read."""
    name = label.path.name
    if place == 3:
        return Result(name, 0, "unreadable", "damaged", model="test@1")
    points = Keypoints(AOP, label.points + place, np.ones(3))
    at = {"width": label.width, "height": label.height, "keypoints": points, "score": 0.9, "model": "test@1"}
    if place == 2:
        return Result(name, 0, "abstained", "withheld: blurred", **at)
    found = measure(points).measurements["aop_deg"]
    half = 5.0 + place
    interval = (found.value - half, found.value + half)
    return Result(name, 0, "ok", measurements={"aop_deg": Measurement("aop_deg", found.value, "deg", interval)}, **at)


@pytest.fixture
def a_run(tmp_path):
    """(results, frames) of six phantoms."""
    labels = read_labels(PHANTOMS / "labels.csv", PHANTOMS)[:6]
    frames, results = tmp_path / "frames", tmp_path / "results"
    frames.mkdir()
    with ResultsWriter(results / "results.csv", AOP, resume=False) as writer:
        for place, label in enumerate(labels):
            shutil.copy(label.path, frames)
            writer.write(row_of(label, place))
    (frames / labels[3].path.name).write_bytes(b"no picture")
    return results, frames


@pytest.fixture(scope="session")
def random_points():
    """Places inside a picture of 256 x 256, (cases, 4, 2): anywhere, and near the axes of a head."""
    random = np.random.default_rng(0)
    axes = np.array([[28, 128], [228, 128], [128, 48], [128, 208]])
    return np.concatenate([random.uniform(0, 255, (100, 4, 2)), axes + random.uniform(-28, 27, (100, 4, 2))])
