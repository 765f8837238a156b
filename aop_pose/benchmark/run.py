"""All runs of a plan, one after the other; each finished one is a file, so that an interrupted plan goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs

from aop_pose.benchmark.budget import Pace
from aop_pose.benchmark.compare import Comparison, compare
from aop_pose.benchmark.one_run import Task, find_pace, measure, train_and_export
from aop_pose.benchmark.plan import Plan, Splits, make_splits, open_folder, read_tested
from aop_pose.benchmark.process import in_own_process
from aop_pose.benchmark.report import write_report
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.atomic import replacing
from aop_pose.pipelines import pipeline

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
) -> Comparison:
    """Train, export and measure every method with every seed, and compare them in ``out``.

    Writes ``runs/METHOD-SEED.json`` as each is finished, then ``benchmark.json``, ``table.md`` and
    ``benchmark.html``. Seeds are the outer loop, so that what an interruption leaves is paired.

    Raises:
        UsageError: methods, data, budget, settings or ``out`` do not fit.
        AopPoseError: a run failed; the others were done, and the comparison of those was written.
    """
    for method in plan.methods:
        pipeline(method)
    open_folder(plan, out, resume)
    try:
        return _carry_out(plan, out, notice, say, work)
    except UsageError:
        # The folder was new or empty, and wrong usage writes nothing.
        if not resume and not (out / RUNS).exists():
            shutil.rmtree(out)
        raise


def _carry_out(plan: Plan, out: Path, notice: str, say: Callable[[str], None], work: Work) -> Comparison:
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
    comparison = compare(plan, runs, [frame.filename for frame in tested.frames], tested.groups, tested.notes)
    write_report(out, comparison, notice)
    if failed:
        raise AopPoseError(f"{len(failed)} runs failed: {'; '.join(failed)}; --resume tries them again")
    return comparison


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
