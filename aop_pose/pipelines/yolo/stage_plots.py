"""The plots of the page of a run of several stages: losses, checked errors, weights of pseudo-labels."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aop_pose.evaluation.svg import Axis, Chart

BINS = 20
_NAMES = {"val/mre_px": ("MRE, px", "Mean radial error"), "val/box_iou": ("mean IoU", "Mean IoU of the boxes")}
_FEW = 30


def curves(rows: Sequence[Mapping[str, str]], record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """SVG and caption of the loss over epochs, and of what chose the epoch where something did."""
    epochs = [float(row["epoch"]) for row in rows]
    loss = [sum(float(value) for name, value in row.items() if name.startswith("train/")) for row in rows]
    drawn = [(_curve("loss", epochs, loss, None), "Training loss, sum of its terms.")]
    deciding = next(name for name in _NAMES if name in rows[0])
    checked = [float(row[deciding]) for row in rows]
    if any(math.isfinite(value) for value in checked):
        short, name = _NAMES[deciding]
        words = f"{name} on the checking frames; dashed: the kept epoch."
        drawn.append((_curve(short, epochs, checked, record["best"]["epoch"]), words))
    return drawn


def _curve(name: str, epochs: Sequence[float], values: Sequence[float], kept: float | None) -> str:
    known = [value for value in values if math.isfinite(value)]
    x = Axis.over("epoch", [0, *epochs], ticks=min(6, len(epochs)))
    chart = Chart(f"{name} over epochs", x, Axis.over(name, [0, *(known if any(known) else [1])]))
    if kept is not None:
        chart.line(kept, chart.y.low, kept, chart.y.high, "dashed")
    chart.curve(epochs, values, "curve")
    if len(epochs) <= _FEW:
        shown = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
        chart.dots([epoch for epoch, _ in shown], [value for _, value in shown], "dots")
    return chart.svg()


def histogram(rows: Sequence[Mapping[str, str]], confidence: str) -> str:
    """Weights of the frames of a table of pseudo-labels, those that were dropped on top of those that were kept."""
    edges = np.linspace(0, 1, BINS + 1)
    weights = {
        keep: np.histogram([float(row["weight"]) for row in rows if row["weight"] and row["keep"] == keep], edges)[0]
        for keep in ("1", "0")
    }
    kept, whole = weights["1"], weights["1"] + weights["0"]
    chart = Chart(
        "Weights of the pseudo-labels", Axis("weight (confidence: " + confidence + ")", 0, 1, 0.2),
        Axis.over("frames", [0, int(whole.max())]),
    )  # fmt: skip
    gap = 0.08 / BINS
    for low, high, below, top in zip(edges[:-1] + gap, edges[1:] - gap, kept, whole, strict=True):
        chart.band(low, 0, high, below, "bar")
        chart.band(low, below, high, top, "bar dropped")
    return chart.svg()


def without_numbers(reason: str) -> str:
    """A reason as a class of reasons: what it says of one frame alone, in brackets or in numbers, is left out."""
    return re.sub(r"\d+(\.\d+)?", "…", re.sub(r" \([^)]*\)", "", reason))
