"""``aop-pose benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE


def benchmark(
    data: Annotated[Path, typer.Option("--data", help="Folder with the pictures.", exists=True, file_okay=False)],
    methods: Annotated[str, typer.Option("--methods", help="Pipelines, with commas between.")],
    budget: Annotated[
        str,
        typer.Option("--budget", help="Of each run: wall time of training (90s, 20m, 2h) or epochs (30e)."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each method: seeds 0, 1, ...")] = 3,
    labels: Annotated[str, typer.Option("--labels", help="Label file, as given or below --data.")] = "labels.csv",
    val: Annotated[
        str | None,
        typer.Option("--val", help="Label file of the frames to measure; else a fifth of --labels, by group."),
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="paper, fast, or a YAML file.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for every method, METHOD.key=value for one; may be repeated."),
    ] = None,
    init: Annotated[str, typer.Option("--init", help="auto, scratch, a checkpoint or a run folder.")] = "auto",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, or the number of a CUDA device.")] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the benchmark in --out; methods and seeds may be added.")
    ] = False,
) -> None:
    """Train several methods on the same frames with the same budget, and compare them on the same others.

    Every run is exported and measured as aop-pose predict does. A budget of time becomes the epochs that fit it, by
    a short training of each method; the schedule of learning then ends with the budget. Writes runs/ (one JSON a
    run), artefacts/, benchmark.json, table.md and benchmark.html.

    Example: aop-pose benchmark --data psfhs --labels labelled.csv --val val.csv --methods yolo --budget 20m --out bench
    """
    from aop_pose.benchmark.plan import Budget, Plan
    from aop_pose.benchmark.report import PAGE_FILE, TABLE_FILE
    from aop_pose.benchmark.run import benchmark as run

    plan = Plan(
        data, [name.strip() for name in methods.split(",") if name.strip()], Budget.parse(budget), seeds, labels, val,
        preset, tuple(changes or ()), init, device,
    )  # fmt: skip
    run(plan, out, resume=resume, notice=RESEARCH_USE, say=speech.tell)
    speech.say((out / TABLE_FILE).read_text(encoding="utf-8"))
    speech.say(f"wrote {out / TABLE_FILE} and {out / PAGE_FILE}. {RESEARCH_USE}")
