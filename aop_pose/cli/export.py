"""``aop-pose export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="Run folder or checkpoint.", exists=True)],
    out: Annotated[Path, typer.Option("--out", help="The .onnx file to write.")],
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Score below which a frame shows no anatomy; else the run's."),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(
            "--decode", help="yolo: best or weighted; others: argmax, soft-argmax or subpixel; else the run's."
        ),
    ] = None,
) -> None:
    """Write a trained network as one ONNX file that carries its whole contract.

    Example: aop-pose export runs/first --out first.onnx
    """
    from aop_pose.errors import UsageError
    from aop_pose.pipelines import method_of, pipeline
    from aop_pose.runtime import DECODE_RULES

    if out.suffix != ".onnx":
        raise UsageError(f"--out: expected a name that ends in .onnx, found {out}")
    known = [rule for rules in DECODE_RULES.values() for rule in rules]
    if decode is not None and decode not in known:
        raise UsageError(f"--decode: expected one of {', '.join(known)}, found {decode!r}")
    exported = pipeline(method_of(run)).export(run, out, threshold, decode)
    typer.echo(f"{out}: {exported.model_id}, {out.stat().st_size / 1e6:.1f} MB, schema {exported.schema.name}")
