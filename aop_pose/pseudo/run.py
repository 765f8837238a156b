"""A folder of frames -> ``pseudo.csv``: row by row into a hidden file, continued after a kill, then cut and named."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.iugc import COLUMNS, KEEP
from aop_pose.formats.pictures import picture_size
from aop_pose.io.atomic import replacing
from aop_pose.io.discover import Entry
from aop_pose.io.in_order import in_order
from aop_pose.io.whole_rows import WholeRows
from aop_pose.pseudo.frames import Unlabelled
from aop_pose.pseudo.label import COLUMNS_OF_TABLE, UNREADABLE, Rule, label
from aop_pose.pseudo.signals import check_head
from aop_pose.runtime import Predictor, usable_cores

Row = dict[str, str]


@attrs.frozen
class Cut:
    """Which predictions are kept: those of a weight of at least ``above``, or all but the lowest ``quantile``."""

    above: float | None = None
    quantile: float | None = None
    uniform: bool = False
    """What is kept weighs 1: the weights only rank."""

    def __attrs_post_init__(self) -> None:
        if self.above is not None and self.quantile is not None:
            raise UsageError("expected one of --keep-above and --keep-quantile, found both")

    def least(self, weights: Sequence[float]) -> float:
        """The least weight that is kept; ``quantile`` as ``np.quantile`` interpolates it."""
        if self.quantile is not None and len(weights):
            return float(np.quantile(weights, self.quantile))
        return self.above if self.above is not None else 0.0


@attrs.frozen
class Summary:
    """What a run did."""

    rows: int
    kept: int
    reasons: dict[str, int]
    """How many rows were dropped and why: ``unreadable``, ``weight`` or ``other``."""
    mean_weight: float
    """Of the kept rows; NaN where none is."""

    @property
    def unreadable(self) -> int:
        return self.reasons.get("unreadable", 0)


class PseudoWriter(WholeRows):
    """The hidden rows; ``done`` holds the Filename of each."""

    what = "pseudo-labels begun by this command"

    def __init__(self, path: Path) -> None:
        super().__init__(path, COLUMNS_OF_TABLE, resume=True)
        self.done: set[str] = set()

    def note(self, fields: Sequence[str]) -> bool:
        self.done.add(fields[0])
        return True


def pseudo_label(
    predictor: Predictor,
    frames: Unlabelled,
    out: Path,
    *,
    rule: Rule | None = None,
    cut: Cut | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    facts: dict[str, Any] | None = None,
    on_start: Callable[[int], None] = lambda files: None,
    on_row: Callable[[Row, int], None] = lambda row, files_done: None,
) -> Summary:
    """Label ``frames`` into ``out``, and beside it ``NAME.run.json`` with ``facts`` and how the rows were made.

    Rows grow in a hidden file beside ``out``; a run of the same network and rule goes on where it ends, to the same
    table. ``out`` appears when it is complete. ``workers`` frames are at work at a time (default: one a core).

    Raises:
        UsageError: ``out`` exists or holds the beginning of another run and not ``overwrite``, or cannot be written.
        AopPoseError: no frame was kept; the table stands and says why.
    """
    rule, cut = rule or Rule(), cut or Cut()
    check_head(predictor)
    how = {"model": predictor.model_id, **attrs.asdict(rule)}
    files = _Files(Path(out))
    files.claim(how, overwrite)
    on_start(len(frames.entries))
    with PseudoWriter(files.rows) as writer:
        left = [entry for entry in frames.entries if entry.source not in writer.done]
        skipped = len(frames.entries) - len(left)
        rows = in_order(lambda entry: label(predictor, entry, rule), left, workers or usable_cores())
        for done, row in enumerate(rows, start=skipped + 1):
            writer.write_row([row[column] for column in COLUMNS_OF_TABLE])
            on_row(row, done)
    summary = _finish(files, frames.entries, cut, {**(facts or {}), **how, "cut": attrs.asdict(cut)})
    if not summary.kept:
        raise AopPoseError(
            f"no frame of {summary.rows} was kept ({_words(summary.reasons)}); {out} says why for each; "
            "lower the threshold or take another network"
        )
    return summary


@attrs.frozen
class _Files:
    out: Path

    @property
    def rows(self) -> Path:
        return self.out.with_name(f".{self.out.name}.rows")

    @property
    def started(self) -> Path:
        return self.out.with_name(f".{self.out.name}.started.json")

    @property
    def document(self) -> Path:
        return self.out.with_suffix(".run.json")

    def claim(self, how: dict[str, Any], overwrite: bool) -> None:
        """Make the place ready: free, or holding the beginning of a run made the same way."""
        if self.out.suffix != ".csv" or self.out.is_dir():
            raise UsageError(f"--out: expected a file name that ends in .csv, found {self.out}")
        if self.out.exists() and not overwrite:
            raise UsageError(f"--out: {self.out} exists; choose another name or add --overwrite")
        before = self._before()
        differing = [key for key in how if before.get(key) != how[key]]
        if self.rows.exists() and differing and not overwrite:
            was = ", ".join(f"{key} was {before.get(key, 'unknown')}" for key in differing)
            raise UsageError(f"--out: {self.out} was begun in another way ({was}); add --overwrite to begin again")
        try:
            for old in (self.out, self.document, *((self.rows,) if differing else ())):
                old.unlink(missing_ok=True)
            with replacing(self.started) as part:
                part.write_text(json.dumps(how), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--out: {self.out} cannot be written: {error.strerror}; choose another place") from None

    def _before(self) -> dict[str, Any]:
        try:
            known = json.loads(self.started.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def read(self, wanted: Collection[str]) -> Iterator[Row]:
        with open(self.rows, newline="", encoding="utf-8") as stream:
            yield from (row for row in csv.DictReader(stream) if row["Filename"] in wanted)


def _finish(files: _Files, entries: Sequence[Entry], cut: Cut, about: dict[str, Any]) -> Summary:
    wanted = {entry.source: entry.path for entry in entries}
    least = cut.least([float(row["weight"]) for row in files.read(wanted) if row[KEEP] == "1"])
    counts: Counter[str] = Counter()
    weights: list[float] = []
    sizes: set[tuple[int, int]] = set()
    with replacing(files.out) as part:
        with open(part, "w", newline="", encoding="utf-8") as stream:
            table = csv.DictWriter(stream, COLUMNS_OF_TABLE, lineterminator="\n")
            table.writeheader()
            for row in files.read(wanted):
                if row[KEEP] == "1" and not float(row["weight"]) >= least:
                    row |= {KEEP: "0", "reason": f"weight {float(row['weight']):.6f} is below {least:.6f}"}
                    counts["weight"] += 1
                elif row[KEEP] == "0":
                    counts["unreadable" if row["reason"].startswith(UNREADABLE) else "other"] += 1
                else:
                    if cut.uniform:
                        row["weight"] = "1"
                    weights.append(float(row["weight"]))
                if row[COLUMNS[1]]:
                    sizes.add(picture_size(wanted[row["Filename"]]))
                table.writerow(row)
            stream.flush()
            os.fsync(stream.fileno())
        kept = len(weights)
        mean = math.fsum(weights) / kept if kept else math.nan
        summary = Summary(kept + sum(counts.values()), kept, dict(counts), mean)
        with replacing(files.document) as document:
            told = {**about, "least_weight": least, "rows": summary.rows, "kept": kept, "dropped": summary.reasons}
            told["mean_weight"] = mean if kept else None
            # So that a table is not taken for one of other pictures of the same names.
            told["sizes"] = [f"{width}x{height}" for width, height in sorted(sizes)]
            document.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    files.rows.unlink()
    files.started.unlink()
    return summary


def _words(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items())
