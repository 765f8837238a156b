"""``train --recipe progressive`` and ``train --pseudo FILE --rounds N``: several stages in one run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from aop_pose.errors import UsageError
from aop_pose.formats.iugc import read_iugc, write_iugc
from aop_pose.formats.labels import LabelledFrame, resolve
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.frames import split_frames
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RunFolder, fingerprint
from aop_pose.pipelines.yolo.config import DEFAULT_PRESET, PRESETS, YoloConfig
from aop_pose.pipelines.yolo.pretrain import choose_segmenter, pretrain
from aop_pose.pipelines.yolo.pseudo import find_pseudo
from aop_pose.pipelines.yolo.recipe_page import write_page
from aop_pose.pipelines.yolo.rounds import Labelling, Weighted, choose, keep, rule_of, weighted_rounds
from aop_pose.pipelines.yolo.stages import Stages
from aop_pose.pipelines.yolo.train import read_examples, train
from aop_pose.pseudo.frames import Unlabelled, tabled_frames, unlabelled_frames
from aop_pose.schemas import AOP

PROGRESSIVE = "progressive"
RECIPES = (PROGRESSIVE,)


@attrs.frozen(eq=False)
class Labelled:
    """The labelled frames, those that train and those that compare epochs and stages."""

    training: list[LabelledFrame]
    checking: list[LabelledFrame]
    chosen_by: str
    names: list[str]
    """Of every frame of the label file."""

    @classmethod
    def read(cls, job: Job, val: str | None, config: YoloConfig) -> Labelled:
        """As ``train`` will read them; UsageError says what does not fit."""
        labelled = read_iugc(resolve(job.labels, job.data), job.data)
        given = read_iugc(resolve(val, job.data), job.data) if val is not None else None
        training, checking = split_frames(labelled, given, config.holdout, job.seed)
        read_examples([*training, *checking])
        by = "--val" if given else "held-out groups of the labels" if checking else "the last epoch and stage"
        return cls(training, checking, by, [frame.filename for frame in labelled])

    def facts(self, unlabelled: Unlabelled) -> dict[str, Any]:
        frames = [*self.training, *self.checking]
        parts = [part for frame in frames for part in (frame.path.read_bytes(), frame.keypoints.coords.tobytes())]
        parts += [entry.source.encode() for entry in unlabelled.entries]
        return {
            "frames": len(self.training), "checked_frames": len(self.checking),
            "unlabelled_frames": len(unlabelled.entries), "chosen_by": self.chosen_by,
            "fingerprint": fingerprint(parts),
        }  # fmt: skip


def train_by_recipe(
    job: Job,
    recipe: str,
    val: str | None = None,
    listed: str | Path | None = None,
    segmenter: str = "auto",
    confidence: str | None = None,
    rounds: int = 1,
    dynamic: bool = False,
) -> dict[str, Any]:
    """Li et al.'s whole method: strokes, boxes, detection pre-training, pose, pseudo-labels, weighted training.

    Everything that can be known to be wrong is said before anything is written. The frames that compare epochs and
    stages are set aside once, and no stage trains on them, the boxes' included.

    Args:
        job: data, settings (of every stage) and run folder; ``init`` is where the detector starts from.
        recipe: one of ``RECIPES``.
        val: label file of the frames that choose epochs and the stage that is kept; else a share of the labels does.
        listed: list of the frames without labels; else all pictures below the data that neither file names.
        segmenter: a name of ``scribbles.segmenters.choose``.
        confidence: a name of ``pseudo.confidence.CONFIDENCES``; None = its default.
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
    check_rounds(rounds)
    config = _settings(job)
    labelled = Labelled.read(job, val, config)
    rule, cut = rule_of(confidence)
    choose_segmenter(segmenter)
    unlabelled = _outside(
        unlabelled_frames(job.data, listed, [job.labels, *([val] if val is not None else [])]), job.out
    )
    about = {
        "recipe": recipe, "labels": job.labels, "val": val, "list": _text(listed), "segmenter": segmenter,
        "confidence": rule.confidence, "rounds": rounds, "dynamic": dynamic, **labelled.facts(unlabelled),
    }  # fmt: skip
    run = RunFolder.open(job.out, "yolo", config, {"seed": job.seed, "schema": AOP.name, "data": about}, job.resume)

    def carry_on(stages: Stages) -> dict[int, Path]:
        labels, checks = _split_files(stages.folder, job.labels, val, labelled)
        boxes = stages.train("boxes", pretrain, labels, job.init, segmenter=segmenter)
        pose = stages.train("pose", train, labels, str(boxes), val=checks)
        labelling = Labelling(unlabelled, rule, cut, {"images": str(job.data), "list": _text(listed)})
        weighted = Weighted(labels, str(pose), {"val": checks, "dynamic": dynamic})
        return {0: pose, **weighted_rounds(stages, weighted, labelling, rounds, pose, None)}

    return _run(job, run, carry_on)


