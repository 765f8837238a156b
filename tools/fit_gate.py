"""Fit the gate that withholds numbers, and write it into a copy of an artefact; prints its table as Markdown.

Without --out nothing is fitted, and the table is that of the gate that the artefact has.

It learns from frames without their labels, as they are and with things burnt in, in other looks and cut; from the same
frames mirrored and turned where the network does not turn them back, with the sector cut, or with a structure painted
out (masks say where it was); from half of the patients of HC18, noise and made-up pictures of everyday. MRI slices and
phantoms without anatomy are kept out of the fit. The table counts pictures that were in no fit; frames that stand
otherwise are right where they are turned back and their angle is that of the frame as it stands, within 5 degrees.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import cv2
import gate_pictures as pictures
import numpy as np
from gate_pictures import STOOD, UNSEEN, Picture

from aop_pose.core.frame import Frame
from aop_pose.core.results import Result
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.evaluation.sources import read_truth
from aop_pose.formats.csv_rows import read_list
from aop_pose.geometry import angle_of_progression
from aop_pose.inference.engine import usable_cores
from aop_pose.inference.predictor import Predictor, load
from aop_pose.inference.weights import rewrite
from aop_pose.measuring.ahead import in_order
from aop_pose.measuring.measurer import Measurer, View, two_passes
from aop_pose.trust.gate import Gate, gather
from aop_pose.trust.passes import Passes
from lib.fitting import FRAMES, GOOD, RISK, RISKS, Sample, fit_gate, safest
from lib.ranking import risk_coverage

MADE_OF = 626
"""At most so many frames that pictures of the fit are made of by turning, cutting and painting out."""
BATCH = 8
SAME = 5.0
"""Degrees within which a turned frame gives the angle of the frame as it should stand."""


@attrs.frozen(eq=False)
class Checked:
    """A picture that was in no fit, and what came out."""

    picture: Picture
    result: Result
    trust: float
    """0 where no points were found, or where the picture was unfit."""


def samples_of(measurer: Measurer, given: Iterable[Picture]) -> Iterator[Sample | None]:
    """What the gate may learn from; None for a picture that is withheld without it."""

    def several(group: Sequence[Picture]) -> list[Sample | None]:
        views = [measurer.views(Frame(picture.pixels, source=picture.name))[0] for picture in group]
        seen = [view.seen.pixels for view in views if isinstance(view.seen, Frame)]
        passes = iter(two_passes(measurer.predictor, seen))
        return [
            _sample(picture, view, next(passes)) if isinstance(view.seen, Frame) else None
            for picture, view in zip(group, views, strict=True)
        ]

    yield from itertools.chain.from_iterable(in_order(several, _grouped(given), usable_cores()))


def _grouped(given: Iterable[Picture]) -> Iterator[list[Picture]]:
    rest = iter(given)
    while group := list(itertools.islice(rest, BATCH)):
        yield group


def _sample(picture: Picture, view: View, passes: Passes) -> Sample | None:
    keypoints, second = passes.first.keypoints, passes.second
    seen = view.turned_back(passes.stance).seen
    if not isinstance(seen, Frame) or keypoints is None or not keypoints.complete or keypoints.outside(*seen.shape):
        return None
    if second is None or not second.found.complete or passes.doubtful:
        return None
    return Sample(picture.kind, picture.group, gather(seen.pixels, passes.first, second), passes.stance)


def fit(predictor: Predictor, given: Sequence[Picture], risk: float | None) -> Gate:
    """A gate of that stated risk; None = ``lib.fitting.safest`` of ``RISKS``, each of them printed."""
    found = zip(given, samples_of(Measurer(predictor), given), strict=True)
    # A frame that is turned back as it should be is one that may be measured, and nothing to withhold.
    samples = [one for picture, one in found if one and not (picture.kind in STOOD and one.stance == picture.stance)]
    asked = dict(Counter(picture.kind for picture in given))
    if risk is not None:
        return fit_gate(samples, asked, risk)
    gates = [fit_gate(samples, asked, step) for step in RISKS]
    print("\n".join(map(passing, gates)), flush=True)
    gate = safest(gates)
    if gate is None:
        raise UsageError(f"--risk auto: none of {', '.join(map(str, RISKS))} keeps its rule; name one")
    return gate


def check(predictor: Predictor, given: Sequence[Picture]) -> list[Checked]:
    """Measure as ``aop-pose predict`` does."""
    measurer, gate = Measurer(predictor), predictor.contract.gate
    samples = samples_of(measurer, given)

    def several(group: Sequence[Picture]) -> list[Result]:
        return measurer.results([Frame(picture.pixels, source=picture.name) for picture in group])

    results = itertools.chain.from_iterable(in_order(several, _grouped(given), usable_cores()))
    return [
        Checked(picture, result, 0.0 if sample is None else gate.judge(sample.evidence).trust)
        for picture, result, sample in zip(given, results, samples, strict=True)
    ]


def table(checked: Sequence[Checked]) -> list[str]:
    """Share of each kind that is measured or withheld; of frames that stand otherwise, how many are right."""
    lines = ["| pictures | number | measured | right | withheld |", "| --- | ---: | ---: | ---: | ---: |"]
    kinds = list(dict.fromkeys(one.picture.kind for one in checked))
    good = [kind for kind in GOOD if kind in kinds]
    stood = [kind for kind in STOOD if kind in kinds]
    fitted = [kind for kind in kinds if kind not in (*good, *stood, *UNSEEN)]
    rows = [(kind, [kind]) for kind in (*good, *stood, *fitted)]
    rows += [("**all fitted kinds**", fitted), *((kind, [kind]) for kind in UNSEEN), ("**all unseen kinds**", UNSEEN)]
    as_given = {one.picture.name: one.result for one in checked if one.picture.kind == FRAMES}
    for words, of in rows:
        those = [one for one in checked if one.picture.kind in of]
        measured = sum(one.result.status == "ok" for one in those)
        share = measured / len(those)
        right = str(sum(_is_right(one, as_given[one.picture.name]) for one in those)) if set(of) <= set(stood) else ""
        lines.append(f"| {words} | {len(those)} | {measured} ({share:.1%}) | {right} | {1 - share:.1%} |")
    return lines


def _is_right(one: Checked, as_given: Result) -> bool:
    """True for a turned frame that is measured as the same frame as it should stand is."""
    if one.result.status != "ok" or as_given.keypoints is None or one.result.keypoints is None:
        return False
    angles = [angle_of_progression(*result.keypoints.coords) for result in (one.result, as_given)]
    return one.result.mirrored == one.picture.stance.mirrored and abs(angles[0] - angles[1]) <= SAME


def curve(checked: Sequence[Checked], truth: dict[str, np.ndarray]) -> list[str]:
    """Over thresholds: share of frames measured, their angle error, share of the other pictures measured."""
    good = [one for one in checked if one.picture.kind == FRAMES and one.result.keypoints is not None]
    others = np.array([one.trust for one in checked if one.picture.kind not in (*GOOD, *STOOD)])
    trust = np.array([one.trust for one in good])
    errors = np.array([
        abs(angle_of_progression(*one.result.keypoints.coords) - angle_of_progression(*truth[one.picture.name]))
        for one in good
    ])  # fmt: skip
    over = risk_coverage(trust, errors)
    lines = ["| frames measured | their AoP error | other pictures measured |", "| ---: | ---: | ---: |"]
    for coverage in (1.0, 0.99, 0.98, 0.95, 0.9, 0.75, 0.5):
        least = np.sort(trust)[::-1][int(np.ceil(coverage * len(trust) - 1e-9)) - 1]
        lines.append(f"| {coverage:.0%} | {over.at(coverage):.2f}° | {(others >= least).mean():.2%} |")
    best = risk_coverage(-errors, errors).area
    return [*lines, "", f"AURC of the angle error {over.area:.2f}° (ranked by the error itself {best:.2f}°)."]


def wrong_ones(checked: Sequence[Checked], folder: Path) -> list[str]:
    """Pictures written to look at, frames withheld and others measured; and a line for each."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    wrong = [one for one in checked if (one.picture.kind in (*GOOD, *STOOD)) != (one.result.status == "ok")]
    for number, one in enumerate(sorted(wrong, key=lambda one: one.picture.kind)):
        shown = cv2.cvtColor(one.picture.pixels, cv2.COLOR_GRAY2BGR)
        for x, y in [] if one.result.keypoints is None else one.result.keypoints.coords:
            cv2.circle(shown, (round(x), round(y)), 3, (0, 255, 255), 1)
        cv2.imwrite(str(folder / f"{number:03}.png"), shown)
        lines.append(f"{number:03} {one.picture.kind}, {one.picture.name}: {one.result.reason or 'measured'}")
    return lines


