"""Rounds of weighted training: pseudo-labels, training on them, better pseudo-labels by the result, training again."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from aop_pose.errors import UsageError
from aop_pose.io.atomic import replacing
from aop_pose.pipelines.run import METRICS, WEIGHTS, RunFolder, read_record
from aop_pose.pipelines.yolo.stages import Stages
from aop_pose.pipelines.yolo.train import train
from aop_pose.pseudo.confidence import CONFIDENCES
from aop_pose.pseudo.frames import Unlabelled
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.read import Origin
from aop_pose.pseudo.run import Cut

ERROR = "val/mre_px"
KEPT_FILES = (METRICS, f"{WEIGHTS}/best.pt", f"{WEIGHTS}/last.pt")


@attrs.frozen
class Labelling:
    """How unlabelled frames get their pseudo-labels in every round."""

    frames: Unlabelled
    rule: Rule
    cut: Cut = attrs.field(factory=Cut)
    facts: dict[str, Any] = attrs.field(factory=dict)
    """Said beside each table."""


@attrs.frozen
class Weighted:
    """How the labelled frames enter every round."""

    labels: str
    init: str
    """Every round starts from these weights, not from those of the round before: rounds then differ by their
    pseudo-labels alone, and what one of them learned wrongly is not kept on (Cascante-Bonilla et al. 2021, Curriculum
    Labeling: restarting avoids that errors accumulate)."""
    options: dict[str, Any]
    """Further arguments of ``train``."""


def weighted_rounds(
    stages: Stages, weighted: Weighted, labelling: Labelling, rounds: int, teacher: Path | None, pseudo: Path | None
) -> dict[int, Path]:
    """Round -> run folder of its training.

    Round 1 trains on the table ``pseudo``, else on the pseudo-labels of ``teacher``; each later one on those that the
    network of the round before gives to the same frames.
    """
    trained: dict[int, Path] = {}
    for number in range(1, rounds + 1):
        table = pseudo if number == 1 else None
        by = trained.get(number - 1, teacher)
        if table is None:
            if by is None:
                raise ValueError("expected a teacher or a table of pseudo-labels, found neither")
            table = stages.label(
                f"pseudo-{number}.csv", by, labelling.frames, labelling.rule, labelling.cut, labelling.facts
            )
        trained[number] = stages.train(
            f"weighted-{number}", train, weighted.labels, weighted.init, pseudo=table, **weighted.options
        )
    return trained


@attrs.frozen
class Choice:
    """Which run of several is kept."""

    round: int
    """0 is pose training without pseudo-labels."""
    run: Path
    why: str
    candidates: list[dict[str, Any]]
    """Round, stage, kept epoch and checked errors of each."""


def choose(runs: Mapping[int, Path]) -> Choice:
    """The run with the least mean radial error on its checking frames; of equals, or unchecked ones, the last."""
    best = {number: read_record(run)["best"] for number, run in runs.items()}
    candidates = [{"round": number, "stage": run.name, **best[number]} for number, run in runs.items()]
    chosen = min(runs, key=lambda number: (_checked(best[number][ERROR]), -number))
    why = "no frame was set aside to compare the stages: the last one"
    if best[chosen][ERROR] is not None:
        why = f"least mean radial error on the checking frames, {best[chosen][ERROR]:.2f} px"
    return Choice(chosen, runs[chosen], why, candidates)


def _checked(error: float | None) -> float:
    return math.inf if error is None else float(error)


def keep(run: RunFolder, choice: Choice) -> dict[str, Any]:
    """Copy what a run folder holds from the chosen stage; returns what run.json says of it."""
    for name in KEPT_FILES:
        with replacing(run.path / name) as part:
            shutil.copyfile(choice.run / name, part)
    chosen = read_record(choice.run)
    same = ("best", "start", "precision", "device", "tensors_transferred", "torch_threads")
    return {
        "chosen": {"round": choice.round, "stage": choice.run.name, "why": choice.why},
        "candidates": choice.candidates,
        **{key: chosen[key] for key in same if key in chosen},
    }


def rule_of(confidence: str | None, origin: Origin | None = None) -> tuple[Rule, Cut]:
    """How frames are labelled: as a table was of which ``origin`` tells, else by default.

    UsageError for a confidence that there is not.
    """
    if confidence is not None and confidence not in CONFIDENCES:
        raise UsageError(f"--confidence: expected one of {', '.join(CONFIDENCES)}, found {confidence!r}")
    origin = origin or Origin()
    return (attrs.evolve(origin.rule, confidence=confidence) if confidence is not None else origin.rule), origin.cut
