"""What ``predict`` and ``demo`` share: weights in, folder out, a bar while it runs and a line when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from aop_pose.cli.common import RESEARCH_USE
from aop_pose.errors import UsageError


def measure_to(
    sources: Sequence[str | Path],
    out: Path,
    *,
    weights: str | None = None,
    schema: str | None = None,
    pixel_size: str | None = None,
    overlay: bool = True,
    batch: int = 8,
    device: str = "cpu",
    coverage: float = 0.9,
    gate: bool = True,
    overwrite: bool = False,
) -> int:
    """Measure into ``out``; returns the exit code: 3 where some file was unreadable, else 0."""
    from aop_pose.cli.facts import run_facts
    from aop_pose.cli.progress import FrameProgress
    from aop_pose.pipelines import load_weights
    from aop_pose.predict import predict_folder
    from aop_pose.schemas import SCHEMAS

    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device: expected cpu or cuda, found {device!r}")
    if schema is not None and schema not in SCHEMAS:
        raise UsageError(f"--schema: expected one of {', '.join(SCHEMAS)}, found {schema!r}")
    # Groups of frames are measured side by side, each by one thread: faster than one group by all of them.
    predictor = load_weights(weights, schema, device, threads=1)
    with FrameProgress() as progress:
        summary = predict_folder(
            predictor,
            sources,
            out,
            pixel_size=pixel_size,
            overlay=overlay,
            batch=batch,
            coverage=coverage,
            gate=gate,
            overwrite=overwrite,
            facts=run_facts(predictor, device),
            on_start=progress.start,
            on_row=progress.row,
        )
    counted = ", ".join(f"{summary.counts.get(status, 0)} {status}" for status in ("ok", "abstained", "unreadable"))
    passed = f"; {summary.ignored} other files passed over" if summary.ignored else ""
    typer.echo(f"{out}: {summary.rows} frames ({counted}){passed}. {RESEARCH_USE}")
    return 3 if summary.counts.get("unreadable") else 0
