"""Every kind of frame (``lib.kinds``) by every model: share measured, change against the bare frame, error; resumable.

Rows of single frames are kept in --out/rows.jsonl and never measured twice; --table prints and draws what is there.
Drawing needs matplotlib (the train extra).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.results import Result
from aop_pose.core.schemas import AOP
from aop_pose.draw.marks import GREEN, ORANGE, SKY, VERMILLION, shares
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.geometry import angle_of_progression
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.weights import AnyPredictor
from aop_pose.io.files import replacing
from aop_pose.measuring.ahead import in_order
from aop_pose.measuring.measurer import Measurer
from aop_pose.pipelines import open_weights
from lib.kinds import AS_GIVEN, KINDS, Bare, Kind, Made

ROWS = "rows.jsonl"
BATCH = 8
FAR_OFF = 20.0
"""Degrees; a number that is given and further off than this is a confident wrong one."""
WIDE = 95
"""Percentile of the widths of intervals from which on one is called wide."""
Row = dict[str, Any]


def bare_frames(data: Path, labels: str) -> list[Bare]:
    """Labelled frames with their pixels."""
    return [Bare(one.name, one.gray(), one.points) for one in read_labels(data / labels, data, AOP)]


def row_of(model: str, seed: int, kind: Kind, bare: Bare, made: Made, result: Result) -> Row:
    """The facts kept of one frame; lengths in pixels of its 512-pixel scale, angles in degrees, None = not measured."""
    measured = result.measurements.get("aop_deg") if result.status == "ok" else None
    row: Row = {
        "model": model, "seed": seed, "kind": kind.name, "frame": bare.name, "status": result.status,
        "reason": result.reason, "true": float(angle_of_progression(*made.points)), "aop": None, "low": None,
        "high": None, "region": None if result.region is None else [*result.region.box, result.region.how],
    }  # fmt: skip
    if measured is not None:
        row["aop"] = measured.value
        if measured.interval is not None:
            row["low"], row["high"] = measured.interval
    return row


def read_rows(path: Path) -> list[Row]:
    """The rows that are there; a last line that a kill cut is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def measure_all(
    measurer: Measurer, seed: int, kinds: Sequence[Kind], frames: Sequence[Bare], done: set[tuple[str, int, str, str]]
) -> Iterator[list[Row]]:
    """Rows of all that is not done, a group of frames of one kind at a time."""
    model = measurer.predictor.model_id
    wanted = [(kind, bare) for kind in kinds for bare in frames if (model, seed, kind.name, bare.name) not in done]
    groups = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]

    def several(group: Sequence[tuple[Kind, Bare]]) -> list[Row]:
        made = [kind.of(bare, seed) for kind, bare in group]
        results = measurer.results([Frame(np.ascontiguousarray(one.pixels)) for one in made])
        return [
            row_of(model, seed, kind, bare, one, result)
            for (kind, bare), one, result in zip(group, made, results, strict=True)
        ]

    yield from in_order(several, groups, usable_cores())


def figures(rows: Sequence[Row], model: str, kind: str) -> dict[str, float]:
    """Of the frames that are measured as given: the share measured as this kind, and how the angle differs.

    ``far``: share of all frames of the kind that get a number more than ``FAR_OFF`` degrees off. Angles in degrees.
    """
    bare = {(row["seed"], row["frame"]): row for row in rows if (row["model"], row["kind"]) == (model, AS_GIVEN)}
    these = [row for row in rows if (row["model"], row["kind"]) == (model, kind)]
    base = [(row, bare[key]) for row in these if (key := (row["seed"], row["frame"])) in bare]
    base = [(row, before) for row, before in base if before["aop"] is not None]
    both = [(row, before) for row, before in base if row["aop"] is not None]
    change = np.array([abs(row["aop"] - before["aop"]) for row, before in both])
    errors = _errors(these)
    widths = [(row["high"] - row["low"]) / (before["high"] - before["low"])
              for row, before in both if row["low"] is not None and before["low"] is not None]  # fmt: skip

    def share(count: int, of: int) -> float:
        return count / of if of else math.nan

    return {
        "n": len(base),
        "measured": share(len(both), len(base)),
        "change_median": float(np.median(change)) if len(change) else math.nan,
        "change_p90": float(np.percentile(change, 90)) if len(change) else math.nan,
        "error": float(errors.mean()) if len(errors) else math.nan,
        "far": share(int((errors > FAR_OFF).sum()), len(these)),
        "width": float(np.mean(widths)) if widths else math.nan,
    }


def _errors(rows: Sequence[Row]) -> np.ndarray:
    """Degrees, of those with a number."""
    return np.array([abs(row["aop"] - row["true"]) for row in rows if row["aop"] is not None])


