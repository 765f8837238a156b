"""Several trainings in one run folder: ``--recipe progressive``, and ``--pseudo FILE`` with ``--rounds N``."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.label import Label, resolve
from aop_pose.inference.predictor import Predictor
from aop_pose.io.files import replacing
from aop_pose.pipelines.data import split_frames
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import METRICS, RECORD, WEIGHTS, RunFolder, fingerprint, read_record
from aop_pose.pipelines.yolo.config import METHOD, STAGES_FOLDER, YoloConfig
from aop_pose.pipelines.yolo.report import write_page
from aop_pose.pipelines.yolo.stages import choose_segmenter, labels_of, read_examples, train_boxes, train_pose
from aop_pose.pseudo.chosen import find_pseudo
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, Origin, Unlabelled, document_of, pseudo_label, tabled_frames, unlabelled_frames
from aop_pose.pseudo.signals import CONFIDENCES


def teacher_of(run: Path, device: str) -> Predictor:
    """The network of a run folder, which labels frames."""
    from aop_pose.pipelines.yolo.network import predictor

    return predictor(run, device)


class Stages:
    """The stages of one run, in order: ``1-boxes``, ``2-pose``, ``3-pseudo-1.csv``, ...

    A finished stage is passed over, one that was interrupted goes on where it stopped. Where each began and the
    seconds it took stand in run.json, those of interrupted processes with them.
    """

    def __init__(self, job: Job, config: YoloConfig, run: RunFolder):
        self.job, self.config, self.run = job, config, run
        self.folder = job.out / STAGES_FOLDER
        self.folder.mkdir(exist_ok=True)
        self._number = 0

    def train(self, name: str, work: Callable[..., Any], labels: str, init: str, **options: Any) -> Path:
        """Do ``work`` (``train_pose`` or ``train_boxes``) into a run folder of its own, which is returned."""
        out, begun = self._next(name), False
        if out.is_dir():
            begun = (out / RECORD).is_file()
            if begun and read_record(out).get("finished"):
                self.job.say(f"stage {out.name}: finished before")
                return out
            if not begun:
                # Killed before it wrote down what it is: nothing is lost.
                shutil.rmtree(out)
        job = attrs.evolve(self.job, out=out, labels=labels, init=init, resume=begun, on_epoch=self._on_epoch)
        with self._told(out.name, init, goes_on=begun):
            work(job, self.config, **options)
        return out

    def label(self, name: str, teacher: Path, frames: Unlabelled, rule: Rule, cut: Cut, facts: dict[str, Any]) -> Path:
        """Pseudo-labels of ``frames`` by the network of a run folder; returns their table.

        AopPoseError where no frame is kept, also when it is asked for again.
        """
        out = self._next(name)
        done = document_of(out)
        if done:
            self.job.say(f"stage {out.name}: finished before")
        else:
            device = self.job.device if self.job.device == "cpu" else f"cuda:{self.job.device}"
            with self._told(out.name, str(teacher), goes_on=out.with_name(f".{out.name}.rows").exists()):
                # Not begun otherwise than now: it is this run's own. So --overwrite only means what a kill left.
                pseudo_label(
                    teacher_of(teacher, device), frames, out, rule=rule, cut=cut, overwrite=True, facts=facts,
                    on_row=lambda row, count: self.job.on_frames(count, len(frames.entries)),
                )  # fmt: skip
            done = document_of(out)
        if not done["kept"]:
            raise AopPoseError(f"no frame of {done['rows']} was kept; {out} says why for each; take another network")
        self.job.say(f"{out.name}: {done['kept']} of {done['rows']} frames kept")
        return out

    def _on_epoch(self, row: dict[str, float]) -> None:
        # So that the wall time of a process that is killed is not lost.
        self.run.save()
        self.job.on_epoch(row)

    def _next(self, name: str) -> Path:
        self._number += 1
        return self.folder / f"{self._number}-{name}"

    @contextmanager
    def _told(self, name: str, start: str, goes_on: bool) -> Iterator[None]:
        self.job.say(f"stage {name}{': goes on' if goes_on else ''}")
        within = Path(start).parent == self.folder
        told = self.run.record.setdefault("stages", {}).setdefault(name, {"seconds": 0.0})
        told["from"] = Path(start).name if within else start
        # A stage may finish and the process be killed before the next line is written: the page needs its entry.
        self.run.save()
        before, begin = told["seconds"], time.time()
        try:
            yield
        finally:
            told["seconds"] = round(before + time.time() - begin, 1)
            self.run.save()


ERROR = "val/mre_px"
KEPT_FILES = (METRICS, f"{WEIGHTS}/best.pt", f"{WEIGHTS}/last.pt")


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
            table = stages.label(
                f"pseudo-{number}.csv", by, labelling.frames, labelling.rule, labelling.cut, labelling.facts
            )
        trained[number] = stages.train(
            f"weighted-{number}", train_pose, weighted.labels, weighted.init, pseudo=table, **weighted.options
        )
    return trained


@attrs.frozen
class Choice:
    """The run of several that is kept."""

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
    same = ("best", "start", "precision", "device", "device_name", "tensors_transferred", "torch_threads")
    return {
        "chosen": {"round": choice.round, "stage": choice.run.name, "why": choice.why},
        "candidates": choice.candidates,
        **{key: chosen[key] for key in same if key in chosen},
    }


def rule_of(confidence: str | None, origin: Origin | None = None) -> tuple[Rule, Cut]:
    """The rule by which frames are labelled: as a table was of which ``origin`` tells, else by default.

    UsageError for a confidence that there is not.
    """
    if confidence is not None and confidence not in CONFIDENCES:
        raise UsageError(f"--confidence: expected one of {', '.join(CONFIDENCES)}, found {confidence!r}")
    origin = origin or Origin()
    return (attrs.evolve(origin.rule, confidence=confidence) if confidence is not None else origin.rule), origin.cut


PROGRESSIVE = "progressive"
RECIPES = (PROGRESSIVE,)


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

    Everything that can be known to be wrong is said before anything is written. The frames that compare epochs and
    stages are set aside once, and no stage trains on them, the boxes' included.

    Args:
        job: data and run folder; ``init`` is where the detector starts from.
        config: the settings of every stage.
        recipe: one of ``RECIPES``.
        val: label file of the frames that choose epochs and the stage that is kept; else a share of the labels does.
        frames: list of the frames without labels; else all pictures below the data that neither file names.
        segmenter: a name of ``scribbles.segmenters.choose``.
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
    _check_start(job, config)
    labelled = Labelled.read(job, val, config)
    rule, cut = rule_of(confidence)
    choose_segmenter(segmenter)
    unlabelled = _outside(
        unlabelled_frames(job.data, frames, [job.labels, *([val] if val is not None else [])]), job.out
    )
    about = {
        "recipe": recipe, "labels": job.labels, "val": val, "list": _text(frames), "segmenter": segmenter,
        "confidence": rule.confidence, "rounds": rounds, "dynamic": dynamic, **labelled.facts(unlabelled),
    }  # fmt: skip
    facts = {"seed": job.seed, "stage": "train", "schema": AOP.name, "data": about}
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)

    def carry_on(stages: Stages) -> dict[int, Path]:
        labels, checks = _split_files(stages.folder, job.labels, val, labelled)
        boxes = stages.train("boxes", train_boxes, labels, job.init, segmenter=segmenter)
        pose = stages.train("pose", train_pose, labels, str(boxes), val=checks)
        labelling = Labelling(unlabelled, rule, cut, {"images": str(job.data), "list": _text(frames)})
        weighted = Weighted(labels, str(pose), {"val": checks, "dynamic": dynamic})
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


def _split_files(folder: Path, labels: str, val: str | None, labelled: Labelled) -> tuple[str, str | None]:
    """``--labels`` and ``--val`` of every stage: as given, or the two parts of the labels on disk."""
    if val is not None or not labelled.checking:
        return labels, val
    files = folder / "labels.csv", folder / "checks.csv"
    for file, frames in zip(files, (labelled.training, labelled.checking), strict=True):
        IUGC.write_table(frames, file)
    return str(files[0]), str(files[1])


def _outside(unlabelled: Unlabelled, out: Path) -> Unlabelled:
    """Without what this run itself wrote, where its folder lies among the data."""
    left = [entry for entry in unlabelled.entries if not entry.path.resolve().is_relative_to(out.resolve())]
    if not left:
        raise UsageError(f"expected frames without labels, found none outside {out}")
    return attrs.evolve(unlabelled, entries=left)


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
