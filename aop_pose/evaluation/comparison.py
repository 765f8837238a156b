"""Two sides compared image by image: ``evaluate``, and everything that its report says, computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.motion import Motion, motion
from aop_pose.core.results import Row, schema_of
from aop_pose.core.schema import Schema, main_quantity
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import Errors, align_interchangeable, frame_errors, rounded, volume_errors
from aop_pose.evaluation.figures import (
    WITH_MISSING,
    Figure,
    Table,
    at_limit,
    counts,
    estimates_of,
    figures_of,
    limits_of,
    slope_tests,
    table_at,
    trends_of,
    twins_of,
)
from aop_pose.evaluation.grouping import (
    AUTO,
    QUALITY_WORDS,
    Examinations,
    Grouping,
    Subset,
    examinations_of,
    subsets_of,
)
from aop_pose.evaluation.match import Matched, file_and_index, match
from aop_pose.evaluation.noise import Noise, Spread, perfect_points
from aop_pose.evaluation.sources import (
    Pictures,
    grids_of,
    grouping_of,
    is_results,
    read_results_rows,
    read_truth,
    table_in,
    volume_of,
)
from aop_pose.geometry import from_mm
from aop_pose.io.folders import DOCUMENT, PARQUET, TABLE
from aop_pose.io.table import read_facts
from aop_pose.provenance import measuring_versions
from aop_pose.stats.bootstrap import LEAST_GROUPS, Estimate, Resampling, too_few

TARGET_COVERAGE = 0.9
"""The share of stated intervals that calibration aims at where nothing else was asked for."""
NO_IMAGE = Estimate(np.nan, None, 0)
"""A figure that no image has."""

PixelsOf = Callable[[int], np.ndarray]
"""Position of a true frame -> its pixels, uint8 (H, W)."""
SheetOf = Callable[[int], np.ndarray]
"""Position of a true volume -> its slices and skeleton with the points of both sides, uint8 BGR (H, W, 3)."""
Draw = Callable[[Volume, Keypoints | None, Keypoints, str], np.ndarray]
"""Draws such a sheet: a volume, its predicted and true points in voxels, and why nothing was predicted."""


@attrs.frozen
class Sides:
    """The names a person has for both sides, and facts of where they come from."""

    results: str
    reference: str
    second_is_a_result: bool = False
    """The reference is another method or reader, not the truth."""
    coverage: float = TARGET_COVERAGE
    """The share of stated intervals that was asked to hold the truth."""


@attrs.frozen(eq=False)
class Comparison:
    """Results (the first side) against the truth, or another results table (the second), and every figure of it."""

    sides: Sides
    matched: Matched
    errors: Errors
    grouping: Grouping
    computed: tuple[Figure, ...]
    """Every figure, with the values that images add to it."""
    estimates: Mapping[str, Estimate]
    """By the name of a figure: its value over the images in which it has one, its interval, and how many they are."""
    twins: Mapping[str, Estimate]
    """By the name of a figure: the same with what is missing counted."""
    n_groups: int
    """Groups with a measured image."""
    withheld: str
    """Why no interval is given, "" where they are."""
    coverage: float
    """Of the intervals of figures."""
    draws: int
    subsets: tuple[Subset, ...]
    quality: np.ndarray | None
    """Contrast of each picture, shape (frames,); None where no pictures were given."""
    motions: Mapping[str, tuple[Motion, Motion]]
    """Predicted and true movement, by the file of a sequence of volumes."""
    notes: tuple[str, ...]
    """One line each: what a reader should know before believing the figures."""
    manifest: Mapping[str, Any]
    """Versions, models and runs behind the numbers (see ``manifest``)."""
    pixels: PixelsOf | None = None
    """The pictures, where they were given."""
    sheets: SheetOf | None = None
    """Pictures of volumes, where somebody draws them."""
    tables: Mapping[str, Mapping[float, Table]] = attrs.field(factory=dict)
    """By ``Quantity.key`` and threshold."""
    noise: Noise | None = None
    """Of the labels, where it is known."""
    examinations: Examinations | None = None
    """Of groups that are examinations, one of them with several images; else None."""
    slope_tests: Mapping[str, float] = attrs.field(factory=dict)
    """By ``Quantity.key``: p-value that differences do not grow with the mean of the two (``stats.trend``)."""

    @classmethod
    def of(
        cls,
        matched: Matched,
        grouping: Grouping,
        *,
        scale: float | None = None,
        quality: np.ndarray | None = None,
        sides: Sides | None = None,
        made_by: Mapping[str, Any] | None = None,
        pixels: PixelsOf | None = None,
        sheets: SheetOf | None = None,
        at: Sequence[float] = (),
        noise: Noise | None = None,
        spread: Spread | None = None,
    ) -> Comparison:
        """Errors, figures with their intervals, subsets and movement of two sides that are matched already.

        Args:
            matched: the two sides.
            grouping: images that are drawn together.
            scale, sides, made_by, pixels, sheets, at: as ``evaluate`` has them.
            quality: one number a frame, (frames,).
            noise: of the labels.
            spread: of the readings that true points are means of.
        """
        if matched.schema.dimensions == 3:
            errors = volume_errors(matched.predicted, matched.truth, matched.diagonals, matched.schema)
        else:
            errors = frame_errors(
                matched.predicted, matched.truth, matched.sizes, scale, matched.schema, matched.millimetres,
                matched.read,
            )  # fmt: skip
        computed = (
            *figures_of(errors, matched.intervals, at),
            *trends_of(errors),
            *(() if noise is None else noise.figures(errors)),
        )
        measured = Resampling(grouping.ids[errors.measured])
        return cls(
            sides=sides or Sides("results", "reference"),
            matched=matched,
            errors=errors,
            grouping=grouping,
            computed=computed,
            estimates=(
                estimates_of(computed, grouping.ids)
                | ({} if noise is None else noise.estimates(errors))
                | ({} if spread is None else perfect_points(spread, errors))
            ),
            twins=twins_of(computed),
            n_groups=measured.n_groups,
            withheld=measured.withheld,
            coverage=measured.coverage,
            draws=measured.draws,
            subsets=tuple(subsets_of(matched, errors, computed, grouping, quality)),
            quality=quality,
            motions=_motions(matched),
            notes=(*matched.notes, *_notes(errors, matched), *filter(None, [grouping.note])),
            manifest=made_by or {},
            pixels=pixels,
            sheets=sheets,
            tables=_tables(errors, matched, at),
            noise=noise,
            examinations=examinations_of(errors, grouping),
            slope_tests=slope_tests(errors, grouping.ids),
        )

    @property
    def figures(self) -> dict[str, Any]:
        """Every entry of ``metrics.json`` but its manifest.

        Figures by name, the promised ones first: ``NAME``, ``NAME_with_missing`` and ``NAME_ci`` = [low, high] or null.
        ``NAME_ci_withheld`` is why there is none, where ``ci_withheld`` does not say it for all figures.
        ``NAME_at_least`` or ``NAME_at_most``: said of a share near 0 or 1 instead, wrong in no more than 5 of 100.
        ``NAME_n`` is how many images a figure is over, where they are not all measured ones, and
        ``NAME_with_missing_n`` where its twin is not over all there are.
        """
        promised: dict[str, Any] = {}
        for name in (one.name for one in self.computed if one.promised):
            estimate = self.estimates.get(name, NO_IMAGE)
            promised |= {name: rounded(estimate.value), **_n_entry(name, estimate, self.n_measured)}
        beside: dict[str, Any] = {}
        for name, twin in self.twins.items():
            key = f"{name}{WITH_MISSING}"
            beside |= {key: rounded(twin.value), **_n_entry(key, twin, len(self.errors.measured))}
        beside |= counts(self.errors)
        entries: dict[str, Any] = {**promised, **(beside if promised else {})}
        for name, estimate in self.estimates.items():
            entries |= _entries(name, estimate, self.n_measured, self.withheld)
        entries |= {f"{key}_slope_p": rounded(value) for key, value in self.slope_tests.items()}
        for quantity in self.errors.quantities:
            for limit, table in self.tables.get(quantity.key, {}).items():
                entries[at_limit(quantity, limit, "counts")] = attrs.asdict(table)
        entries |= beside
        entries |= {
            "n_groups": self.n_groups,
            "groups": self.grouping.words,
            "ci_coverage": self.coverage,
            "ci_draws": self.draws,
            "ci_withheld": self.withheld or None,
        }
        if (exams := self.examinations) is not None:
            found: dict[str, Any] = {"n": exams.n, "n_repeated": exams.n_repeated, "most_images": exams.most}
            for name, estimate in exams.estimates.items():
                found |= _entries(name, estimate, exams.n, too_few(exams.n, LEAST_GROUPS))
            entries["examinations"] = found
        if self.errors.schema.dimensions == 2:
            entries["quality"] = None if self.quality is None else QUALITY_WORDS
            entries["subsets"] = [_subset_entry(subset) for subset in self.subsets]
        return entries | _motion_entry(self.motions)

    @property
    def n_measured(self) -> int:
        """Images that a figure is over where nothing else is said."""
        return int(self.errors.measured.sum())

    def write(self, out: str | Path, decision_curve: bool = False) -> list[Path]:
        """Write what ``aop-pose evaluate`` writes into a folder: ``metrics.json``, ``per_frame.csv``, ``report.html``.

        ``decision_curve`` adds one for each threshold to the page. Volumes of a sequence give ``motion.csv`` too. Each
        file appears only when complete, in the place of an earlier
        one; returns what was written.

        Raises:
            UsageError: ``out`` is a file.
            AopPoseError: the files could not be written.
        """
        from aop_pose.evaluation.report.files import write_report

        return write_report(Path(out), self, decision_curve)


def evaluate(
    results: str | Path | Sequence[Row],
    truth: str | Path,
    *,
    scale: float | None = None,
    group: str = AUTO,
    group_regex: str = "",
    images: str | Path | None = None,
    at: Sequence[float] = (),
    label_sd: float | None = None,
    draw: Draw | None = None,
) -> Comparison:
    """Compare results with the true points, or two readers or methods with each other.

    Args:
        results: ``results.csv``, the folder it is in, a label file, or the rows of such a table.
        truth: a label file (iugc, head-csv, 3-D points), or another ``results.csv``.
        scale: gives pixel errors as if the longer side of each picture had so many pixels; None = as many as it has.
        group: a column of ``truth`` whose equal values (a patient) are drawn together for intervals, or "auto":
            pictures that are nearly the same where ``images`` is given, else each frame alone.
        group_regex: finds the patient in the name of a frame, as its first bracket.
        images: folder of the pictures, or of the volumes (default: where ``truth`` is).
        at: further values of the main quantity (of the angle, in degrees) at which agreement is given.
        label_sd: standard deviation of one reader's values of the main quantity about the true one (of the angle, in
            degrees); else that of repeated readings, or of the columns of a consensus, where ``truth`` has them.
        draw: draws a volume with both sides, as ``aop_pose.draw.volume.volume_sheet`` does, for the page; None = the
            page has no pictures of volumes.

    Returns:
        The comparison: ``.figures`` as in ``metrics.json``, ``.write(out)`` for the files of ``aop-pose evaluate``.

    Raises:
        UsageError: a file, a column or a value that does not fit, or no image that both sides know.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from aop_pose import evaluate
    >>> points = ',"(60, 20)","(20, 20)","(60, 60)"'
    >>> with TemporaryDirectory() as folder:
    ...     truth, mine = Path(folder, "truth.csv"), Path(folder, "mine.csv")
    ...     _ = truth.write_text(f"Filename,PS1,PS2,FH1\\na.png{points}\\nb.png{points}\\n")
    ...     _ = mine.write_text(truth.read_text().replace("(60, 60)", "(60, 65)", 1))
    ...     comparison = evaluate(mine, truth)
    ...     written = comparison.write(Path(folder, "out"))
    >>> comparison.figures["mre_px_fh1"], comparison.figures["aop_mae_deg"], comparison.figures["n"]
    (2.5, 0.0, 2)
    >>> sorted(path.name for path in written)
    ['metrics.json', 'per_frame.csv', 'report.html']
    """
    second = table_in(Path(truth))
    if isinstance(results, str | Path):
        first, words = table_in(Path(results)), str(results)
        rows: Sequence[Row] = read_results_rows(first)
    else:
        first, words, rows = None, f"{len(results)} rows", results
    schema = schema_of(rows)
    _check_at(at, schema)
    reference = read_truth(second, schema)
    pictures, sheets, spread = None, None, reference.spread
    if schema.dimensions == 2:
        pictures = None if images is None else Pictures.of(reference.names, Path(images))
        matched = match(rows, reference, schema, None if pictures is None else pictures.sizes)
    else:
        if scale is not None:
            raise UsageError(
                "--scale: expected results on pictures; errors in volumes are in millimetres, leave it out"
            )
        folder = Path(images) if images else second.parent
        grids = grids_of(reference, folder)
        matched = match(rows, reference, schema, grids=grids)
        sheets = None if draw is None else partial(_sheet, draw, matched, partial(volume_of, reference, folder))
        spread = None if spread is None else spread.in_millimetres(grids.affines, schema)
    made_by = manifest(matched.models, first, second)
    asked = (made_by["results_run"] or {}).get("coverage") or TARGET_COVERAGE
    return Comparison.of(
        matched,
        grouping_of(group, group_regex, reference, pictures),
        scale=scale,
        quality=None if pictures is None else pictures.contrasts,
        sides=Sides(words, str(truth), is_results(second, schema), asked),
        made_by=made_by,
        pixels=None if pictures is None else pictures.pixels,
        sheets=sheets,
        at=at,
        noise=_noise_of(spread, matched, scale, label_sd),
        spread=spread,
    )


def _noise_of(spread: Spread | None, matched: Matched, scale: float | None, label_sd: float | None) -> Noise | None:
    """The noise of the labels of the main quantity: stated, or known from the readings behind them."""
    millimetres, flat = matched.millimetres, matched.schema.dimensions == 2
    compared = [one for one in matched.schema.quantities if not one.needs_outline]
    if flat and millimetres is None:
        compared = [one for one in compared if one.unit != "mm"]
    main = main_quantity(compared)
    if main is None:
        return None
    if label_sd is not None:
        readers = np.ones(len(matched.names)) if spread is None else spread.readers
        return Noise.stated(main, label_sd, readers)
    if spread is None or (millimetres is not None and main.key in millimetres.stated):
        return None
    unit = np.ones(len(matched.names))
    if flat and millimetres is not None and main.unit == "mm":
        unit = millimetres.per_pixel
    elif main.unit == "px" and scale is not None:
        unit = scale / matched.sizes.max(axis=1)
    return Noise.of(main, spread, unit)


def _sheet(draw: Draw, matched: Matched, volumes: Callable[[int], Volume], position: int) -> np.ndarray:
    """A volume as a picture, with what stands on both sides; interchangeable points in the nearer order."""
    volume, schema = volumes(position), matched.schema
    truth = matched.truth[[position]]
    found = align_interchangeable(matched.predicted[[position]], truth, schema)[0]
    result, reference = (Keypoints.from_points(schema, from_mm(volume.affine, points)) for points in (found, truth[0]))
    reason = matched.reasons[position] if matched.reasons else ""
    return draw(volume, result if np.isfinite(found).any() else None, reference, reason)


def _check_at(at: Sequence[float], schema: Schema) -> None:
    main = main_quantity(schema.quantities)
    if at and (schema.dimensions == 3 or main is None):
        raise UsageError(f"--at: expected results on pictures, found points in volumes (schema {schema.name})")
    largest = 180.0 if main is not None and main.unit == "deg" else np.inf
    for limit in at:
        if not 0 < limit < largest:
            raise UsageError(
                f"--at: expected a value above 0{' and below 180 degrees' if largest < np.inf else ''}, found {limit:g}"
            )


def _tables(errors: Errors, matched: Matched, at: Sequence[float]) -> dict[str, dict[float, Table]]:
    found = {
        one.key: {limit: table_at(errors, one, limit, matched.intervals) for limit in limits_of(errors, one, at)}
        for one in errors.quantities
    }
    return {key: tables for key, tables in found.items() if tables}


def _notes(errors: Errors, matched: Matched) -> Iterator[str]:
    if errors.schema.dimensions == 3:
        return
    sizes = np.unique(matched.sizes[np.isfinite(matched.sizes).all(axis=1)], axis=0)
    if errors.scale is None and len(sizes) > 1:
        smallest, *_, largest = sorted(sizes.tolist(), key=max)
        span = f"{smallest[0]:.0f}x{smallest[1]:.0f} to {largest[0]:.0f}x{largest[1]:.0f}"
        yield (
            f"pictures of {len(sizes)} sizes ({span}): pixel errors are means over unlike pixels; "
            "--scale 512 puts them on one"
        )


def _motions(matched: Matched) -> dict[str, tuple[Motion, Motion]]:
    if matched.schema.dimensions == 2:
        return {}
    places: dict[str, list[tuple[int, int]]] = {}
    for position, name in enumerate(matched.names):
        file, index = file_and_index(name)
        places.setdefault(file, []).append((index, position))
    found = {}
    for file, pairs in places.items():
        if len(pairs) > 1:
            indices, rows = np.array(pairs).T
            both = (motion(side[rows], indices, matched.schema.points) for side in (matched.predicted, matched.truth))
            found[file] = next(both), next(both)
    return found


def _entries(name: str, estimate: Estimate, usual: int, said: str) -> dict[str, Any]:
    """``said``: the reason that stands once for all figures."""
    ends = None if estimate.interval is None else [rounded(end) for end in estimate.interval]
    reason = {} if estimate.withheld in ("", said) else {f"{name}_ci_withheld": estimate.withheld}
    bound = (
        {f"{name}_{estimate.bounded.replace(' ', '_')}": rounded(estimate.bound)} if estimate.bound is not None else {}
    )
    return {name: rounded(estimate.value), f"{name}_ci": ends, **reason, **bound, **_n_entry(name, estimate, usual)}


def _n_entry(name: str, estimate: Estimate, usual: int) -> dict[str, int]:
    """The number of images of a figure, where it is not the usual one."""
    return {} if estimate.n is None or estimate.n == usual else {f"{name}_n": estimate.n}


def _subset_entry(subset: Subset) -> dict[str, object]:
    entry: dict[str, object] = {"by": subset.by, "label": subset.label, "n": subset.n}
    entry |= {"n_missing": subset.n_missing, "n_groups": subset.n_groups}
    for name, estimate in subset.estimates.items():
        entry |= _entries(name, estimate, subset.n - subset.n_missing, too_few(subset.n_groups, LEAST_GROUPS))
    return entry


def _motion_entry(motions: Mapping[str, tuple[Motion, Motion]]) -> dict[str, object]:
    """Path of each point over each sequence, predicted and true, in mm."""
    entry = {
        file: {
            point: {"path_mm": rounded(one), "true_path_mm": rounded(other)}
            for point, one, other in zip(found.points, found.paths, true.paths, strict=True)
        }
        for file, (found, true) in motions.items()
    }
    return {"motion": entry} if entry else {}


KEPT = (
    "model", "artefact_sha256", "aop_pose", "python", "onnxruntime", "numpy", "opencv", "device", "started", "schema",
    "image_size", "decode", "threshold", "pixel_size", "calibration", "coverage", "gate", "looks",
    "training_run",
)  # fmt: skip
"""Of the facts in ``results.json``; not the sources, which may be anybody's folders."""


def manifest(models: Sequence[str], results: Path | None, reference: Path) -> dict[str, Any]:
    """The entry ``manifest`` of ``metrics.json``.

    Args:
        models: every model that the scored rows name (``name@first digits of its hash``).
        results: table of the first side, or None; facts are read from the ``results.json`` beside it, if there is one.
        reference: the second side, likewise (a label file has none).
    """
    return {
        "versions": measuring_versions(),
        "models": list(models),
        "results_run": None if results is None else _facts(results),
        "reference_run": _facts(reference),
    }


def _facts(table: Path) -> dict[str, Any] | None:
    facts = read_facts(table.with_name(DOCUMENT)) if table.name in (TABLE, PARQUET) else None
    return None if facts is None else {key: facts[key] for key in KEPT if key in facts}
