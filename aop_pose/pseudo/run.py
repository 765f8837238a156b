"""A folder of frames -> ``pseudo.csv``: row by row into a hidden file, continued after a kill, then cut and named."""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError, counted
from aop_pose.formats.csv_rows import Row as TableRow
from aop_pose.formats.csv_rows import RowError, Seen, filename, number, parse_rows, read_list
from aop_pose.formats.iugc import COLUMNS, IUGC, KEEP
from aop_pose.formats.label import Label, check_below, find_picture, resolve, within
from aop_pose.formats.pictures import picture_size, read_gray
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import Predictor
from aop_pose.io.csv_text import DictWriter, restored
from aop_pose.io.discover import Entry, discover
from aop_pose.io.files import replacing
from aop_pose.io.table import WholeRows
from aop_pose.measuring.ahead import in_order
from aop_pose.pseudo.ensemble import Ensemble
from aop_pose.pseudo.label import COLUMNS_OF_TABLE, POINT_WEIGHTS, UNREADABLE, Rule, columns_of, label
from aop_pose.pseudo.signals import CONFIDENCES, DEFAULT, DRAWS, Noise, check_head

IMAGES = "images"


@attrs.frozen
class Unlabelled:
    """Frames without labels."""

    entries: list[Entry]
    ignored: int = 0
    """Files in the folder that are no frames by their suffix."""
    labelled: int = 0
    """Frames of the folder left out because a label file names them."""


def unlabelled_frames(images: Path, listed: str | Path | None, labels: Sequence[str | Path]) -> Unlabelled:
    """The frames of a list, else all frames below ``images/images`` where that is a folder, else below ``images``.

    A listed name is ``images/name``, else ``images/images/name``; one that is not there keeps its place, since
    reading it says so. The list and the label files are taken as given, else below ``images``. Frames that a label
    file names are left out of a folder.

    Raises:
        UsageError: a listed frame is named by a label file, or is listed under two names; nothing is left; a file is
            missing or malformed.
    """
    images = Path(images)
    if not images.is_dir():
        raise UsageError(f"--images: expected a folder, found none at {images}")
    named = _named_by(labels, images)
    if listed is not None:
        file = resolve(listed, images)
        return Unlabelled(_entries(file, read_list(file), images, named))
    found = discover([images / IMAGES if (images / IMAGES).is_dir() else images])
    left = [entry for entry in found.entries if entry.path.resolve() not in named]
    if not left:
        raise UsageError(
            f"no frames to label in {images} ({counted(found.ignored, 'other files')}, {len(found.entries)} labelled)"
        )
    return Unlabelled(left, found.ignored, len(found.entries) - len(left))


def tabled_frames(images: Path, table: str | Path, labels: Sequence[str | Path]) -> Unlabelled:
    """The frames of every row of a ``pseudo.csv``, dropped ones too, so that they can be labelled again.

    The table and the label files are taken as given, else below ``images``. UsageError where a label file names one of
    the frames.
    """
    file = resolve(table, images)
    return Unlabelled(_entries(file, _names(file), Path(images), _named_by(labels, Path(images))))


def _entries(file: Path, names: Sequence[str], images: Path, named: dict[Path, Path]) -> list[Entry]:
    entries = [Entry(_place(images, name), name) for name in names]
    both = [(entry.source, named[place]) for entry in entries if (place := entry.path.resolve()) in named]
    if both:
        name, labels = both[0]
        more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
        raise UsageError(f"{file}: expected frames without labels, found {name}{more} also in {labels}; take it out")
    places: dict[str, str] = {}
    for entry in entries:
        first = places.setdefault(os.path.normpath(entry.path), entry.source)
        if first != entry.source:
            raise UsageError(f"{file}: expected each picture once, found {entry.source}, which is {first}")
    return entries


def _named_by(labels: Sequence[str | Path], images: Path) -> dict[Path, Path]:
    """Picture -> the label file that names it."""
    named: dict[Path, Path] = {}
    for given in labels:
        file = resolve(given, images)
        for name in _names(file):
            named.setdefault(_place(images, name).resolve(), file)
    return named


def _names(file: Path) -> list[str]:
    return list(parse_rows(file, ("Filename",), lambda row: filename(row.cells["Filename"])))


def _place(images: Path, name: str) -> Path:
    """The place where ``formats.label.find_picture`` would find it; the first place where it is at neither.

    UsageError where the name, or a link, leads out of the folder.
    """
    check_below(name)
    below = images / IMAGES / name
    return within(below if below.is_file() and not (images / name).is_file() else images / name, images, name)


Row = dict[str, str]