def run(given: argparse.Namespace) -> None:
    predictor = load(given.artefact, threads=1)
    if predictor.schema is not AOP:
        raise UsageError(f"expected an artefact of schema aop, found {predictor.schema.name}: no other gate is known")
    bare = attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"gate": None}))
    data = given.data
    truth = read_truth(data / given.check, AOP)
    judged = predictor
    if given.out is not None:
        names = [name for listed in given.frames for name in read_list(data / listed)]
        if both := sorted(set(names) & set(truth.names)):
            raise UsageError(f"--check: expected frames that are in no list of --frames, found {both[0]} in both")
        learned = [*pictures.of_frames(bare, data, names, 0, MADE_OF), *pictures.head_planes(given.hc18, 0)]
        gate = fit(bare, [*learned, *pictures.made_up(0)], given.risk)
        if given.threshold is not None:
            gate = gate.model_copy(update={"threshold": given.threshold})
        rewrite(given.artefact, predictor.contract.model_copy(update={"gate": gate}), given.out)
        judged = load(given.out, threads=1)
        print("\n".join(words_of(gate, judged.model_id)))
    elif predictor.contract.gate is None:
        raise UsageError(f"--out: expected a file, for {predictor.model_id} has no gate that could be checked")
    shown = [*pictures.of_frames(bare, data, list(truth.names), 1), *pictures.head_planes(given.hc18, 1)]
    checked = check(judged, [*shown, *pictures.made_up(1), *pictures.unseen(given.mri, 1)])
    print("\n".join(table(checked)))
    print("\nRisk over coverage:\n")
    print("\n".join(curve(checked, dict(zip(truth.names, truth.coords, strict=True)))))
    if given.wrong is not None:
        (given.wrong / "list.txt").write_text("\n".join(wrong_ones(checked, given.wrong)) + "\n", encoding="utf-8")


