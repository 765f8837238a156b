"""The angle over a cine: its trace, the best frame, rest against push. What was not measured is not filled in."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import attrs
import numpy as np

from aop_pose.clinic.cine_page import write_page, write_svg, write_video
from aop_pose.draw.frame import overlay_name
from aop_pose.errors import UsageError
from aop_pose.io.files import replacing
from aop_pose.io.folders import CINE, OVERLAYS, TABLE
from aop_pose.io.table import as_csv, iter_results

HELD = 3
"""Measured frames in a row that must agree before a value counts as reached: one frame alone may be a mistake."""
PUSH_DEG = 10.0
"""Least rise that is called a push: twice the 5.2 degrees by which the angle varies in cines of a held probe."""

Row = Mapping[str, str]


@attrs.frozen(eq=False)
class Trace:
    """The rows of one cine in order; what was not measured is NaN."""

    source: str
    index: np.ndarray
    """(n,) number of each frame in its file."""
    time: np.ndarray
    """(n,) seconds, increasing."""
    status: tuple[str, ...]
    aop: np.ndarray
    """(n,) degrees."""
    low: np.ndarray
    high: np.ndarray
    score: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Trace:
        """The trace of the rows of one file of an AoP table."""

        def column(name: str) -> np.ndarray:
            return np.array([float(row[name]) if row.get(name) else math.nan for row in rows])

        measured = np.array([row["status"] == "ok" for row in rows])
        aop, low, high = (np.where(measured, column(name), np.nan) for name in ("aop_deg", "aop_low", "aop_high"))
        return cls(rows[0]["source"], column("index").astype(int), column("time_s"),
                   tuple(row["status"] for row in rows), aop, low, high, column("score"))  # fmt: skip

    @property
    def known(self) -> np.ndarray:
        """(n,) True where an angle was measured."""
        return np.isfinite(self.aop)


def check_width(width: int) -> None:
    """UsageError for a width that a running median cannot have."""
    if width < 3 or width % 2 == 0:
        raise UsageError(f"--smooth: expected an odd number of frames from 3 on, found {width}")


def smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Running median (n,) over ``width`` frames, an odd number; a missing value stays missing and counts for none."""
    half = width // 2
    medians = np.full(len(values), np.nan)
    for at in np.flatnonzero(np.isfinite(values)):
        around = values[max(at - half, 0) : at + half + 1]
        medians[at] = np.median(around[np.isfinite(around)])
    return medians


def jitter(values: np.ndarray) -> float:
    """Standard deviation of the steps between neighbouring measured frames, degrees; NaN below two steps."""
    steps = np.diff(values)
    steps = steps[np.isfinite(steps)]
    return float(steps.std()) if len(steps) > 1 else math.nan


@attrs.frozen
class Best:
    """The frame to look at first, by its position in the trace, and why."""

    at: int
    reason: str


def best_frame(trace: Trace) -> Best | None:
    """The measured frame with the narrowest interval, the higher score where they are equal; None where none is."""
    known = np.flatnonzero(trace.known)
    if not len(known):
        return None
    widths, scores = (trace.high - trace.low)[known], trace.score[known]
    count = f"{len(known)} measured frames"
    if np.isfinite(widths).all():
        at = int(known[np.lexsort((-scores, widths))[0]])
        return Best(at, f"narrowest interval of {count} ({trace.high[at] - trace.low[at]:.1f} degrees)")
    at = int(known[np.argmax(scores)])
    return Best(at, f"highest score of {count} ({trace.score[at]:.2f}); no intervals are stated")


@attrs.frozen
class Push:
    """Rest against push. NaN where a number does not exist."""

    rest_deg: float
    """Median of the measured frames outside of pushes."""
    maximum_deg: float
    """The highest angle that ``HELD`` measured frames in a row reach."""
    start_s: float = math.nan
    end_s: float = math.nan
    """First and last frame of the push with the maximum."""
    count: int = 0
    """Pushes in the cine."""

    @property
    def difference_deg(self) -> float:
        return self.maximum_deg - self.rest_deg if self.count else math.nan

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def find_push(time: np.ndarray, aop: np.ndarray) -> Push:
    """The rise of the angle from rest that stays up, or that there is none.

    Over every ``HELD`` measured frames in a row the least angle is reached for certain: the largest of these is the
    maximum; the least of the largest is the bottom. Where they are ``PUSH_DEG`` apart, a push is a run of measured
    frames, ``HELD`` or more, above the middle between them; frames that were not measured do not end it.
    """
    at = np.flatnonzero(np.isfinite(aop))
    if len(at) < HELD:
        return Push(float(np.median(aop[at])) if len(at) else math.nan, math.nan)
    windows = np.lib.stride_tricks.sliding_window_view(aop[at], HELD)
    top, bottom = float(windows.min(axis=1).max()), float(windows.max(axis=1).min())
    if top - bottom < PUSH_DEG:
        return Push(float(np.median(aop[at])), top)
    above = aop[at] > (top + bottom) / 2
    runs = [list(run) for up, run in groupby(range(len(at)), lambda place: bool(above[place])) if up]
    pushes = [run for run in runs if len(run) >= HELD]
    pushed = {place for run in pushes for place in run}
    resting = [place for place in range(len(at)) if place not in pushed]
    the_one = max(pushes, key=lambda run: float(np.sort(aop[at[run]])[-HELD:].min()))
    rest = float(np.median(aop[at[resting]])) if resting else math.nan
    return Push(rest, top, float(time[at[the_one[0]]]), float(time[at[the_one[-1]]]), len(pushes))


