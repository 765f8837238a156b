"""All runs of a plan, one after the other; each finished one is a file, so that an interrupted plan goes on."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import attrs
import numpy as np

from aop_pose.benchmark.compare import MAIN, Benchmark, compare
from aop_pose.benchmark.plan import (
    PACE_EPOCHS,
    SCALE,
    SCHEMA,
    Pace,
    Plan,
    Splits,
    make_splits,
    open_folder,
    pace_of,
    read_tested,
)
from aop_pose.benchmark.report import write_report
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.comparison import Comparison, evaluate
from aop_pose.evaluation.figures import promised
from aop_pose.formats.registry import read_labels
from aop_pose.inference.weights import load
from aop_pose.io.files import replacing
from aop_pose.io.folders import TABLE
from aop_pose.io.table import read_results
from aop_pose.measuring.folder import predict
from aop_pose.pipelines import pipeline
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RECORD, in_words, read_record
from aop_pose.provenance import peak_memory_mb, sha256_of

T = TypeVar("T")


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """The function's value, computed by a fresh interpreter; both it and its arguments are pickled.

    An ``AopPoseError`` comes out as it was raised; AopPoseError too where the process died. Whatever ends the wait
    (Ctrl-C, a killed parent) ends the process.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        raise AopPoseError(f"its process ended with code {process.exitcode} before it was done") from None
    finally:
        process.terminate()
    if isinstance(outcome, AopPoseError):
        raise outcome
    return outcome


