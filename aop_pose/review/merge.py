"""Readings of several readers and rounds brought together: what moved between them, and their consensus.

Readers differ in how far they scatter. From pairs of them the variance of each follows, since that of a difference is
the sum of both (Grubbs, J Am Stat Assoc 43 (1948) 243-264); with two readers it is shared evenly. Medians stand in the
place of means there, so that a few mistakes do not make a careful reader careless. The consensus is the mean weighted
by one over the variance, with Huber's weights for readings far off (Huber, Ann Math Stat 35 (1964) 73-101).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.results import as_text, index_of, points_of
from aop_pose.core.schema import SCHEMAS, Schema
from aop_pose.errors import UsageError
from aop_pose.evaluation import comparison
from aop_pose.evaluation.errors import align_interchangeable
from aop_pose.evaluation.match import some, tidy
from aop_pose.evaluation.noise import READERS, spread_columns
from aop_pose.formats.exchange import PROPOSALS
from aop_pose.formats.format import Reading
from aop_pose.formats.label import Label, reader_of
from aop_pose.formats.registry import fitting_formats, labels_of, table_of
from aop_pose.io.csv_text import Writer
from aop_pose.io.files import replacing
from aop_pose.io.folders import TABLE, appearing
from aop_pose.io.table import read_results
from aop_pose.review.log import FOLDER, decisions_of, models_of
from aop_pose.stats.agreement import point_deviation

AGREEMENT = "-agreement"
"""Behind the name of the consensus: the folder with what moved, pictures for a third reader, and a report a pair."""
MOVED, THIRD = "moved.csv", "third_reader.csv"
_LEAST_PX = 1.0
"""Readings nearer than this are never called apart, however well readers agree otherwise."""
_MEDIAN_OF_SQUARES = 2 * math.log(2)
"""Median of the squared length of a plane vector whose coordinates have variance 1."""
_TENTH_OF_SQUARES = -2 * math.log(0.1)
"""The value that a tenth of such squares lies above, and the next one that one in a hundred does."""
_HUNDREDTH_OF_SQUARES = -2 * math.log(0.01)
_HUBER = 1.345 * math.sqrt(2)
"""Scatters of a reader from which on his reading counts for less."""
_SMALLEST_SHARE = 0.1
"""A reader's variance is at least this share of the middle one: two who copy each other are not without error."""


@attrs.frozen(eq=False)
class Round:
    """The readings of one reader in one file."""

    reader: str
    number: int
    """1 for his first file, 2 for the next."""
    source: str
    points: Mapping[str, np.ndarray]
    """By picture, (points, 2) in its pixels, whole."""

    @property
    def title(self) -> str:
        """The reader, and which time he read where that is not the first."""
        return self.reader if self.number == 1 else f"{self.reader}-{self.number}"


@attrs.frozen(eq=False)
class Moved:
    """Two rounds compared, over the pictures of both."""

    first: str
    second: str
    names: tuple[str, ...]
    distances: np.ndarray
    """(pictures, points) in pixels."""
    changes: Mapping[str, np.ndarray]
    """By quantity column: second minus first, (pictures,)."""


@attrs.frozen(eq=False)
class Consensus:
    """The labels that readers agree on; one entry a picture."""

    names: tuple[str, ...]
    coords: np.ndarray
    """(pictures, points, 2)."""
    sds: np.ndarray
    """(pictures, points): ``stats.agreement.point_deviation`` of single readings, pixels; NaN with one reader."""
    spreads: Mapping[str, np.ndarray]
    """By column: standard deviation of single readings of a quantity (n - 1 in the denominator)."""
    readers: np.ndarray
    """(pictures,) readers, whose rounds count once."""


@attrs.frozen(eq=False)
class Tie:
    """A picture on which no majority of readers agrees."""

    name: str
    readers: int
    points: tuple[str, ...]
    apart: float
    """Largest distance of two readings of one of these points, pixels."""


@attrs.frozen(eq=False)
class Merged:
    """All that is said of several rounds."""

    schema: Schema
    rounds: tuple[Round, ...]
    scatter: Mapping[str, float]
    """By reader: standard deviation along one axis, pixels; NaN where nobody else read the same pictures."""
    consensus: Consensus
    ties: tuple[Tie, ...]
    moved: tuple[Moved, ...]
    notes: tuple[str, ...]