def far_off(rows: Sequence[Row], models: Sequence[str]) -> str:
    """A line a model: how many pictures of all kinds together get a number that is far off, and whether that shows."""
    lines = []
    for model in models:
        these = [row for row in rows if row["model"] == model]
        measured = [row for row in these if row["aop"] is not None]
        far = [row for row in measured if abs(row["aop"] - row["true"]) > FAR_OFF]
        said = f"{model}: {len(far)} of {len(these)} pictures of all kinds are measured and more than {FAR_OFF:g}° off"
        if far:
            frame, most = Counter(row["frame"] for row in far).most_common(1)[0]
            said += f", {most} of them made of {frame}"
        widths = [row["high"] - row["low"] for row in measured if row["low"] is not None]
        if far and widths:
            wide = np.percentile(widths, WIDE)
            shown = sum(row["low"] is not None and row["high"] - row["low"] >= wide for row in far)
            said += f"; {shown} have an interval of at least {wide:.0f}°, as {100 - WIDE} % of all measured pictures"
        lines.append(said)
    return "\n".join(lines)


def table(rows: Sequence[Row], models: Sequence[str]) -> str:
    """Markdown: a row a kind and model, in the order of ``KINDS``."""
    lines = [
        "| kind | wanted | model | n | measured | change, median | P90 | AoP error | over 20° off | width |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    known = {row["kind"] for row in rows}
    for name, kind in KINDS.items():
        for model in models if name in known else ():
            found = figures(rows, model, name)
            kept = " (kept for testing)" if kind.kept else ""
            numbers = [
                _said(found["measured"], ".1%"),
                *(_said(found[key], ".1f", "°") for key in ("change_median", "change_p90", "error")),
                _said(found["far"], ".1%"),
                _said(found["width"], ".2f"),
            ]
            lines.append(f"| {name}{kept} | {kind.wanted} | {model} | {found['n']} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _said(value: float, form: str, unit: str = "") -> str:
    """A number as it stands in the table; a line where there is none."""
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def draw(rows: Sequence[Row], models: Sequence[str], path: Path) -> None:
    """Share measured and error, kind by kind, a bar a model."""
    from matplotlib.figure import Figure

    kinds = [name for name in KINDS if any(row["kind"] == name for row in rows)]
    figure = Figure(figsize=(10, 1.2 + 0.3 * len(kinds)), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis in (left, right):
        axis.set_prop_cycle(color=[shares(colour) for colour in (SKY, VERMILLION, GREEN, ORANGE)])
    places, thick = np.arange(len(kinds)), 0.8 / max(len(models), 1)
    for number, model in enumerate(models):
        found = [figures(rows, model, kind) for kind in kinds]
        at = places + (number - (len(models) - 1) / 2) * thick
        left.barh(at, [100 * one["measured"] for one in found], thick, label=model)
        right.barh(at, [one["error"] for one in found], thick)
    left.set_yticks(places, [f"{name} *" if KINDS[name].kept else name for name in kinds])
    left.margins(y=0.01)
    left.invert_yaxis()
    left.set_xlabel("measured, % of the frames measured as given")
    right.set_xlabel("mean error of the AoP, degrees")
    left.set_xlim(0, 100)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=100)


def chosen(names: Sequence[str] | None) -> list[Kind]:
    """The kinds of these names, all where none is given; always the one that others are compared with."""
    unknown = sorted(set(names or ()) - set(KINDS))
    if unknown:
        raise UsageError(f"--kinds: expected some of {', '.join(KINDS)}; found {', '.join(unknown)}")
    return [kind for name, kind in KINDS.items() if names is None or name in (*names, AS_GIVEN)]


def run(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    path, kinds = given.out / ROWS, chosen(given.kinds)
    rows = read_rows(path)
    models = list(dict.fromkeys(row["model"] for row in rows))
    if not given.table:
        frames = bare_frames(given.data, given.labels)[: given.count]
        predictors: list[AnyPredictor] = [open_weights(name, "aop", "cpu", threads=1) for name in given.weights]
        models = [predictor.model_id for predictor in predictors]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        done = {(row["model"], row["seed"], row["kind"], row["frame"]) for row in rows}
        with open(path, "a", encoding="utf-8") as stream:
            for predictor in predictors:
                for group in measure_all(Measurer(predictor), given.seed, kinds, frames, done):
                    stream.write("".join(json.dumps(row) + "\n" for row in group))
                    stream.flush()
                    rows += group
    shown = [row for row in rows if row["kind"] in {kind.name for kind in kinds}]
    text = f"{table(shown, models)}\n\n{far_off(shown, models)}"
    with replacing(given.out / "table.md") as part:
        part.write_text(text + "\n", encoding="utf-8")
    draw(shown, models, given.out / "robustness.png")
    print(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/robustness.py --data psfhs --weights aop-fast aop-best --out robustness/",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the label file and its pictures")
    parser.add_argument("--labels", default="val.csv", metavar="FILE", help="below DIR; frames that trained nothing")
    parser.add_argument("--weights", nargs="+", default=["aop-fast"], metavar="W", help="names, files or runs")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="some of the kinds (default: all)")
    parser.add_argument("--count", type=int, metavar="N", help="the first N frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="measure nothing: print and draw what is in --out")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="rows.jsonl, table.md, robustness.png")
    given = parser.parse_args()
    started = time.monotonic()
    try:
        if given.data is None and not given.table:
            raise UsageError("--data: expected a folder with a label file, or --table")
        run(given)
    except AopPoseError as error:
        print(f"robustness: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"robustness: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
