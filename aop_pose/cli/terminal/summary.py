"""Figures and places that a run ends with, for a person and for a program."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aop_pose.core.results import STATUSES
from aop_pose.errors import RESEARCH_USE
from aop_pose.io.folders import CINE, DOCUMENT, OVERLAYS, TABLE
from aop_pose.measuring.summary import Summary


def counted(number: int, word: str) -> str:
    """``1 frame``, ``2 frames``: ``word`` is the plural."""
    return f"{number} {word.removesuffix('s') if number == 1 else word}"


def in_words(summary: Summary, out: Path) -> Iterator[str]:
    """The lines that ``predict`` ends with: counts, spread, why the rest was not measured, what is where."""
    statuses = ", ".join(f"{summary.counts.get(status, 0)} {status}" for status in STATUSES)
    passed = f"; {counted(summary.ignored, 'other files')} passed over" if summary.ignored else ""
    yield f"{out}: {counted(summary.rows, summary.word)} ({statuses}){passed}. {RESEARCH_USE}"
    if summary.spread is not None:
        spread, sign = summary.spread, summary.spread.quantity.sign
        span = "" if spread.images == 1 else f", from {spread.lowest:.1f}{sign} to {spread.highest:.1f}{sign}"
        middle = "" if spread.images == 1 else "median "
        images = counted(spread.images, summary.word)
        yield f"{spread.quantity.title}: {middle}{spread.median:.1f}{sign}{span} ({images})"
    if summary.reasons:
        rest = summary.rows - summary.counts.get("ok", 0)
        named = sum(number for _, number in summary.reasons)
        others = f"; other reasons: {rest - named}" if rest > named else ""
        yield f"not measured: {'; '.join(f'{reason}: {number}' for reason, number in summary.reasons)}{others}"
    yield "; ".join(f"{what}: {path}" for what, path in _places(summary, out))
    if summary.counts.get("ok"):
        command = shlex.join(["aop-pose", "evaluate", str(out), "labels.csv", "--out", "evaluation"])
        yield f"next: look at the pictures; with labels of your own, {command}"


def _places(summary: Summary, out: Path) -> Iterator[tuple[str, Path]]:
    yield "table", out / TABLE
    if (out / OVERLAYS).is_dir():
        yield "overlays", out / OVERLAYS
    if (out / CINE).is_dir():
        yield "cines", out / CINE
    if summary.sheets:
        more = len(summary.sheets) - 1
        yield "contact sheet" + (f" (and {counted(more, 'more pages')})" if more else ""), summary.sheets[0]


def as_document(summary: Summary, out: Path) -> dict[str, Any]:
    """The same as JSON: a value that does not exist is null."""
    spread = summary.spread
    return {
        "out": str(out),
        "table": str(out / TABLE),
        "document": str(out / DOCUMENT),
        "overlays": str(out / OVERLAYS) if (out / OVERLAYS).is_dir() else None,
        "contact_sheets": [str(sheet) for sheet in summary.sheets],
        summary.word: summary.rows,
        "counts": {status: summary.counts.get(status, 0) for status in STATUSES},
        "files_ignored": summary.ignored,
        "quantity": None if spread is None else spread.quantity.column,
        "median": None if spread is None else round(spread.median, 3),
        "lowest": None if spread is None else round(spread.lowest, 3),
        "highest": None if spread is None else round(spread.highest, 3),
        "reasons": [{"reason": reason, summary.word: number} for reason, number in summary.reasons],
        "notes": list(summary.notes),
        "use": RESEARCH_USE,
    }