def read_rounds(given: Sequence[str]) -> tuple[list[Round], Schema, list[str]]:
    """Rounds in the order of ``given``: label files of any format, or logs of ``aop-pose review``; and remarks.

    A file may name its reader in front, ``anna=FILE``; else a column ``reader``, the annotations or the log do, or the
    file is called by him. UsageError where a file has no readings, or nobody can tell whose two files are.
    """
    sources = [_Source.of(one) for one in given]
    notes: list[str] = []
    schema: Schema | None = None
    found: list[tuple[str, str, dict[str, np.ndarray]]] = []
    for source in sources:
        labels, own, said = _log(source.path) if source.path.suffix == ".jsonl" else _labels(source.path)
        notes += said
        if schema is not None and own is not schema:
            raise UsageError(f"{source.path}: expected points of schema {schema.name} as before, found {own.name}")
        schema = own
        by_reader: dict[str, dict[str, np.ndarray]] = {}
        for reader, name, points in labels:
            whose = source.reader or reader or _unnamed(source, sources)
            if name in by_reader.setdefault(whose, {}):
                raise UsageError(f"{source.path}: expected one reading of {name} by {whose}, found several")
            by_reader[whose][name] = points
        found += [(whose, str(source.path), points) for whose, points in by_reader.items()]
    if schema is None or not found:
        raise UsageError(f"expected readings, found none in {', '.join(given)}")
    rounds: list[Round] = []
    for whose, where, pictures in found:
        earlier = sum(one.reader == whose for one in rounds)
        rounds.append(Round(whose, earlier + 1, where, pictures))
    return rounds, schema, notes


@attrs.frozen
class _Source:
    path: Path
    reader: str

    @classmethod
    def of(cls, given: str) -> _Source:
        path = Path(given)
        reader, equals, rest = given.partition("=")
        if not path.exists() and equals and reader and Path(rest).exists():
            return cls(Path(rest), _safe(reader))
        if not path.exists():
            raise UsageError(f"{given}: expected a label file, a folder or a log of review, found nothing there")
        return cls(path, "")

    @property
    def stem(self) -> str:
        return _safe(self.path.resolve().stem if self.path.is_file() else self.path.resolve().name)


def _unnamed(source: _Source, sources: Sequence[_Source]) -> str:
    """The reader by the name of his file, or of its folder where several files are called the same."""
    others = [one for one in sources if not one.reader and one is not source]
    if source.stem not in [one.stem for one in others]:
        return source.stem
    parent = _safe(source.path.resolve().parent.name)
    if parent in [_safe(one.path.resolve().parent.name) for one in others]:
        raise UsageError(f"{source.path}: nobody can tell who read it; say so: NAME={source.path}")
    return parent


def _safe(name: str) -> str:
    """A name as that of a file."""
    return re.sub(r"[^\w.@-]+", "-", name).strip("-.") or "reader"


_Labels = list[tuple[str, str, np.ndarray]]
"""Reader ("" = not said), picture and its points."""


def _labels(path: Path) -> tuple[_Labels, Schema, list[str]]:
    format = fitting_formats(path)[0]
    schema = format.schema_of(path)
    if format.kind_of(path) == PROPOSALS:
        raise UsageError(
            f"{path}: expected readings of people, found the results of a model; review them, and give the log"
        )
    if schema is None or schema.dimensions != 2:
        raise UsageError(f"{path}: expected points in pictures, found {format.name}")
    items = list(labels_of(format, path, Reading(pictures="none", repeated=True)))
    labels = [item for item in items if isinstance(item, Label)]
    gone = [f"{item.name}: {item.reason}" for item in items if not isinstance(item, Label)]
    notes = [f"{path}: left out {len(gone)} ({some(gone)})"] if gone else []
    read = [(_safe(reader) if (reader := reader_of(one.extras)) else "", _named(one), one.points) for one in labels]
    return read, schema, notes


def _named(label: Label) -> str:
    return tidy(label.name)


