"""Fit the gate of a volume artefact and calibrate its intervals by the networks of a cross-validation.

The networks of ``crossval_fetusmap.py`` measure the volumes that each left out (their JSONs) and, here, volumes without
a head: other parts of the same left-out scans, these scans with the head cut out, noise, empty volumes, crude adult
heads (tools/lib/headless.py). --fit-share of those, the first ones of each fold, fits the gate; the others
say how many get through. Asked for are the geometric mean of the peaks of the points that the given share of the
volumes with a head reaches, or more where volumes without one reach it, or a scan whose head was taken to lie
otherwise; and of each point FLOOR of its usual peak. --heads looks at heads that are cut, of a wrong size, or two.
Stored as well: the heads of each fold under a gate that the others fitted. Intervals: conformal over the groups, of
errors on left-out volumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from ablation import guarded, write_result
from crossval_fetusmap import finished, folder_of, opened, read, read_otherwise

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Prediction
from aop_pose.core.schema import Schema
from aop_pose.errors import UsageError
from aop_pose.evaluation.errors import align_interchangeable
from aop_pose.formats.label import Label
from aop_pose.geometry import opposite
from aop_pose.inference.engine import Network
from aop_pose.inference.volume_predictor import VolumePredictor
from aop_pose.inference.weights import load, rewrite
from aop_pose.pipelines.config import precision_of
from aop_pose.trust.gate import VolumeGate, mean_peak
from aop_pose.trust.intervals import DEFAULT_COVERAGE, PLAIN, Calibration
from lib.conformal import Errors, effective_groups, joined, radii_on, scores_of
from lib.headless import AROUND_MM, around, cut_through, made_up, of_scan, side_by_side, wrong_size

ELSEWHERE_MM = 30.0
"""A head of which a point is found farther off was taken to lie elsewhere, or otherwise."""
OFF_MM = 15.0
"""A measurement of which a point is farther off is wrong."""
MIDDLE = 0
"""Which of the points is the middle of a head."""
CLEAR_MM = 25.0
"""Of a fetal head between its middle and the edge of a volume: heads of 27 weeks have a half width of 33 mm, and an
eye lies 28 mm from the middle of the brain at least."""
SECOND = 0.8
"""Share of a score from which a second place makes a volume ambiguous."""
FLOOR = 0.4
"""Share of its usual peak that each point is asked for: the others must not make up for one that is not there."""
MARGIN = 0.25
"""Distances of points may be less than the least labelled one, and more than the greatest, by this share."""


@attrs.frozen
class Seen:
    """What is left of a prediction: its kind, the peaks, the distances of its points, and the rival."""

    kind: str
    scores: list[float]
    distances: list[float]
    rival: float
    fold: int = -1
    """Whose network saw it."""
    edges: list[float] = attrs.field(factory=list)
    """Millimetres of each point from the edge of the volume."""
    beyond: float = 1000.0
    """Millimetres from the edge of what lies opposite of the middle point (``geometry.opposite``)."""
    unfit: str = ""
    """Why the network need not look (``VolumeGate.unfit``)."""
    second: list[float] = attrs.field(factory=list)
    """Peaks at the surest place that shares no point; none where there is none."""
    second_distances: list[float] = attrs.field(factory=list)
    mm: list[float] = attrs.field(factory=list)
    """Errors of the points, where the volume has labels; the eyes in the nearer order."""


def seen(kind: str, found: Prediction, volume: Volume, pairs: list[tuple[int, int]], fold: int) -> Seen:
    """Of a prediction; a point that was not found has a peak of 0."""
    if found.keypoints is None:
        return Seen(kind, [], [], 0.0, fold)
    coords = found.keypoints.coords
    scores = np.nan_to_num(found.keypoints.scores).round(5).tolist()
    beyond = float(np.nan_to_num(volume.edges_mm(opposite(coords, MIDDLE)[None])[0]).round(1))
    apart, edges = _apart(volume.to_mm(coords), pairs), volume.edges_mm(coords).round(1).tolist()
    told = Seen(kind, scores, apart, round(found.rival, 4), fold, edges, beyond)
    if found.beside is None:
        return told
    peaks = np.nan_to_num(found.beside.scores).round(5).tolist()
    return attrs.evolve(told, second=peaks, second_distances=_apart(volume.to_mm(found.beside.coords), pairs))


def _apart(points: np.ndarray, pairs: list[tuple[int, int]]) -> list[float]:
    return [round(float(np.linalg.norm(points[one] - points[other])), 2) for one, other in pairs]


def in_bfloat16(network: Network, inputs: np.ndarray, *stage: int) -> np.ndarray:
    """The answer of a trained network in bfloat16: half the time where a processor multiplies it, and peaks that
    differ in the third digit."""
    with torch.autocast("cpu", torch.bfloat16):
        return np.asarray(network(inputs, *stage), np.float32)


def without_head(options: argparse.Namespace, pairs: list[tuple[int, int]]) -> list[Seen]:
    """What the networks see in volumes without a head; kept in a file, so that a fit can be repeated."""
    if options.fold is None and (kept := sorted(options.results.glob("without_head*.json"))):
        return [Seen(**one) for file in kept for one in json.loads(file.read_text(encoding="utf-8"))]
    gate = load(options.artefact).contract.gate
    file = options.results / f"without_head{'' if options.fold is None else options.fold}.json"
    labelled, schema, folds = read(options)
    found: list[Seen] = []

    def look(predictor: VolumePredictor, kind: str, volume: Volume, true_mm: np.ndarray | None = None) -> None:
        if unfit := gate.unfit(volume):
            found.append(Seen(kind, [], [], 0.0, fold, unfit=unfit))
        else:
            points = predictor.find(volume)
            told = seen(kind, points, volume, pairs, fold)
            if true_mm is not None and points.keypoints is not None:
                told = attrs.evolve(told, mm=off_by(volume.to_mm(points.keypoints.coords), true_mm, schema))
            found.append(told)
        print(f"{len(found)} {kind}: {found[-1]}", file=sys.stderr, flush=True)
        write_result(file, [attrs.asdict(one) for one in found])  # type: ignore[arg-type]

    for fold in range(options.folds) if options.fold is None else [options.fold]:
        predictor, _ = read_otherwise(opened(folder_of(options.runs, fold) / "run"), options.set)
        if precision_of("auto", "cpu") == "bf16":
            predictor = attrs.evolve(predictor, network=partial(in_bfloat16, predictor.network))
        own = [(number, one) for number, one in enumerate(labelled) if folds[number] == fold]
        if options.heads:
            for place, (number, one) in enumerate(own):
                look_at_heads(partial(look, predictor), one, own[place - 1][1], schema, number)
        # One of each scan and some made-up ones in turn, so that one may stop early.
        share = options.made_up // max(1, options.per_scan)
        sources = [made_up(options.per_scan, (options.seed * 100 + fold) * 100 + part) for part in range(share)]
        for number, one in own:
            volume = one.volume()
            head = volume.to_mm(one.points_of(schema)[0])
            sources.append(of_scan(volume, head, options.per_scan, (options.seed, number)))
        for kind, volume in chain.from_iterable(zip(*sources, strict=True)):
            look(predictor, kind, volume)
    return found


def off_by(points_mm: np.ndarray, true_mm: np.ndarray, schema: Schema) -> list[float]:
    """Millimetres of each of the points (n, 3) from the true ones, interchangeable ones in the nearer order."""
    aligned = align_interchangeable(points_mm[None], true_mm[None], schema)[0]
    off: list[float] = np.nan_to_num(np.linalg.norm(aligned - true_mm, axis=1), nan=1e3).round(1).tolist()
    return off


def look_at_heads(look: Callable[..., None], one: Label, other: Label, schema: Schema, number: int) -> None:
    """The head itself, cut through, at a wrong size, and beside another one."""
    volume, beside, draw = one.volume(), other.volume(), np.random.default_rng([number, 2])
    points = volume.to_mm(one.points_of(schema))
    look("head", around(volume, points[0], AROUND_MM)[0], points)
    look("head cut through", cut_through(volume, points[0], draw), points)
    look("wrong size", wrong_size(volume, points[0], draw))
    look("two heads", side_by_side(volume, points[0], beside, beside.to_mm(other.points_of(schema)[0])))


def two_heads(given: argparse.Namespace) -> str:
    """Pairs of scans side by side, and the first of each alone, behind the gate of the artefact.

    Without and with what it asks of the surest place that shares no point; by the artefact's network or, with --fold,
    by that of a fold, on the scans that it left out.
    """
    labelled, schema, folds = read(given)
    predictor = artefact = load(given.artefact)
    if given.fold is not None:
        labelled = [one for one, fold in zip(labelled, folds, strict=True) if fold == given.fold]
        predictor = opened(folder_of(given.runs, given.fold) / "run")
    gate, lines = artefact.contract.gate, ["| scan | beside | without | with |", "| --- | --- | --- | --- |"]
    for pair in range(given.pairs):
        first = pair * len(labelled) // given.pairs
        one, other = labelled[first], labelled[(first + len(labelled) // 2) % len(labelled)]
        volume, beside = one.volume(), other.volume()
        middles = [of.to_mm(label.points_of(schema)[0]) for of, label in ((volume, one), (beside, other))]
        for name, seen_in in ((other.name, side_by_side(volume, middles[0], beside, middles[1])), ("alone", volume)):
            found = predictor.find(seen_in)
            told = [found.reason] * 2
            if found.keypoints is not None:
                told = [gate.judge(some, seen_in) for some in (attrs.evolve(found, beside=None), found)]
            lines.append(" | ".join([f"| {one.name}", name, *(why or "measured" for why in told)]) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


WITH_HEAD = ("head", "head cut through", "wrong size", "two heads")
"""Kinds that ``--heads`` adds: right, or not measured."""


def fit(
    real: list[Seen],
    others: list[Seen],
    names: list[str],
    distances: np.ndarray,
    given: argparse.Namespace,
    missed: Sequence[Seen] = (),
) -> VolumeGate:
    """The gate, with what it does to those of ``others`` that did not fit it.

    ``real``: heads that were found. ``missed``: those that were taken to lie elsewhere; they fit it too.
    """
    first = round(given.fit_share * len(others))
    fitting, checking = [*others[:first], *missed], others[first:]
    peaks = np.array([one.scores or [0.0] * len(names) for one in real])
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    within = [
        (
            names[j],
            names[i],
            round((1 - MARGIN) * float(np.nanmin(some)), 1),
            round((1 + MARGIN) * float(np.nanmax(some)), 1),
        )
        for (i, j), some in zip(pairs, distances.T, strict=True)
    ]
    usual = np.median(peaks, axis=0)
    for unit in given.schema.interchangeable:
        # Of points that are not told apart the surer one stands first: both are asked for what the other one has.
        indices = given.schema.indices(unit)
        usual[list(indices)] = np.median(peaks[:, indices].min(axis=1))
    gate = VolumeGate(
        least={name: round(FLOOR * float(peak), 4) for name, peak in zip(names, usual, strict=True)},
        within_mm=within, clear_mm=given.clear_mm, rival=SECOND, risk=0.5, fitted={},
    )  # fmt: skip
    reached = max((mean_peak(np.array(one.scores)) for one in fitting if passes(gate, one, names)), default=0.0)
    lowest = float(np.quantile([mean_peak(some) for some in peaks], 1 - given.pass_share))
    gate = gate.model_copy(update={"together": round(max(lowest, 1.05 * reached), 4)})
    told = told_by_kind(gate, checking, names)
    through, judged = (sum(row[key] for row in told.values()) for key in ("measured", "of"))
    facts: dict[str, Any] = {
        "volumes_with_a_head": len(real), "of_them_measured": sum(passes(gate, one, names) for one in real),
        "heads_taken_elsewhere": len(missed), "of_these_measured": sum(passes(gate, one, names) for one in missed),
        "volumes_without_a_head": judged, "of_them_measured_all_the_same": through, "by_kind": told,
        "fitted_on": len(fitting), "networks_of_folds": sorted({one.fold for one in others}),
    }  # fmt: skip
    return gate.model_copy(update={"risk": round((through + 1) / (judged + 2), 4), "fitted": facts})


def told_by_kind(gate: VolumeGate, some: Sequence[Seen], names: list[str]) -> dict[str, dict[str, int]]:
    """Of each kind how many there are, how many are measured, and how many of these are wrong where that is known."""
    told: dict[str, dict[str, int]] = {}
    for one in some:
        row = told.setdefault(one.kind, {"of": 0, "measured": 0, "wrong": 0})
        row["of"] += 1
        if passes(gate, one, names):
            row["measured"] += 1
            row["wrong"] += max(one.mm, default=0.0) > OFF_MM
    return told


def fit_of(
    everything: Sequence[Seen], others: list[Seen], names: list[str], distances: np.ndarray, given: argparse.Namespace
) -> VolumeGate:
    """``fit`` of scans of heads, found and missed."""
    found, missed = ([one for one in everything if one.kind == kind] for kind in ("head", "missed"))
    return fit(found, others, names, distances, given, missed)


def by_fold(
    everything: Sequence[Seen], others: list[Seen], names: list[str], distances: np.ndarray, given: argparse.Namespace
) -> dict[str, dict[str, int]]:
    """``told_by_kind`` of the heads of each fold under a gate that the others fitted, found heads and missed ones."""
    told: dict[str, dict[str, int]] = {}
    for fold in sorted({one.fold for one in everything}):
        rest = [[one for one in some if one.fold != fold] for some in (everything, others)]
        gate = fit_of(rest[0], rest[1], names, distances, given)
        for kind, row in told_by_kind(gate, [one for one in everything if one.fold == fold], names).items():
            total = told.setdefault(kind, dict.fromkeys(row, 0))
            told[kind] = {key: total[key] + count for key, count in row.items()}
    return told


def passes(gate: VolumeGate, one: Seen, names: list[str]) -> bool:
    """Whether a number would be given: every peak is high enough, every distance likely."""
    if one.unfit or not _sure(gate, one.scores, one.distances, names):
        return False
    edges = dict(zip(names, one.edges, strict=True)) if one.edges else {}
    if one.rival >= gate.rival or _sure(gate, one.second, one.second_distances, names):
        return False
    return not any(min(edges.get(name, least), one.beyond) < least for name, least in gate.clear_mm.items())


def _sure(gate: VolumeGate, scores: Sequence[float], distances: Sequence[float], names: list[str]) -> bool:
    """Whether points with these peaks and distances are believed, wherever they lie."""
    if not scores or any(score < gate.least[name] for name, score in zip(names, scores, strict=True)):
        return False
    likely = all(low <= far <= high for (_, _, low, high), far in zip(gate.within_mm, distances, strict=True))
    return likely and mean_peak(np.array(scores)) >= gate.together


def calibrate(
    labelled: list[Label], done: list[dict[str, Any]], kept: dict[str, bool], given: argparse.Namespace
) -> Calibration:
    """Intervals of the lengths, from the errors on left-out volumes that the gate lets through."""
    volumes = {name: one for fold in done for name, one in fold["volumes"].items()}
    chosen = [one for one in labelled if kept[one.name]]
    groups = np.unique([str(one.extras[given.group]) for one in chosen], return_inverse=True)[1]
    quantities = {}
    for quantity in (one for one in given.schema.quantities if one.interval):
        gaps = np.abs([volumes[one.name]["quantities"][quantity.key] for one in chosen])
        errors = Errors(gaps, np.ones(len(gaps)), groups)
        radii = np.empty(len(gaps))
        for group in np.unique(groups):
            out = groups == group
            radii[out] = radii_on(joined([errors.of(~out)]), errors.difficulty[out], given.coverage)
        facts = {
            "target": given.coverage, "achieved": round(float((gaps <= radii).mean()), 4),
            "mean_width": round(2 * float(radii.mean()), 3), "groups_worth": round(effective_groups(groups), 1),
            "how": "each group by the others",
        }  # fmt: skip
        quantities[quantity.column] = scores_of(errors, PLAIN).model_copy(update={"measured": facts})
    return Calibration(
        data=given.data.resolve().name,
        frames=len(chosen),
        groups=len(np.unique(groups)),
        coverage=given.coverage,
        quantities=quantities,
    )


def run(given: argparse.Namespace) -> None:
    started = time.monotonic()
    labelled, schema, _ = read(given)
    given.schema = schema
    if given.pairs:
        print(two_heads(given))
        return
    names = list(schema.points)
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    if given.fold is not None:
        without_head(given, pairs)
        return
    done = finished(given.results)
    if len(done) != given.folds:
        raise UsageError(f"--results: expected {given.folds} finished folds, found {len(done)}")
    volumes = {name: one for fold in done for name, one in fold["volumes"].items()}
    distances = np.array([_apart(one.volume().to_mm(one.points_of(schema)), pairs) for one in labelled])
    real: dict[str, Seen] = {}
    fold_of = {name: fold["fold"] for fold in done for name in fold["volumes"]}
    for one in labelled:
        told = volumes[one.name]
        points = (
            np.full((len(names), 3), np.nan) if told["points"] is None else one.volume().to_mm(np.array(told["points"]))
        )
        kind = "head" if max(told["mm"]) < ELSEWHERE_MM else "missed"
        edges, beyond = [], 0.0
        if told["points"]:
            coords = np.array(told["points"])
            edges = one.volume().edges_mm(coords).tolist()
            beyond = float(one.volume().edges_mm(opposite(coords, MIDDLE)[None])[0])
        apart, fold = _apart(points, pairs), fold_of[one.name]
        real[one.name] = Seen(kind, told["scores"] or [], apart, told["rival"], fold, edges, beyond, mm=told["mm"])
    everything, looked_at = list(real.values()), without_head(given, pairs)
    others = [one for one in looked_at if one.kind not in WITH_HEAD]
    given.clear_mm = {names[MIDDLE]: CLEAR_MM}
    gate = fit_of(everything, others, names, distances, given)
    facts = {
        **gate.fitted, "each_fold_by_the_others": by_fold(everything, others, names, distances, given),
        "with_a_head": told_by_kind(gate, [one for one in looked_at if one.kind in WITH_HEAD], names),
    }  # fmt: skip
    gate = gate.model_copy(update={"fitted": facts})
    kept = {name: passes(gate, some, names) for name, some in real.items()}
    calibration = calibrate(labelled, done, kept, given)
    print(json.dumps({"gate": gate.model_dump(), "calibration": calibration.facts}, indent=1))
    contract = load(given.artefact).contract.model_copy(update={"gate": gate, "calibration": calibration})
    print(f"{rewrite(given.artefact, contract, given.out).model_id}: {given.out}", file=sys.stderr)
    print(f"volume_guards: {time.monotonic() - started:.0f} s", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, help="folder with the label file and volumes/")
    parser.add_argument("--labels", default="labelled.csv")
    parser.add_argument("--group", default="ga_weeks", help="column whose equal values stay in one fold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fold", type=int, help="only look at the volumes without a head of this fold")
    parser.add_argument("--runs", type=Path, required=True, help="as crossval_fetusmap.py has it")
    parser.add_argument("--results", type=Path, required=True, help="as crossval_fetusmap.py has it")
    parser.add_argument(
        "--per-scan", type=int, default=4, help="volumes without a head of each scan, other parts and cut out"
    )
    parser.add_argument("--pairs", type=int, default=0, help="only look at so many pairs of heads side by side")
    parser.add_argument("--heads", action="store_true", help="look at the heads too: whole, cut, of a wrong size, two")
    parser.add_argument(
        "--made-up", type=int, default=8, help="made-up volumes of each fold, in multiples of --per-scan"
    )
    parser.add_argument(
        "--fit-share", type=float, default=1 / 3, help="of the volumes without a head, the first, that fits"
    )
    parser.add_argument("--pass-share", type=float, default=0.95, help="of the volumes with a head, at most")
    parser.add_argument("--coverage", type=float, default=DEFAULT_COVERAGE, help="that the artefact states by itself")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as crossval_fetusmap.py --again"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.onnx")
    return guarded("volume_guards", partial(run, parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