@attrs.frozen(eq=False)
class Cine:
    """All that is said of one cine."""

    trace: Trace
    best: Best | None
    push: Push
    smooth: np.ndarray | None = None
    """(n,) smoothed degrees, where that was asked for; every other number is of the angles as they were measured."""
    smooth_push: Push | None = None
    """The same of the smoothed angles, for comparison."""

    @classmethod
    def of(cls, rows: Sequence[Row], smooth: int | None = None) -> Cine:
        trace = Trace.of(rows)
        curve = None if smooth is None else smoothed(trace.aop, smooth)
        compared = None if curve is None else find_push(trace.time, curve)
        return cls(trace, best_frame(trace), find_push(trace.time, trace.aop), curve, compared)

    @property
    def facts(self) -> dict[str, object]:
        """One row of ``summary.csv``."""
        best, push = self.best, self.push
        found: dict[str, object] = {
            "source": self.trace.source,
            "frames": len(self.trace.index),
            "measured": int(self.trace.known.sum()),
            "best_index": None if best is None else int(self.trace.index[best.at]),
            "best_time_s": None if best is None else float(self.trace.time[best.at]),
            "best_aop_deg": None if best is None else float(self.trace.aop[best.at]),
            "best_reason": "nothing was measured" if best is None else best.reason,
            "rest_deg": push.rest_deg,
            "maximum_deg": push.maximum_deg,
            "difference_deg": push.difference_deg,
            "push_start_s": push.start_s,
            "push_end_s": push.end_s,
            "push_duration_s": push.duration_s,
            "pushes": push.count,
            "jitter_deg": jitter(self.trace.aop),
        }
        if self.smooth is not None and self.smooth_push is not None:
            found |= {
                "smoothed_jitter_deg": jitter(self.smooth),
                "smoothed_maximum_deg": self.smooth_push.maximum_deg,
                "smoothed_difference_deg": self.smooth_push.difference_deg,
            }
        return found


def write_cines(out: Path, smooth: int | None = None, only: Collection[str] | None = None) -> list[str]:
    """Write ``cine/`` beside the table of a run: for each file with several frames that have times, NAME.csv, NAME.svg,
    NAME.html, and NAME.webm where overlays were drawn; and ``summary.csv``. Returns the names.

    Args:
        smooth: frames of a running median that is shown beside the measured angles; None = none.
        only: sources of rows that are new; of others only what is missing is written. None = all are.
    """
    if smooth is not None:
        check_width(smooth)
    names, facts = [], []
    for rows in _cines(out / TABLE):
        cine = Cine.of(rows, smooth)
        name = overlay_name(rows[0]["source"], 0).with_suffix("").as_posix()
        names.append(name)
        facts.append(cine.facts)
        # The page comes last: where it stands, all does.
        if only is not None and rows[0]["source"] not in only and (out / CINE / f"{name}.html").is_file():
            continue
        pictures = [out / OVERLAYS / overlay_name(row["source"], int(row["index"])) for row in rows]
        shown: list[Path | None] = [picture if picture.is_file() else None for picture in pictures]
        base = out / CINE / name
        base.parent.mkdir(parents=True, exist_ok=True)
        filmed = write_video(Path(f"{base}.webm"), shown, cine.trace.time)
        _write_table(Path(f"{base}.csv"), _rows(cine, shown if filmed else [None for _ in shown]))
        write_svg(Path(f"{base}.svg"), cine)
        write_page(Path(f"{base}.html"), cine, Path(f"{base}.webm") if filmed else None)
    if facts:
        _write_table(out / CINE / "summary.csv", facts)
    return names


def _cines(table: Path) -> Iterator[Sequence[Row]]:
    """The rows of each file of a table that has several frames with times."""
    for _, several in groupby(iter_results(table), lambda row: row["source"]):
        rows = [row for row in several if row.get("time_s")]
        if len(rows) > 1 and "aop_deg" in rows[0]:
            yield rows


def _rows(cine: Cine, shown: Sequence[Path | None]) -> list[dict[str, object]]:
    trace, place = cine.trace, -1
    rows: list[dict[str, object]] = []
    for at in range(len(trace.index)):
        place += shown[at] is not None
        pushed = cine.push.start_s <= trace.time[at] <= cine.push.end_s
        row: dict[str, object] = {
            "index": int(trace.index[at]), "time_s": float(trace.time[at]), "status": trace.status[at],
            "aop_deg": float(trace.aop[at]), "aop_low": float(trace.low[at]), "aop_high": float(trace.high[at]),
            **({} if cine.smooth is None else {"aop_smoothed_deg": float(cine.smooth[at])}),
            "push": int(pushed), "best": int(cine.best is not None and cine.best.at == at),
            "video_frame": place if shown[at] is not None else None,
        }  # fmt: skip
        rows.append(row)
    return rows


def _write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with replacing(path) as part:
        part.write_text(as_csv(rows), encoding="utf-8")