def _log(path: Path) -> tuple[_Labels, Schema, list[str]]:
    """Accepted frames of a log; points that the reader left as the model has them are those of the run's table."""
    about, decisions = decisions_of(path)
    if about.get("schema") not in SCHEMAS or path.parent.name != FOLDER:
        raise UsageError(f"{path}: expected a log of aop-pose review in the folder of its run, found something else")
    schema, reader = SCHEMAS[about["schema"]], about.get("reader", path.stem)
    table = path.parent.parent / TABLE
    accepted = {key: one for key, one in decisions.items() if one.state == "accepted"}
    rows = read_results(table) if any(one.points is None for one in accepted.values()) else []
    if rows and (model := models_of(rows)) != about.get("model", model):
        raise UsageError(
            f"{table}: expected the results of {about['model']}, from which {reader} accepted points as they were, "
            f"found those of {model}; put the reviewed table back"
        )
    own = {(row["source"], index_of(row, str(table))): points_of(row, schema, str(table)) for row in rows}
    read: _Labels = []
    half, later = [], 0
    for (source, index), one in accepted.items():
        points = own.get((source, index)) if one.points is None else _points(one.points, schema)
        if index:
            later += 1
        elif points is None or not np.isfinite(points).all():
            half.append(source)
        else:
            read.append((_safe(reader), tidy(source), points))
    states = [one.state for one in decisions.values()]
    saw = sum(bool(one.saw) for one in accepted.values())
    started = f", from the points of {about['model']}" if about.get("model") else ""
    notes = [f"{path}: {len(read)} accepted by {reader}, {states.count('rejected')} rejected{started}"]
    if untouched := sum(one.points is None for one in accepted.values()):
        notes.append(f"{path}: {untouched} accepted as the model has them: readers who start there agree the better")
    if saw:
        notes.append(f"{path}: before {saw} of them others' points were shown to {reader}: these are not independent")
    if half:
        notes.append(f"{path}: left out {len(half)} with a point that nobody marked ({some(half)})")
    if later:
        notes.append(f"{path}: left out {later} later frames of cines, which label files have no place for; "
                     "aop-pose dataset frames makes pictures of them")  # fmt: skip
    return read, schema, notes


def _points(marked: Mapping[str, tuple[float, float] | None], schema: Schema) -> np.ndarray:
    return np.array([marked.get(name) or (np.nan, np.nan) for name in schema.points], np.float64)


def merge(rounds: Sequence[Round], schema: Schema, latest: bool = False, notes: Sequence[str] = ()) -> Merged:
    """Bring rounds together.

    Args:
        rounds: of one reader or several, those of one reader in order.
        schema: of the points.
        latest: of a reader's rounds the last one of each picture counts; else their mean.
        notes: remarks so far.
    """
    reference = _reference(rounds)
    rounds = [_aligned(one, reference, schema) for one in rounds]
    readings = _by_reader(rounds, latest)
    scatter, scale = scatter_of(readings)
    names = sorted({name for points in readings.values() for name in points})
    kept, coords, sds, counts, ties = [], [], [], [], list[Tie]()
    singles: dict[str, list[float]] = {}
    for name in names:
        who = [reader for reader, points in readings.items() if name in points]
        stack = np.stack([readings[reader][name] for reader in who])
        own = np.array([scatter[reader] if math.isfinite(scatter[reader]) else scale for reader in who])
        apart = _apart(stack, own, scale)
        if apart.any():
            points = tuple(np.array(schema.points)[apart])
            ties.append(Tie(name, len(who), points, float(_largest(stack)[apart].max())))
            continue
        mean = np.stack([robust_mean(stack[:, at], own) for at in range(stack.shape[1])])
        kept.append(name)
        coords.append(mean)
        counts.append(len(who))
        sds.append(point_deviation(stack))
        for quantity in schema.quantities:
            if not quantity.needs_outline and quantity.unit != "mm":
                values = schema.unfolded(quantity, stack, like=np.repeat(mean[None], len(who), axis=0))
                spread = float(np.std(values, ddof=1)) if len(who) > 1 else math.nan
                singles.setdefault(spread_columns(quantity)[0], []).append(spread)
    shape = (len(kept), len(schema.points))
    consensus = Consensus(
        tuple(kept), np.array(coords).reshape(*shape, 2), np.array(sds).reshape(shape),
        {column: np.array(values) for column, values in singles.items()}, np.array(counts, int),
    )  # fmt: skip
    ties.sort(key=lambda tie: -tie.apart)
    moved = tuple(_moved(first, second, schema) for first, second in _pairs(rounds))
    return Merged(schema, tuple(rounds), scatter, consensus, tuple(ties), moved, tuple(notes))