@attrs.frozen
class Cut:
    """The predictions that are kept: those of a weight of at least ``above``, or all but the lowest ``quantile``."""

    above: float | None = None
    quantile: float | None = None
    uniform: bool = False
    """Everything that is kept weighs 1: the weights only rank."""

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
    """The outcome of a run."""

    rows: int
    kept: int
    reasons: dict[str, int]
    """Number of rows that were dropped, by reason: ``unreadable``, ``weight`` or ``other``."""
    mean_weight: float
    """Of the kept rows; NaN where none is."""

    @property
    def unreadable(self) -> int:
        return self.reasons.get("unreadable", 0)


class PseudoWriter(WholeRows):
    """The hidden rows; ``done`` holds the Filename of each."""

    what = "pseudo-labels begun by this command"

    def __init__(self, path: Path, columns: Sequence[str] = COLUMNS_OF_TABLE) -> None:
        super().__init__(path, columns, resume=True)
        self.done: set[str] = set()

    def note(self, fields: Sequence[str]) -> bool:
        self.done.add(fields[0])
        return True


def pseudo_label(
    teacher: Predictor | Ensemble,
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
    table. ``out`` appears when it is complete. ``workers`` frames are at work at a time (default: one a core). Of an
    ensemble the confidence is how near its passes lie together, whatever ``rule`` names.

    Raises:
        UsageError: ``out`` exists or holds the beginning of another run and not ``overwrite``, or cannot be written.
        AopPoseError: no frame was kept; the table stands and says why.
    """
    rule, cut = rule or Rule(), cut or Cut()
    how = {"model": teacher.model_id, **attrs.asdict(rule)}
    if isinstance(teacher, Ensemble):
        how |= {"confidence": None, "views": teacher.views}
    else:
        check_head(teacher)
    columns = columns_of(teacher)
    files = _Files(Path(out))
    files.claim(how, overwrite)
    on_start(len(frames.entries))
    with PseudoWriter(files.rows, columns) as writer:
        left = [entry for entry in frames.entries if entry.source not in writer.done]
        skipped = len(frames.entries) - len(left)
        rows = in_order(lambda entry: label(teacher, entry, rule), left, workers or usable_cores())
        for done, row in enumerate(rows, start=skipped + 1):
            writer.write_row([row[column] for column in columns])
            on_row(row, done)
    summary = _finish(files, frames.entries, columns, cut, {**(facts or {}), **how, "cut": attrs.asdict(cut)})
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
            rows = ({column: restored(text) for column, text in row.items()} for row in csv.DictReader(stream))
            yield from (row for row in rows if row["Filename"] in wanted)


def _finish(
    files: _Files, entries: Sequence[Entry], columns: Sequence[str], cut: Cut, about: dict[str, Any]
) -> Summary:
    wanted = {entry.source: entry.path for entry in entries}
    least = cut.least([float(row["weight"]) for row in files.read(wanted) if row[KEEP] == "1"])
    counts: Counter[str] = Counter()
    weights: list[float] = []
    sizes: set[tuple[int, int]] = set()
    with replacing(files.out) as part:
        with open(part, "w", newline="", encoding="utf-8") as stream:
            table = DictWriter(stream, columns)
            table.writeheader()
            for row in files.read(wanted):
                if row[KEEP] == "1" and not float(row["weight"]) >= least:
                    row |= {KEEP: "0", "reason": f"weight {float(row['weight']):.6f} is below {least:.6f}"}
                    counts["weight"] += 1
                elif row[KEEP] == "0":
                    counts["unreadable" if row["reason"].startswith(UNREADABLE) else "other"] += 1
                else:
                    if cut.uniform:
                        row |= dict.fromkeys({"weight", *POINT_WEIGHTS} & row.keys(), "1")
                    weights.append(float(row["weight"]))
                if row[COLUMNS[1]]:
                    sizes.add(picture_size(wanted[row["Filename"]]))
                table.writedict(row)
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


_MADE = {"noise": Noise, "cut": Cut}


@attrs.frozen(eq=False)
class PseudoFrame:
    """A frame with the points a network gave it."""

    frame: Label
    weight: float
    """Trust in the points, in [0, 1]."""
    weights: np.ndarray = attrs.field()
    """(3,) trust in each of them, in [0, 1]; where the table does not tell them apart, that in all."""

    @weights.default
    def _all(self) -> np.ndarray:
        return np.full(len(AOP.points), self.weight)


class Origin(BaseModel):
    """The origin of a table as ``NAME.run.json`` tells it; without one, no model and the rules of ``pseudo-label``."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)

    model: str | None = None
    confidence: str | None = None
    """As the file says; ``rule`` has the default where it says nothing."""
    draws: int = Field(default=DRAWS, ge=1)
    seed: int = Field(default=0, ge=0)
    min_score: float | None = Field(default=None, ge=0, le=1)
    noise: Noise = Noise()
    cut: Cut = Cut()
    sizes: tuple[str, ...] = ()
    """WIDTHxHEIGHT of the pictures that were labelled; empty where the file does not say."""

    @field_validator("confidence")
    @classmethod
    def _check_confidence(cls, name: str | None) -> str | None:
        if name is not None and name not in CONFIDENCES:
            raise ValueError(f"expected one of {', '.join(CONFIDENCES)}")
        return name

    @field_validator("noise", "cut", mode="before")
    @classmethod
    def _make(cls, given: object, info: ValidationInfo) -> object:
        try:
            return _MADE[str(info.field_name)](**given) if isinstance(given, dict) else given
        except (TypeError, UsageError) as error:
            raise ValueError(str(error)) from None

    @property
    def rule(self) -> Rule:
        """The rule by which the frames were labelled."""
        return Rule(self.confidence or DEFAULT, self.draws, self.seed, self.min_score, self.noise)


def read_pseudo(file: Path, data: Path, keep: bool = False) -> list[PseudoFrame]:
    """The rows with ``keep`` 1, each with its picture (``data/Filename``, else ``data/images/Filename``).

    Pictures are decoded and kept where ``keep``, else only their sizes are read.

    UsageError names ``file:line`` of the first row that is malformed, repeats a name (dropped rows count) or a picture
    under another name, has no readable picture, one of another size than ``read_origin`` knows, a point outside it, or
    a weight that is not a number from 0 to 1; UsageError too where the table lacks a column of ``pseudo.csv`` or keeps
    no frame.
    """
    seen, pictures = Seen(), Seen()
    sizes = read_origin(file).sizes
    rows = 0

    def parse(row: TableRow) -> PseudoFrame | None:
        nonlocal rows
        rows += 1
        kept = IUGC.is_kept(row)
        seen.add(filename(row.cells["Filename"]), row.line)
        if not kept:
            return None
        found = _frame(row, data, sizes, keep)
        # Of links each is a picture of its own, as in a folder that is labelled.
        pictures.add(os.path.normpath(found.frame.path), row.line)
        return found

    frames = [frame for frame in parse_rows(Path(file), COLUMNS_OF_TABLE, parse) if frame is not None]
    if not frames:
        raise UsageError(f"{file}: expected at least one frame with keep = 1, found none in {rows} rows")
    return frames


def _frame(row: TableRow, data: Path, sizes: Collection[str], keep: bool) -> PseudoFrame:
    name, coords = filename(row.cells["Filename"]), IUGC.coords(row, AOP)
    weight = _weight(row.cells["weight"], "weight")
    each = [_weight(row.cells.get(column, row.cells["weight"]), column) for column in POINT_WEIGHTS]
    path = find_picture(data, name)
    pixels = read_gray(path) if keep else None
    width, height = picture_size(path) if pixels is None else pixels.shape[::-1]
    if sizes and f"{width}x{height}" not in sizes:
        raise RowError(
            f"{name}: expected a picture of {' or '.join(sizes)} as it was labelled, found {width}x{height}; label the "
            "frames again"
        )
    keypoints = Keypoints.from_points(AOP, coords)
    if outside := keypoints.outside(width, height):
        raise RowError(
            f"{name}: expected points within the {width}x{height} picture, found {', '.join(outside)} outside; "
            "was another size of it labelled?"
        )
    return PseudoFrame(Label(name, path, (width, height), keypoints, kept=pixels), weight, np.array(each))


def _weight(text: str, column: str) -> float:
    value = number(text, column)
    if not 0 <= value <= 1:
        raise RowError(f"{column}: expected a number from 0 to 1, found {text!r}")
    return value


def read_origin(file: Path) -> Origin:
    """The document beside a table, ``NAME.run.json``; UsageError where that is damaged."""
    document = Path(file).with_suffix(".run.json")
    if not document.is_file():
        return Origin()
    try:
        return Origin.model_validate(json.loads(document.read_text(encoding="utf-8")))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UsageError(f"{document}: expected what pseudo-label writes, found a damaged file ({first})") from None


def document_of(table: Path) -> Mapping[str, Any]:
    """The document that ``pseudo_label`` wrote beside a finished table; empty where it is not finished."""
    file = table.with_suffix(".run.json")
    if not (table.is_file() and file.is_file()):
        return {}
    found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
