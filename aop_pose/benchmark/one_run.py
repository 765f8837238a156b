"""One method, one seed: train, export, measure. Each step stands alone, so that it can have a process of its own."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.artefacts import load
from aop_pose.benchmark.budget import PACE_EPOCHS, Pace, pace_of
from aop_pose.benchmark.process import peak_memory_mb
from aop_pose.errors import UsageError
from aop_pose.evaluation.match import Truth, match
from aop_pose.evaluation.metrics import FrameErrors, frame_errors, summarise
from aop_pose.formats.iugc import read_iugc
from aop_pose.io.hashing import sha256_of
from aop_pose.io.outputs import TABLE
from aop_pose.io.table import read_results
from aop_pose.pipelines import pipeline
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RECORD, read_record
from aop_pose.predict import predict_folder
from aop_pose.schemas import AOP

SCALE = 512.0
"""Pixel errors are given as if the longer side of each picture had this many pixels."""
PASSES = 3
"""The median of so many is the time per frame."""


@attrs.frozen
class Task:
    """What a run needs to know; it crosses to another process."""

    method: str
    seed: int
    data: Path
    labels: Path
    check: Path
    tested: Path
    folder: Path
    """Run folder of the training."""
    artefact: Path
    changes: tuple[str, ...]
    preset: str | None
    init: str
    device: str

    @property
    def name(self) -> str:
        return f"{self.method}-{self.seed}"

    def job(self, epochs: int, out: Path, **options: Any) -> Job:
        return Job(
            self.data, out, labels=str(self.labels), init=self.init, preset=self.preset,
            changes=[*self.changes, f"epochs={epochs}"], seed=self.seed, device=self.device, **options,
        )  # fmt: skip


def find_pace(task: Task) -> Pace:
    """Time a short training that is thrown away."""
    with tempfile.TemporaryDirectory(prefix="aop-pose-pace-") as folder:

        def train(tell: Any) -> None:
            job = task.job(PACE_EPOCHS, Path(folder) / "run", on_epoch=lambda row: tell())
            pipeline(task.method).train(job, val=str(task.check))

        return pace_of(train)


def train_and_export(task: Task, epochs: int) -> dict[str, Any]:
    """Train to an artefact; a training that was interrupted goes on, one that cannot go on starts again."""
    methods = pipeline(task.method)
    record = read_record(task.folder) if _is_finished(task.folder) else _train(task, epochs)
    exported = methods.export(task.folder, task.artefact)
    kept = (
        "start", "config", "wall_seconds", "peak_memory_mb", "best", "versions", "git_commit", "machine", "precision",
        "device",
    )  # fmt: skip
    return {
        "training": {key: record[key] for key in kept if key in record},
        "artefact": {
            "model_id": exported.model_id,
            "sha256": sha256_of(task.artefact),
            "bytes": task.artefact.stat().st_size,
        },
    }


def _is_finished(folder: Path) -> bool:
    return (folder / RECORD).is_file() and bool(read_record(folder).get("finished"))


def _train(task: Task, epochs: int) -> dict[str, Any]:
    def run(resume: bool) -> dict[str, Any]:
        job = task.job(epochs, task.folder, resume=resume, say=_say, on_epoch=lambda row: _tell(task, epochs, row))
        return pipeline(task.method).train(job, val=str(task.check))

    if (task.folder / RECORD).is_file():
        try:
            return run(resume=True)
        except UsageError as error:
            _say(f"{task.name}: starts again ({error})")
    shutil.rmtree(task.folder, ignore_errors=True)
    return run(resume=False)


def measure(task: Task) -> dict[str, Any]:
    """Measure the held-out frames with the artefact, as ``aop-pose predict`` does, and compare them with the truth."""
    truth = read_iugc(task.tested, task.data)
    predictor = load(task.artefact, AOP.name, task.device, threads=1)
    seconds = []
    with tempfile.TemporaryDirectory(prefix="aop-pose-measured-") as folder:
        for number in range(PASSES):
            begin = time.monotonic()
            out = Path(folder) / str(number)
            predict_folder(predictor, [frame.path for frame in truth], out, overlay=False)
            seconds.append(time.monotonic() - begin)
        rows = read_results(Path(folder) / "0" / TABLE)
    # A row a file, in their order; named as the label file names them.
    stills = (row for row in rows if row["index"] == "0")
    rows = [{**row, "source": frame.filename} for row, frame in zip(stills, truth, strict=True)]
    matched = match(
        rows, Truth([frame.filename for frame in truth], [frame.keypoints.coords for frame in truth]), AOP,
        np.array([(frame.width, frame.height) for frame in truth], dtype=np.float64),
    )  # fmt: skip
    errors = frame_errors(matched.predicted, matched.truth, matched.sizes, SCALE, AOP)
    return {
        "measuring": {
            "ms_per_frame": 1000 * statistics.median(seconds) / len(truth),
            "peak_memory_mb": peak_memory_mb(),
        },
        "figures": summarise(errors),
        "errors": errors_by_frame(matched.names, errors),
    }


def errors_by_frame(names: tuple[str, ...], errors: FrameErrors) -> dict[str, list[float]]:
    """Name -> mean radial error in pixels of ``SCALE`` and absolute AoP error in degrees.

    A frame that was not measured has erred by the diagonal of its picture and by 180 degrees, so that methods stay
    comparable frame by frame.
    """
    radial = np.where(errors.measured, errors.distances.mean(axis=1), errors.diagonals)
    angle = np.abs(errors.differences["aop"])
    angle = np.where(np.isfinite(angle), angle, 180.0)
    return {name: [round(float(r), 4), round(float(a), 4)] for name, r, a in zip(names, radial, angle, strict=True)}


def _tell(task: Task, epochs: int, row: dict[str, float]) -> None:
    checked = "".join(f"  {name} {value:.3g}" for name, value in row.items() if name.startswith("val/"))
    _say(f"{task.name}: epoch {row['epoch']:.0f} of {epochs}{checked}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