def train_in_rounds(
    job: Job,
    pseudo: str | Path,
    val: str | None = None,
    boxes: Path | None = None,
    dynamic: bool = False,
    frames: str | Path | None = None,
    confidence: str | None = None,
    rounds: int = 2,
) -> dict[str, Any]:
    """``train --pseudo`` several times: each further round trains on labels by the network of the round before.

    Arguments as of ``train``; further ``confidence`` (a name of ``pseudo.confidence.CONFIDENCES``) weighs the frames
    that are labelled again, None = as the table says that it was made. Returns what run.json says.

    Raises:
        UsageError: an argument, file or setting does not fit, and nothing was written.
        AopPoseError: a round broke off, or kept no frame.
    """
    check_rounds(rounds)
    config = _settings(job)
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
    run = RunFolder.open(job.out, "yolo", config, {"seed": job.seed, "schema": AOP.name, "data": about}, job.resume)
    options = {"val": val, "boxes": boxes, "dynamic": dynamic, "frames": frames}
    labelling = Labelling(again, rule, cut, {"images": str(job.data), "list": _text(frames)})
    weighted = Weighted(job.labels, job.init, options)
    return _run(job, run, lambda stages: weighted_rounds(stages, weighted, labelling, rounds, None, table))


def _run(job: Job, run: RunFolder, carry_on: Callable[[Stages], Mapping[int, Path]]) -> dict[str, Any]:
    """All stages, then the run folder of the best of the runs that ``carry_on`` gives, and the page."""
    choice = choose(carry_on(Stages(job, run)))
    run.save(**keep(run, choice))
    job.say(f"kept: stage {choice.run.name} ({choice.why})")
    job.say(f"report: {write_page(run.path)}")
    run.finish()
    return run.record


def check_rounds(rounds: int) -> None:
    if rounds < 1:
        raise UsageError(f"--rounds: expected at least 1, found {rounds}")


def _settings(job: Job) -> YoloConfig:
    """UsageError where settings do not fit, or first weights are not there or do not fit the network."""
    from aop_pose.pipelines.isolation import isolate

    isolate()
    from aop_pose.pipelines.start import find_start
    from aop_pose.pipelines.yolo.sampler import check_halves
    from aop_pose.pipelines.yolo.start import transfer

    config = load_config(YoloConfig, PRESETS, job.preset or DEFAULT_PRESET, job.changes)
    check_halves(config.batch)
    transfer(find_start(job.init, config.model), config.model)
    return config


def _split_files(folder: Path, labels: str, val: str | None, labelled: Labelled) -> tuple[str, str | None]:
    """``--labels`` and ``--val`` of every stage: as given, or the two parts of the labels on disk."""
    if val is not None or not labelled.checking:
        return labels, val
    files = folder / "labels.csv", folder / "checks.csv"
    for file, frames in zip(files, (labelled.training, labelled.checking), strict=True):
        write_iugc(frames, file)
    return str(files[0]), str(files[1])


def _outside(unlabelled: Unlabelled, out: Path) -> Unlabelled:
    """Without what this run itself wrote, where its folder lies among the data."""
    left = [entry for entry in unlabelled.entries if not entry.path.resolve().is_relative_to(out.resolve())]
    if not left:
        raise UsageError(f"expected frames without labels, found none outside {out}")
    return attrs.evolve(unlabelled, entries=left)


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