def _work(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send(function(*arguments))
    except AopPoseError as error:
        sender.send(error)
    except KeyboardInterrupt:
        # The parent was interrupted too, and says so.
        sys.exit(130)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this process was started by one
    wait([parent.sentinel])
    os._exit(1)


PASSES = 3
"""The median of so many is the time per frame."""


@attrs.frozen
class Task:
    """The task of one run; it crosses to another process."""

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
    truth = read_labels(task.tested, task.data)
    predictor = load(task.artefact, SCHEMA.name, task.device, threads=1)
    seconds = []
    with tempfile.TemporaryDirectory(prefix="aop-pose-measured-") as folder:
        for number in range(PASSES):
            begin = time.monotonic()
            out = Path(folder) / str(number)
            predict(predictor, [frame.path for frame in truth], out, overlay=False)
            seconds.append(time.monotonic() - begin)
        rows = read_results(Path(folder) / "0" / TABLE)
    # A row a file, in their order; named as the label file names them.
    stills = (row for row in rows if row["index"] == "0")
    named = [
        {**row, "source": frame.name, "width": str(frame.width), "height": str(frame.height)}
        for row, frame in zip(stills, truth, strict=True)
    ]
    compared = evaluate(named, task.tested, scale=SCALE)
    return {
        "measuring": {
            "ms_per_frame": 1000 * statistics.median(seconds) / len(truth),
            "peak_memory_mb": peak_memory_mb(),
        },
        "figures": promised(compared.errors),
        "errors": errors_by_frame(compared),
    }


def errors_by_frame(comparison: Comparison) -> dict[str, list[float]]:
    """Name -> mean radial error in pixels of ``SCALE``, and absolute error of ``MAIN`` in its unit.

    A frame that was not measured has erred by what a missing one counts as (the diagonal of its picture, 180 degrees),
    so that methods stay comparable frame by frame.
    """
    errors = comparison.errors
    radial = np.where(errors.measured, errors.distances.mean(axis=1), errors.diagonals)
    size = np.abs(errors.differences[MAIN.key])
    size = np.where(np.isfinite(size), size, errors.losses[MAIN.key])
    both = zip(comparison.matched.names, radial, size, strict=True)
    return {name: [round(float(r), 4), round(float(s), 4)] for name, r, s in both}


def _tell(task: Task, epochs: int, row: dict[str, float]) -> None:
    checked = in_words({name: value for name, value in row.items() if name.startswith("val/")})
    _say(", ".join([f"{task.name}: epoch {row['epoch']:.0f} of {epochs}", *checked]))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


RUNS, PACES, TRAININGS, ARTEFACTS = "runs", "paces", "trainings", "artefacts"

Work = Callable[..., Any]
"""Calls a function with its arguments, here or elsewhere."""


def benchmark(
    plan: Plan,
    out: Path,
    *,
    resume: bool = False,
    notice: str = "",
    say: Callable[[str], None] = lambda line: None,
    work: Work = in_own_process,
) -> Benchmark:
    """Train, export and measure every method with every seed, and compare them in ``out``.

    Writes ``runs/METHOD-SEED.json`` as each is finished, then ``benchmark.json``, ``table.md`` and
    ``benchmark.html``. Seeds are the outer loop, so that what an interruption leaves is paired.

    Raises:
        UsageError: methods, data, budget, settings or ``out`` do not fit.
        AopPoseError: a run failed; the others were done, and the comparison of those was written.
    """
    for method in plan.methods:
        # Before the first training: one that would be refused after hours of others is refused now.
        job = Job(plan.data, out, preset=plan.preset, changes=[*plan.changes_of(method), f"epochs={PACE_EPOCHS}"])
        try:
            pipeline(method).settings("train", job)
        except UsageError as error:
            raise UsageError(f"{method}: {error}") from None
    open_folder(plan, out, resume)
    try:
        return _carry_out(plan, out, notice, say, work)
    except UsageError:
        # The folder was new or empty, and wrong usage writes nothing.
        if not resume and not (out / RUNS).exists():
            shutil.rmtree(out)
        raise


def _carry_out(plan: Plan, out: Path, notice: str, say: Callable[[str], None], work: Work) -> Benchmark:
    splits = make_splits(plan, out)
    tested = read_tested(plan, splits)
    paces = {method: _pace(plan, out, splits, method, say, work) for method in plan.methods}
    epochs = {method: _epochs(plan, pace) for method, pace in paces.items()}
    runs, failed = [], []
    for seed in range(plan.seeds):
        for method in plan.methods:
            task = _task(plan, out, splits, method, seed)
            file = out / RUNS / f"{task.name}.json"
            if file.is_file():
                say(f"{task.name}: done before")
                runs.append(json.loads(file.read_text(encoding="utf-8")))
                continue
            say(f"{task.name}: {epochs[method]} epoch{'s' if epochs[method] > 1 else ''}")
            try:
                record = _run(task, epochs[method], paces[method], plan, work)
            except UsageError:
                raise
            except AopPoseError as error:
                say(f"{task.name}: failed: {error}")
                failed.append(f"{task.name} ({error})")
                continue
            _write(file, record)
            runs.append(record)
    if not runs:
        raise AopPoseError(f"no run was finished: {'; '.join(failed)}")
    done = compare(plan, runs, [frame.name for frame in tested.frames], tested.groups, tested.notes)
    write_report(out, done, notice)
    if failed:
        raise AopPoseError(f"{len(failed)} runs failed: {'; '.join(failed)}; --resume tries them again")
    return done


def _run(task: Task, epochs: int, pace: Pace | None, plan: Plan, work: Work) -> dict[str, Any]:
    trained = work(train_and_export, task, epochs)
    measured = work(measure, task)
    return {
        "method": task.method,
        "seed": task.seed,
        "budget": str(plan.budget),
        "epochs": epochs,
        "pace": None if pace is None else attrs.asdict(pace),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **trained,
        **measured,
    }


def _pace(plan: Plan, out: Path, splits: Splits, method: str, say: Callable[[str], None], work: Work) -> Pace | None:
    """Measured once a method, so that all its seeds train for the same number of epochs."""
    if plan.budget.seconds is None:
        return None
    file = out / PACES / f"{method}.json"
    if file.is_file():
        return Pace(**json.loads(file.read_text(encoding="utf-8")))
    say(f"{method}: finding its pace")
    pace: Pace = work(find_pace, _task(plan, out, splits, method, seed=0))
    _write(file, attrs.asdict(pace))
    say(f"{method}: {pace.epoch:.1f} s an epoch, {pace.fixed:.1f} s beside: {_epochs(plan, pace)} epochs in the budget")
    return pace


def _epochs(plan: Plan, pace: Pace | None) -> int:
    return plan.budget.amount if pace is None else pace.epochs_within(float(plan.budget.seconds or 0))


def _task(plan: Plan, out: Path, splits: Splits, method: str, seed: int) -> Task:
    name = f"{method}-{seed}"
    return Task(
        method=method,
        seed=seed,
        data=plan.data,
        labels=splits.train(seed),
        check=splits.check(seed),
        tested=splits.test,
        folder=out / TRAININGS / name,
        artefact=out / ARTEFACTS / f"{name}.onnx",
        changes=tuple(plan.changes_of(method)),
        preset=plan.preset,
        init=plan.init,
        device=plan.device,
    )


def _write(file: Path, record: dict[str, Any]) -> None:
    with replacing(file) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