def _reference(rounds: Sequence[Round]) -> dict[str, np.ndarray]:
    """The first reading of each picture: of an axis whose ends may be named either way its order is taken."""
    return {name: points for one in reversed(rounds) for name, points in one.points.items()}


def _aligned(one: Round, reference: Mapping[str, np.ndarray], schema: Schema) -> Round:
    if not schema.interchangeable:
        return one
    points = {
        name: align_interchangeable(points[None], reference[name][None], schema)[0]
        for name, points in one.points.items()
    }
    return attrs.evolve(one, points=points)


def _by_reader(rounds: Sequence[Round], latest: bool) -> dict[str, dict[str, np.ndarray]]:
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for one in rounds:
        for name, points in one.points.items():
            found.setdefault(one.reader, {}).setdefault(name, []).append(points)
    return {
        reader: {name: several[-1] if latest else np.mean(several, axis=0) for name, several in by_name.items()}
        for reader, by_name in found.items()
    }


def scatter_of(readings: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[dict[str, float], float]:
    """Standard deviation of each reader along one axis, and one for all that few disagreements do not shrink, pixels.

    ``readings``: by reader, then by picture, (points, 2).
    """
    readers = list(readings)
    rows, variances, squares = [], [], [np.zeros(0)]
    for a, b in combinations(range(len(readers)), 2):
        first, second = readings[readers[a]], readings[readers[b]]
        both = [name for name in first if name in second]
        if not both:
            continue
        apart = np.concatenate([((first[name] - second[name]) ** 2).sum(axis=1) for name in both])
        row = np.zeros(len(readers))
        row[[a, b]] = 1
        rows.append(row)
        variances.append(float(np.median(apart)) / _MEDIAN_OF_SQUARES)
        squares.append(apart)
    everything = np.concatenate(squares)
    if not len(everything):
        return dict.fromkeys(readers, math.nan), _LEAST_PX
    # Half of a difference's variance is one reader's.
    wide = float(np.quantile(everything, 0.9)) / _TENTH_OF_SQUARES / 2
    middle = float(np.median(everything)) / _MEDIAN_OF_SQUARES / 2
    scale = max(math.sqrt(max(wide, middle)), _LEAST_PX / 2)
    solved = np.linalg.lstsq(np.array(rows), np.array(variances), rcond=None)[0]
    known = np.atleast_1d(np.array(rows).any(axis=0))
    floor = max(_SMALLEST_SHARE * float(np.median(solved[known])), (_LEAST_PX / 4) ** 2)
    own = np.sqrt(np.maximum(solved, floor))
    return {reader: float(own[i]) if known[i] else math.nan for i, reader in enumerate(readers)}, scale


def robust_mean(points: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """The mean (2,) of readings (k, 2), weighted by one over the square of each reader's ``scatter`` (k,) in pixels.

    A reading further from it than ``_HUBER`` scatters counts for less, the further the less.
    """
    weights = 1 / scatter**2
    mean = np.median(points, axis=0) if len(points) > 2 else weights @ points / weights.sum()
    for _ in range(50):
        off = np.linalg.norm(points - mean, axis=1)
        far = np.minimum(1, _HUBER * scatter / np.maximum(off, 1e-12))
        mean, before = (weights * far) @ points / (weights * far).sum(), mean
        if np.abs(mean - before).max() < 1e-6:
            break
    return np.asarray(mean)


def _apart(stack: np.ndarray, own: np.ndarray, scale: float) -> np.ndarray:
    """(points,) True where no more than half of the readings (k, points, 2) lie near any one of them."""
    squares = ((stack[:, None] - stack[None]) ** 2).sum(axis=-1)
    variance = np.maximum(own[:, None] ** 2 + own[None] ** 2, 2 * max(scale, _LEAST_PX) ** 2)
    near = squares <= _HUNDREDTH_OF_SQUARES * variance[..., None]
    return near.sum(axis=0).max(axis=0) * 2 <= len(stack)


def _largest(stack: np.ndarray) -> np.ndarray:
    """(points,) largest distance of two readings (k, points, 2)."""
    return np.sqrt(((stack[:, None] - stack[None]) ** 2).sum(axis=-1)).max(axis=(0, 1))


def _pairs(rounds: Sequence[Round]) -> Iterator[tuple[Round, Round]]:
    """Rounds to compare: each reader's with his next one, and the first ones of two readers."""
    for first, second in combinations(rounds, 2):
        again = first.reader == second.reader and second.number == first.number + 1
        if again or (first.reader != second.reader and first.number == second.number == 1):
            yield first, second


def _moved(first: Round, second: Round, schema: Schema) -> Moved:
    names = tuple(name for name in first.points if name in second.points)
    shape = (len(names), len(schema.points), 2)
    one, other = (np.array([side.points[name] for name in names]).reshape(shape) for side in (first, second))
    changes = {
        quantity.column: schema.unfolded(quantity, other, like=one) - schema.unfolded(quantity, one, like=one)
        for quantity in schema.quantities
        if not quantity.needs_outline and quantity.unit != "mm"
    }
    return Moved(first.title, second.title, names, np.linalg.norm(other - one, axis=-1), changes)


def write_merged(merged: Merged, out: Path, overwrite: bool = False, images: Path | None = None) -> list[str]:
    """Write the consensus as a label file, and beside it the folder NAME-agreement.

    The folder holds ``moved.csv`` (a row a picture and pair), ``third_reader.csv``, a label file a round, and for each
    pair the agreement report of ``evaluate``. Returns remarks. UsageError where something stands there and
    ``overwrite`` is not set.
    """
    if out.suffix.lower() != ".csv":
        raise UsageError(f"--out: expected a name that ends in .csv, found {out}")
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: expected no file of this name, found one; add --overwrite")
    notes: list[str] = []
    table = table_of(merged.schema)
    files = {one.title: f"{one.title}.csv" for one in merged.rounds}
    ours = frozenset({MOVED, THIRD, *files.values(), *(_report_name(pair) for pair in merged.moved)})
    with appearing(out.with_name(f"{out.stem}{AGREEMENT}"), overwrite, ours=ours) as folder:
        for one in merged.rounds:
            labels = [_label(name, points, merged.schema) for name, points in one.points.items()]
            table.write_table(labels, folder / files[one.title])
        _write_moved(merged, folder / MOVED)
        _write_ties(merged.ties, folder / THIRD)
        for pair in merged.moved:
            try:
                compared = comparison.evaluate(folder / files[pair.second], folder / files[pair.first], images=images)
                compared.write(folder / _report_name(pair))
            except UsageError as error:
                notes.append(f"no report of {pair.first} and {pair.second}: {error}")
        if merged.consensus.names:
            _write_consensus(merged, out)
    if not merged.consensus.names:
        notes.append("no consensus: readers are apart in every picture")
    return notes


def _report_name(pair: Moved) -> str:
    return f"{pair.first}-{pair.second}"


def _label(name: str, points: np.ndarray, schema: Schema) -> Label:
    return Label(name, Path(name), None, Keypoints.from_points(schema, points))


def _write_consensus(merged: Merged, out: Path) -> None:
    found, table, schema = merged.consensus, table_of(merged.schema), merged.schema
    labels = [_label(name, points, schema) for name, points in zip(found.names, found.coords, strict=True)]
    beside = [*(f"{point}_sd_px" for point in schema.points), *found.spreads, READERS]
    with replacing(out) as part, open(part, "w", newline="", encoding="utf-8") as stream:
        writer = Writer(stream)
        writer.writerow([*table.header(labels), *beside])
        for at, label in enumerate(labels):
            spreads = [*found.sds[at], *(values[at] for values in found.spreads.values())]
            texts = ["" if math.isnan(value) else f"{value:.4f}" for value in spreads]
            writer.writerow([label.name, *table.cells(label), *texts, str(found.readers[at])])


def _write_moved(merged: Merged, path: Path) -> None:
    columns = list(merged.moved[0].changes) if merged.moved else []
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = Writer(stream)
        writer.writerow(["Filename", "from", "to", *(f"{point}_px" for point in merged.schema.points), *columns])
        for pair in merged.moved:
            for at, name in enumerate(pair.names):
                values = [*pair.distances[at], *(pair.changes[column][at] for column in columns)]
                writer.writerow([name, pair.first, pair.second, *(as_text(float(value)) for value in values)])


def _write_ties(ties: Sequence[Tie], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = Writer(stream)
        writer.writerow(["Filename", READERS, "points", "apart_px"])
        for tie in ties:
            writer.writerow([tie.name, str(tie.readers), " ".join(tie.points), f"{tie.apart:.4f}"])
