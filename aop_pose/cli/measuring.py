"""What ``predict`` and ``demo`` share: weights in, folder out, a bar while it runs and a line when it is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    refine: str | None = None,
    overwrite: bool = False,
) -> int:
    """Measure into ``out``; returns the exit code: 3 where some file was unreadable, else 0.

    ``refine``: the points that ``open_refining`` trusts, None = no refinement.
    """
    from aop_pose.cli.facts import run_facts
    from aop_pose.cli.progress import FrameProgress
    from aop_pose.pipelines import open_refining, open_weights
    from aop_pose.predict import predict_folder
    from aop_pose.predict_volumes import predict_volumes
    from aop_pose.runtime_volume import VolumePredictor
    from aop_pose.schemas import SCHEMAS

    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device: expected cpu or cuda, found {device!r}")
    if schema is not None and schema not in SCHEMAS:
        raise UsageError(f"--schema: expected one of {', '.join(SCHEMAS)}, found {schema!r}")
    # Groups of frames are measured side by side, each by one thread: faster than one group by all of them.
    predictor = (
        open_refining(weights, schema, device, refine)
        if refine is not None
        else open_weights(weights, schema, device, threads=1)
    )
    of_volumes = isinstance(predictor, VolumePredictor)
    with FrameProgress() as progress:
        common: dict[str, Any] = {
            "overlay": overlay, "overwrite": overwrite, "facts": run_facts(predictor, device),
            "on_start": progress.start, "on_row": progress.row,
        }  # fmt: skip
        if isinstance(predictor, VolumePredictor):
            summary = predict_volumes(predictor, sources, out, spacing=_spacing(pixel_size), **common)
        else:
            summary = predict_folder(
                predictor, sources, out, pixel_size=pixel_size, batch=batch, coverage=coverage, gate=gate, **common
            )
    counted = ", ".join(f"{summary.counts.get(status, 0)} {status}" for status in ("ok", "abstained", "unreadable"))
    passed = f"; {summary.ignored} other files passed over" if summary.ignored else ""
    typer.echo(f"{out}: {summary.rows} {'volumes' if of_volumes else 'frames'} ({counted}){passed}. {RESEARCH_USE}")
    return 3 if summary.counts.get("unreadable") else 0


def _spacing(pixel_size: str | None) -> float | None:
    """Millimetres from voxel to voxel, for files that state none."""
    if pixel_size is None:
        return None
    try:
        spacing = float(pixel_size)
    except ValueError:
        spacing = math.nan
    if not (math.isfinite(spacing) and spacing > 0):
        raise UsageError(f"--pixel-size: expected millimetres per voxel, a positive number, found {pixel_size!r}")
    return spacing
