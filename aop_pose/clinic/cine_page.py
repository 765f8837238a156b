"""A cine to look at: the trace as a picture, a page, and a video of the overlays that agrees with the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aop_pose.core.results import as_text
from aop_pose.errors import RESEARCH_USE, AopPoseError
from aop_pose.evaluation.report.html import Axis, Chart, document, escape, table
from aop_pose.io.files import replacing
from aop_pose.io.images import read_header

if TYPE_CHECKING:
    from aop_pose.clinic.cine import Cine

_GROUND = (24, 24, 24)
_RATES = (0.2, 120.0)
# "matroska" as the kind of file, and "webm" with as many bytes: VP8 in Matroska is what WebM is.
_MATROSKA, _WEBM = b"\x42\x82\x88matroska", b"\x42\x82\x84webm\xec\x82\x00\x00"


def trace_chart(cine: Cine) -> str:
    """The angle over time as inline SVG: the interval as bars, what was not measured as ticks on the floor."""
    trace = cine.trace
    known = trace.known
    ends = [*trace.aop[known], *trace.low[known], *trace.high[known]]
    chart = Chart(f"AoP of {trace.source}", Axis.over("seconds", trace.time), Axis.over("AoP, °", ends or [0, 180]))
    push, low, high = cine.push, chart.y.low, chart.y.high
    if push.count:
        chart.band(push.start_s, low, push.end_s, high, "band")
        chart.line(chart.x.low, push.maximum_deg, chart.x.high, push.maximum_deg, "dashed")
        chart.line(chart.x.low, push.rest_deg, chart.x.high, push.rest_deg, "dashed")
    for time, down, up in zip(trace.time[known], trace.low[known], trace.high[known], strict=True):
        if math.isfinite(down) and math.isfinite(up):
            chart.line(time, down, time, up, "grid")
    chart.curve(trace.time, trace.aop, "curve")
    # A value between two missing ones is no line, but a dot.
    chart.dots(trace.time[known], trace.aop[known], "dots")
    if cine.smooth is not None:
        chart.curve(trace.time, cine.smooth, "dashed")
    step = (high - low) / 60
    for time in trace.time[~known]:
        chart.line(time, low, time, low + step, "solid")
    if cine.best is not None:
        chart.words(trace.time[cine.best.at], trace.aop[cine.best.at], "best", "note mid", (0, -9))
    return chart.svg()


def write_svg(path: Path, cine: Cine) -> None:
    """The trace as a file of its own."""
    style = files("aop_pose.evaluation.report").joinpath("page.css").read_text(encoding="utf-8")
    svg = trace_chart(cine).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, end, rest = svg.partition(">")
    with replacing(path) as part:
        part.write_text(f"{head}{end}<style>{style}</style>{rest}\n", encoding="utf-8")


def write_page(path: Path, cine: Cine, video: Path | None) -> None:
    """The trace, its numbers and the video on one page; ``video`` lies beside it."""
    trace, push, facts = cine.trace, cine.push, cine.facts
    missing = len(trace.index) - int(trace.known.sum())
    tiles = [
        ("at rest", _degrees(push.rest_deg)),
        ("maximum", _degrees(push.maximum_deg)),
        ("difference", _degrees(push.difference_deg)),
        ("push", f"{push.duration_s:.1f} s" if push.count else "none seen"),
        ("frames", f"{len(trace.index)}<small>{missing} not measured</small>"),
    ]
    shown = "".join(f'<div class="tile"><span>{name}</span><strong>{value}</strong></div>' for name, value in tiles)
    best = "No frame was measured."
    if cine.best is not None:
        at = cine.best.at
        best = (
            f"Best frame: number {trace.index[at]} at {trace.time[at]:.2f} s, {_degrees(float(trace.aop[at]))}: "
            f"{escape(cine.best.reason)}."
        )
    parts = [
        f"<header><h1>AoP over a cine</h1><p><b>{escape(trace.source)}</b></p>"
        f'<p class="notice">{escape(RESEARCH_USE)}</p></header>',
        f'<section class="tiles">{shown}</section><p>{best}</p>',
        f"<figure>{trace_chart(cine)}<figcaption>{escape(_caption(cine))}</figcaption></figure>",
    ]
    if cine.smooth is not None:
        parts.append(
            table(
                "Smoothed and not",
                ["", "as measured", "smoothed"],
                [
                    [name, as_text(facts[one]), as_text(facts[f"smoothed_{one}"])]
                    for name, one in (
                        ("jitter from frame to frame, °", "jitter_deg"),
                        ("maximum, °", "maximum_deg"),
                        ("difference, °", "difference_deg"),
                    )
                ],
            )
        )
    if video is not None:
        name = escape(video.name)
        parts.append(f'<figure><video src="{name}" controls muted style="max-width:100%"></video></figure>')
    with replacing(path) as part:
        part.write_text(document("AoP over a cine", parts), encoding="utf-8")


def _degrees(value: float) -> str:
    return f"{value:.1f}°" if math.isfinite(value) else "unknown"


def _caption(cine: Cine) -> str:
    words = ["Gray bars: the stated interval.", "Red ticks on the floor: frames without a measurement."]
    if cine.push.count:
        words.append("Shaded: the push; dashed: rest and maximum.")
    if cine.smooth is not None:
        words.append("Dashed curve: smoothed; every number above is of the angles as measured.")
    return " ".join(words)


def write_video(path: Path, pictures: Sequence[Path | None], time: np.ndarray) -> bool:
    """The overlays one after the other as WebM, at the pace of their times; False where there is none of them.

    One picture at a time is in memory. A picture smaller than the largest lies in the top left corner.
    """
    there = [picture for picture in pictures if picture is not None]
    if not there:
        return False
    headers = [read_header(picture) for picture in there]
    # The coder halves both sides.
    width, height = (
        max(sides) + max(sides) % 2 for sides in zip(*((one.width, one.height) for one in headers), strict=True)
    )
    steps = np.diff(time)
    steps = steps[np.isfinite(steps) & (steps > 0)]
    rate = float(np.clip(1 / np.median(steps), *_RATES)) if len(steps) else 1.0
    with replacing(path) as part:
        coded = part.with_suffix(".mkv")
        try:
            writer = cv2.VideoWriter(str(coded), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"VP80"), rate, (width, height))
            if not writer.isOpened():
                raise AopPoseError(
                    "the overlay video cannot be written: this OpenCV has no VP8; --no-overlay leaves it out"
                )
            for picture in there:
                canvas = np.full((height, width, 3), _GROUND, np.uint8)
                drawn = np.asarray(cv2.imread(str(picture)))
                canvas[: drawn.shape[0], : drawn.shape[1]] = drawn
                writer.write(canvas)
            writer.release()
            with open(coded, "r+b") as stream:
                at = stream.read(64).find(_MATROSKA)
                stream.seek(max(at, 0))
                stream.write(_WEBM if at >= 0 else b"")
            coded.replace(part)
        finally:
            coded.unlink(missing_ok=True)
    return True
