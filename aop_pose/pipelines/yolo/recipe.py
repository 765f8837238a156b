"""Several trainings in one run folder: ``--recipe progressive``, and ``--pseudo FILE`` with ``--rounds N``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.label import Label, resolve
from aop_pose.inference.predictor import Predictor
from aop_pose.pipelines.config import changed
from aop_pose.pipelines.data import split_frames
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RunFolder, Stages, choose, fingerprint, keep, outside, split_files
from aop_pose.pipelines.yolo.config import METHOD, YoloConfig
from aop_pose.pipelines.yolo.report import write_page
from aop_pose.pipelines.yolo.stages import choose_segmenter, labels_of, read_examples, train_boxes, train_pose
from aop_pose.pseudo.chosen import find_pseudo
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, Origin, Unlabelled, tabled_frames, unlabelled_frames
from aop_pose.pseudo.signals import CONFIDENCES


def teacher_of(run: Path, device: str) -> Predictor:
    """The network of a run folder, which labels frames."""
    from aop_pose.pipelines.yolo.network import predictor

    return predictor(run, device)


@attrs.frozen
class Labelling:
    """The way unlabelled frames get their pseudo-labels in every round."""

    frames: Unlabelled
    rule: Rule
    cut: Cut = attrs.field(factory=Cut)
    facts: dict[str, Any] = attrs.field(factory=dict)
    """Said beside each table."""


@attrs.frozen
class Weighted:
    """The way the labelled frames enter every round."""

    labels: str
    init: str
    """Every round starts from these weights, not from those of the round before: rounds then differ by their
    pseudo-labels alone, and what one of them learned wrongly is not kept on (Cascante-Bonilla et al. 2021, Curriculum
    Labeling: restarting avoids that errors accumulate)."""
    options: dict[str, Any]
    """Further arguments of ``train_pose``."""


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
            network, device = by, stages.job.predicts_on
            table = stages.label(
                f"pseudo-{number}.csv", partial(teacher_of, network, device), [network], labelling.frames,
                labelling.rule, labelling.cut, labelling.facts,
            )  # fmt: skip
        trained[number] = stages.train(
            f"weighted-{number}", train_pose, weighted.labels, weighted.init, pseudo=table, **weighted.options
        )
    return trained


def rule_of(confidence: str | None, origin: Origin | None = None) -> tuple[Rule, Cut]:
    """The rule by which frames are labelled: as a table was of which ``origin`` tells, else by default.

    UsageError for a confidence that there is not.
    """
    if confidence is not None and confidence not in CONFIDENCES:
        raise UsageError(f"--confidence: expected one of {', '.join(CONFIDENCES)}, found {confidence!r}")
    origin = origin or Origin()
    return (attrs.evolve(origin.rule, confidence=confidence) if confidence is not None else origin.rule), origin.cut


PROGRESSIVE, REFINED = "progressive", "refined"
RECIPES = (PROGRESSIVE, REFINED)
"""``progressive`` with the preset ``paper`` is the paper as it is written, ``refined`` with any preset what serves
better here; with other presets they are one."""
WRITTEN = {"box_loss": "mse", "keypoint_loss": "mse", "weighted_terms": "points-only"}
"""Equations 10, 12 and 13 as settings; what ``--set`` says stays."""


@attrs.frozen(eq=False)
class Labelled:
    """The labelled frames, those that train and those that compare epochs and stages."""

    training: list[Label]
    checking: list[Label]
    chosen_by: str
    names: list[str]
    """Of every frame of the label file."""

    @classmethod
    def read(cls, job: Job, val: str | None, config: YoloConfig) -> Labelled:
        """As ``train`` will read them; UsageError says what does not fit."""
        labelled = labels_of(job, job.labels)
        given = labels_of(job, val) if val is not None else None
        training, checking = split_frames(labelled, given, config.holdout, job.seed)
        read_examples([*training, *checking])
        by = "--val" if given else "held-out groups of the labels" if checking else "the last epoch and stage"
        return cls(training, checking, by, [frame.name for frame in labelled])

    def facts(self, unlabelled: Unlabelled) -> dict[str, Any]:
        frames = [*self.training, *self.checking]
        parts = [part for frame in frames for part in (frame.path.read_bytes(), frame.points.tobytes())]
        parts += [entry.source.encode() for entry in unlabelled.entries]
        return {
            "frames": len(self.training), "checked_frames": len(self.checking),
            "unlabelled_frames": len(unlabelled.entries), "chosen_by": self.chosen_by,
            "fingerprint": fingerprint(parts),
        }  # fmt: skip


def train_by_recipe(
    job: Job,
    config: YoloConfig,
    *,
    recipe: str,
    val: str | None = None,
    frames: str | Path | None = None,
    segmenter: str = "auto",
    confidence: str | None = None,
    rounds: int = 1,
    dynamic: bool = False,
) -> dict[str, Any]:
    """Li et al.'s whole method: strokes, boxes, detection pre-training, pose, pseudo-labels, weighted training.

    As they write it (``RECIPES``), the boxes are learned beside the points too (equation 11, alpha = 1, since the paper
    gives it no number), losses are squared errors, and the confidence is that of equation 14.

    Everything that can be known to be wrong is said before anything is written. The frames that compare epochs and
    stages are set aside once, and no stage trains on them, the boxes' included.

    Args:
        job: data and run folder; ``init`` is where the detector starts from.
        config: the settings of every stage.
        recipe: one of ``RECIPES``.
        val: label file of the frames that choose epochs and the stage that is kept; else a share of the labels does.
        frames: list of the frames without labels; else all pictures below the data that neither file names.
        segmenter: a name of ``scribbles.segmenters``.
        confidence: a name of ``pseudo.signals.CONFIDENCES``; None = its default.
        rounds: how often frames are labelled and trained on.
        dynamic: weights are computed anew in every epoch.

    Returns what run.json says. The kept stage is the one with the least mean radial error; pose training without
    pseudo-labels is among them, so that these are only used where they help.

    Raises:
        UsageError: an argument, file or setting does not fit, and nothing was written.
        AopPoseError: a stage broke off, or kept no frame.
    """
    if recipe not in RECIPES:
        raise UsageError(f"--recipe: expected one of {', '.join(RECIPES)}, found {recipe!r}")
    written = recipe == PROGRESSIVE and job.preset == "paper"
    if written:
        typed = changed(job.changes).keys()
        config = config.model_copy(update={key: value for key, value in WRITTEN.items() if key not in typed})
    _check_start(job, config)
    labelled = Labelled.read(job, val, config)
    rule, cut = rule_of(confidence or ("paper" if written else None))
    choose_segmenter(segmenter)
    unlabelled = outside(
        unlabelled_frames(job.data, frames, [job.labels, *([val] if val is not None else [])]), job.out
    )
    about = {
        "recipe": recipe, "labels": job.labels, "val": val, "list": _text(frames), "segmenter": segmenter,
        "confidence": rule.confidence, "rounds": rounds, "dynamic": dynamic, **labelled.facts(unlabelled),
    }  # fmt: skip
    facts = {"seed": job.seed, "stage": "train", "schema": AOP.name, "data": about}
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)

    def carry_on(stages: Stages) -> dict[int, Path]:
        labels, checks = split_files(stages.folder, job.labels, val, labelled.training, labelled.checking)
        boxes = stages.train("boxes", train_boxes, labels, job.init, segmenter=segmenter)
        beside = {"boxes": boxes / "boxes"} if written else {}
        pose = stages.train("pose", train_pose, labels, str(boxes), val=checks, **beside)
        labelling = Labelling(unlabelled, rule, cut, {"images": str(job.data), "list": _text(frames)})
        weighted = Weighted(labels, str(pose), {"val": checks, "dynamic": dynamic, **beside})
        return {0: pose, **weighted_rounds(stages, weighted, labelling, rounds, pose, None)}

    return _run(job, config, run, carry_on)


def train_in_rounds(
    job: Job,
    config: YoloConfig,
    *,
    pseudo: str | Path,
    val: str | None = None,
    boxes: Path | None = None,
    dynamic: bool = False,
    frames: str | Path | None = None,
    confidence: str | None = None,
    rounds: int = 2,
) -> dict[str, Any]:
    """``train --pseudo`` several times: each further round trains on labels by the network of the round before.

    Arguments as of ``train_pose``; further ``confidence`` (a name of ``pseudo.signals.CONFIDENCES``) weighs the frames
    that are labelled again, None = as the table says that it was made. Returns what run.json says.

    Raises:
        UsageError: an argument, file or setting does not fit, and nothing was written.
        AopPoseError: a round broke off, or kept no frame.
    """
    _check_start(job, config)
    labelled = Labelled.read(job, val, config)
    table = resolve(pseudo, job.data)
    # Without --val the checking frames stand in --labels too.
    others = {"--labels": labelled.training, "--val" if val is not None else "--labels, set aside": labelled.checking}
    found = find_pseudo(table, job.data, frames, others)
    named = [job.labels, *([val] if val is not None else [])]
    # Of a list only its own frames are trained on, so others need no new labels.
    again = unlabelled_frames(job.data, frames, named) if frames else tabled_frames(job.data, table, named)
    rule, cut = rule_of(confidence, found.origin)
    if boxes is not None:
        from aop_pose.pipelines.yolo.boxes import add_boxes

        # Only to learn now whether they fit.
        add_boxes(read_examples(labelled.training), labelled.names, boxes)
    about = {
        "labels": job.labels, "val": val, "pseudo": str(pseudo), "list": _text(frames), "boxes": _text(boxes),
        "confidence": rule.confidence, "rounds": rounds, "dynamic": dynamic, **labelled.facts(again),
    }  # fmt: skip
    facts = {"seed": job.seed, "stage": "train", "schema": AOP.name, "data": about}
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)
    options = {"val": val, "boxes": boxes, "dynamic": dynamic, "frames": frames}
    labelling = Labelling(again, rule, cut, {"images": str(job.data), "list": _text(frames)})
    weighted = Weighted(job.labels, job.init, options)
    return _run(job, config, run, lambda stages: weighted_rounds(stages, weighted, labelling, rounds, None, table))


def _run(
    job: Job, config: YoloConfig, run: RunFolder, carry_on: Callable[[Stages], Mapping[int, Path]]
) -> dict[str, Any]:
    """All stages, then the run folder of the best of the runs that ``carry_on`` gives, and the page."""
    choice = choose(carry_on(Stages(job, config, run)))
    run.save(**keep(run, choice))
    job.say(f"kept: stage {choice.run.name} ({choice.why})")
    job.say(f"report: {write_page(run.path)}")
    run.finish()
    return run.record


def _check_start(job: Job, config: YoloConfig) -> None:
    """UsageError where batches cannot be halved, or first weights are not there or do not fit the network."""
    from aop_pose.pipelines.isolation import isolate

    isolate()
    from aop_pose.pipelines.data import check_halves
    from aop_pose.pipelines.start import find_start
    from aop_pose.pipelines.yolo.network import transfer

    check_halves(config.batch)
    transfer(find_start(job.init, config.model), config.model)


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
