"""The facts of a run, the figures of a finished one in words and as a document, and its pictures on contact sheets."""

from __future__ import annotations

import re
import shlex
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np

from aop_pose.core.results import STATUSES
from aop_pose.core.schema import Quantity, Schema
from aop_pose.draw.frame import TILE, contact_sheet, fitted_into, overlay_name, write_overlay
from aop_pose.errors import RESEARCH_USE, counted
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import AnyPredictor
from aop_pose.io.folders import CINE, CONTACT_SHEET, DOCUMENT, OVERLAYS, TABLE, contact_sheets_of
from aop_pose.io.table import iter_results, standing
from aop_pose.provenance import measuring_versions

TILES = 24
"""Pictures on one contact sheet, six rows of four."""
MOST_SHEETS = 20
COMMONEST = 3
"""Reasons that a summary names."""

_NUMBERS = re.compile(r" \([^()]*(?:\)$|\d[^()]*\))")
"""The part of a reason that is of one image, at its end or before more words: ``(trust 0.07, needed 0.67)``."""
_BOX = re.compile(r"\b\d+(?:,\d+){3}\b")


@attrs.frozen
class Spread:
    """Middle and range of one quantity over the images that were measured."""

    quantity: Quantity
    images: int
    median: float
    lowest: float
    highest: float


@attrs.frozen
class Summary:
    """The outcome of a run: rows by status over the whole table, and files passed over because they are no images."""

    counts: dict[str, int]
    ignored: int
    word: str = "frames"
    notes: tuple[str, ...] = ()
    """One line each: something a reader of the table should know."""
    spread: Spread | None = None
    """Of the quantity that an evaluation plots; None where it was measured nowhere."""
    reasons: tuple[tuple[str, int], ...] = ()
    """The commonest reasons of rows without a measurement, with how many rows have each."""
    sheets: tuple[Path, ...] = ()
    """Contact sheets that were written."""

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def summarise(
    out: Path, schema: Schema, ignored: int, word: str, notes: tuple[str, ...], sheets: tuple[Path, ...] = ()
) -> Summary:
    """The summary of a whole table, with the contact sheets that were written."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    names = {one.name for one in schema.quantities if one.main and one.headline}
    main = {one.column: one for one in schema.quantities if one.name in names}
    # Arrays, which take a quarter of what lists of numbers do.
    values = {column: array("d") for column in main}
    for row in iter_results(out / TABLE):
        counts[row["status"]] += 1
        if row["status"] != "ok":
            reasons[_BOX.sub("X,Y,W,H", _NUMBERS.sub("", row["reason"]))] += 1
        for column, found in values.items():
            if row.get(column):
                found.append(float(row[column]))
    # Of several that are known, the last: a length in millimetres rather than in pixels.
    known = [column for column, found in values.items() if found]
    spread = _spread(main[known[-1]], values[known[-1]]) if known else None
    return Summary(dict(counts), ignored, word, notes, spread, tuple(reasons.most_common(COMMONEST)), sheets)


def _spread(quantity: Quantity, values: array[float]) -> Spread:
    return Spread(quantity, len(values), float(np.median(values)), min(values), max(values))


class ContactSheets:
    """The overlays of a run on sheets, in the order of its table, as they are drawn.

    What an earlier run left is replaced. At most ``MOST_SHEETS`` sheets of ``TILES`` pictures: an archive is looked at
    in its folder of overlays.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._page: list[np.ndarray] = []
        self._written: list[Path] = []
        for stale in contact_sheets_of(out):
            stale.unlink()

    @property
    def full(self) -> bool:
        """True where no more pictures are taken."""
        return len(self._written) >= MOST_SHEETS

    def add(self, picture: np.ndarray) -> None:
        """The next overlay, or what ``draw.frame.fitted_into`` makes of it."""
        if not self.full:
            self._page.append(fitted_into(picture, TILE))
        if len(self._page) == TILES:
            self._write()

    def read(self) -> None:
        """Take the overlays up that stand in the folder beside the rows of its table."""
        for picture in _overlays(self._out, iter_results(self._out / TABLE)):
            if self.full:
                break
            self.add(picture)

    def finish(self) -> tuple[Path, ...]:
        """Every sheet that was written, the last one with what is left."""
        if self._page:
            self._write()
        return tuple(self._written)

    def _write(self) -> None:
        path = self._out / sheet_name(len(self._written) + 1)
        write_overlay(path, contact_sheet(self._page))
        self._page = []
        self._written.append(path)


def sheet_name(number: int) -> str:
    """``contact_sheet.png``, ``contact_sheet-2.png``, …"""
    name = Path(CONTACT_SHEET)
    return CONTACT_SHEET if number == 1 else f"{name.stem}-{number}{name.suffix}"


def _overlays(out: Path, rows: Iterable[Mapping[str, str]]) -> Iterator[np.ndarray]:
    """The pictures that stand, uint8 BGR; a row of a file that could not be read has none."""
    for row in rows:
        path = out / OVERLAYS / overlay_name(row["source"], int(row["index"]))
        picture: Any = cv2.imread(str(path)) if path.is_file() else None
        if picture is not None:
            yield picture


NOT_CALIBRATED = "none"
"""Stands where the calibration would: no interval is printed."""


def run_facts(predictor: AnyPredictor, device: str = "cpu") -> dict[str, Any]:
    """Versions, artefact and calibration; no names of people or machines."""
    common = {
        "notice": RESEARCH_USE,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **measuring_versions(),
        "device": device,
        **predictor.engine.identity,
        **({"engine_check": dict(predictor.engine.told)} if predictor.engine.told else {}),
        "artefact_sha256": predictor.sha256 or None,
        "schema": predictor.contract.schema_name,
        "decode": predictor.contract.decode,
        "threshold": predictor.contract.threshold,
        "training_run": predictor.contract.training_run.get("name"),
    }
    contract = predictor.contract
    guards = {
        "calibration": NOT_CALIBRATED if contract.calibration is None else contract.calibration.facts,
        "gate": NOT_CALIBRATED if contract.gate is None else contract.gate.facts,
    }
    if isinstance(predictor, VolumePredictor):
        of_volumes = predictor.contract
        return {
            **common,
            "size": list(of_volumes.size),
            "voxel_mm": of_volumes.voxel_mm,
            "aim": of_volumes.aim,
            "mode": of_volumes.mode,
            "stages": [{"size": list(one.size), "voxel_mm": one.voxel_mm} for one in of_volumes.stages],
            "sides": of_volumes.sides,
            **guards,
            **predictor.further_facts,
        }
    return {**common, "image_size": predictor.contract.image_size, **guards}


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
    elif summary.counts.get("abstained"):
        yield f"next: look at the pictures; docs/{summary.word}.md says what each reason means, and what to do"


def _places(summary: Summary, out: Path) -> Iterator[tuple[str, Path]]:
    yield "table", standing(out / TABLE)
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
        "table": str(standing(out / TABLE)),
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