def words_of(gate: Gate, model_id: str) -> list[str]:
    """What a gate learned, for people."""
    coefficients = "; ".join(
        f"{name} {' '.join(f'{one:+.2f}' for one in values)}" for name, values in gate.coefficients.items()
    )
    return [
        f"{model_id}: threshold {gate.threshold:.4f} for a stated risk of {gate.risk:.1%}",
        f"coefficients on standardised signals, added below 0, -1, -2: {coefficients}",
        f"{passing(gate)}\n",
    ]


def passing(gate: Gate) -> str:
    shares = ", ".join(f"{kind} {share:.1%}" for kind, share in gate.fitted["let_through"].items())
    return f"at a stated risk of {gate.risk:.2%} in cross-validation measured: {shares}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/fit_gate.py aop-fast.onnx --data psfhs --hc18 hc18 "
        "--mri fetal_mri --out gated.onnx",
    )
    parser.add_argument("artefact", type=Path, metavar="FILE.onnx")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="images/, masks/ and the lists")
    parser.add_argument("--frames", nargs="+", default=["unlabelled.txt"], metavar="LIST", help="frames to learn from")
    parser.add_argument("--check", default="val.csv", metavar="FILE", help="labelled frames to check on")
    parser.add_argument("--hc18", type=Path, required=True, metavar="DIR")
    parser.add_argument("--mri", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--risk",
        type=lambda text: None if text == "auto" else float(text),
        default=RISK,
        metavar="SHARE|auto",
        help="share of wrong pictures that may get through; auto: the least that in cross-validation measures 99 %% of "
        "frames and 95 %% of marked ones, or the largest that measures 97 %% of frames; in both at most 0.5 %% of "
        "painted heads and 1 %% of each other kind that must not be measured",
    )
    parser.add_argument("--threshold", type=float, help="in the place of the one that the risk gives")
    parser.add_argument("--wrong", type=Path, metavar="DIR", help="write the pictures that came out wrong, to look at")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE.onnx",
        help="the artefact with its gate; without it the gate it has is checked",
    )
    given = parser.parse_args()
    started = time.monotonic()
    try:
        run(given)
    except AopPoseError as error:
        print(f"fit_gate: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"fit_gate: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
