"""Mean Teacher (Tarvainen & Valpola 2017) on the pose network: the outside baseline of the ablation of pseudo-labels.

Every step shows as many unlabelled frames as labelled ones, drawn as ``train --pseudo`` draws them. The labelled half
has the loss of ``train``. Each unlabelled frame is augmented once as a labelled one is; then student and teacher each
get gray noise of their own (gain, gamma, speckle, within the bounds of the configuration), and the student is drawn to
what the teacher says:

    consistency = w(t) * (gain_pose * sum_a s_a e_a / sum_a s_a  +  gain_class * sum_a (p_a - s_a)^2 / sum_a s_a)

over the anchors a of the unlabelled half: s_a and p_a are the teacher's and the student's scores, e_a the mean over
three points and two box corners of d^2 / (8 sigma^2 area), d the distance between the student's and the teacher's
decoded place and area that of the teacher's best box in the frame. That is the exponent of Ultralytics' own keypoint
term (OKS), so that with w = 1 an unlabelled frame pulls as a labelled one does near its answer. Anchors count by the
teacher's score instead of a threshold. w(t) = exp(-5 (1 - t)^2), t from 0 to 1 over the first 40,000 / 150,000 of all
steps (their appendix B.1), then 1. No gradient goes to the teacher.

The teacher is the average that the trainer keeps anyway, in evaluation mode, with a decay of 0.99 in place of
Ultralytics' (whose average hardly lags behind the student in so few steps): the value of their ramp-up; 0.999 would
remember more steps than a run has here. The teacher is the network that is kept and measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from ultralytics.utils.tal import make_anchors

from aop_pose.core.letterbox import Letterbox
from aop_pose.core.schemas import AOP
from aop_pose.formats.label import resolve
from aop_pose.formats.registry import read_labels
from aop_pose.io.images import read_frame
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.data import HalfSampler, check_halves
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.run import RunFolder, fingerprint
from aop_pose.pipelines.start import Start, find_start
from aop_pose.pipelines.yolo.config import METHOD, PRESETS, YoloConfig
from aop_pose.pipelines.yolo.data import Example, FrameDataset
from aop_pose.pipelines.yolo.network import transfer
from aop_pose.pipelines.yolo.resumable import fit
from aop_pose.pipelines.yolo.stages import read_examples
from aop_pose.pipelines.yolo.trainers import FrameTrainer
from aop_pose.pseudo.run import unlabelled_frames

DECAY = 0.99
RAMP_SHARE = 40_000 / 150_000


def ramp_up(t: float) -> float:
    """exp(-5 (1 - t)^2) for t in [0, 1], 1 after it."""
    return math.exp(-5 * (1 - min(max(t, 0.0), 1.0)) ** 2)


@attrs.frozen(eq=False)
class Said:
    """What a network says at every anchor of a batch, in pixels of the input."""

    places: torch.Tensor
    """(frames, anchors, n, 2): points, then left top and right bottom of the box."""
    scores: torch.Tensor
    """(frames, anchors) in [0, 1]."""


def said(criterion: Any, raw: dict[str, Any]) -> Said:
    """Decode the raw output of the head as the loss ``criterion`` of the network does."""
    anchors, stride = make_anchors(raw["feats"], criterion.stride, 0.5)
    boxes = criterion.bbox_decode(anchors, raw["boxes"].permute(0, 2, 1).contiguous())
    points = raw["kpts"].permute(0, 2, 1).contiguous()
    points = criterion.kpts_decode(anchors, points.view(*points.shape[:2], *criterion.kpt_shape))[..., :2]
    places = torch.cat([points, boxes.view(*boxes.shape[:2], 2, 2)], dim=2) * stride[:, None]
    return Said(places, raw["scores"][:, 0].sigmoid())


def consistency(student: Said, teacher: Said, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The terms of places and of scores, before their gains (see the head of this file)."""
    best = teacher.scores.argmax(dim=1)
    corners = teacher.places[torch.arange(len(best)), best, -2:]
    area = (corners[:, 1] - corners[:, 0]).clamp(min=1).prod(dim=1)
    squares = (student.places - teacher.places).square().sum(dim=-1).mean(dim=-1)
    exponents = squares / (8 * sigma**2 * area[:, None])
    trust = teacher.scores.sum()
    return (
        (teacher.scores * exponents).sum() / trust,
        (student.scores - teacher.scores).square().sum() / trust,
    )


class ConsistentLoss:
    """The stock loss on the first frames of a batch and the consistency on the others."""

    def __init__(self, stock: Any, config: YoloConfig, weight: Callable[[], float]):
        self.stock, self.config, self.weight = stock, config, weight

    def __call__(self, output: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        raw = self.stock.parse_output(output)
        labelled = len(batch["img"]) - len(batch["teacher"].scores)
        loss, items = self.stock(_part(raw, slice(None, labelled)), batch)
        student = said(self.stock, _part(raw, slice(labelled, None)))
        places, scores = consistency(student, batch["teacher"], self.config.oks_sigma)
        term = self.weight() * (self.config.gain_pose * places + self.config.gain_class * scores)
        # As the stock loss: a mean times the number of frames.
        return torch.cat([loss, (term * len(student.scores))[None]]), {**items, "consistency_loss": term.detach()}


def _part(raw: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {key: [one[rows] for one in value] if isinstance(value, list) else value[rows] for key, value in raw.items()}


class UnlabelledDataset(FrameDataset):
    """Frames that are augmented as labelled ones and have no label."""

    def label(self, example: Example, box: Letterbox) -> dict[str, Any]:
        return {
            "cls": np.zeros((0, 1), np.float32),
            "bboxes": np.zeros((0, 4), np.float32),
            "keypoints": np.zeros((0, len(AOP.points), 3), np.float32),
        }


class MeanTeacherTrainer(FrameTrainer):
    """``FrameTrainer`` with the unlabelled frames beside; ``config.batch`` counts the labelled half."""

    def __init__(
        self, config: YoloConfig, job: Job, start: Start, examples: Sequence[Example], unlabelled: Sequence[Example]
    ):
        super().__init__(config, job, start, examples, [])
        self.unlabelled_examples = unlabelled

    def make_loss(self, model: Any) -> Any:
        self.stock = super().make_loss(model)
        return ConsistentLoss(self.stock, self.config, self.weight)

    def _setup_train(self) -> None:
        super()._setup_train()
        self.ema.decay = lambda updates: DECAY
        self.unlabelled = UnlabelledDataset(
            self.unlabelled_examples, self.config, data=self.data, augment=True, hyp=self.args
        )

    def seed_epoch(self) -> None:
        super().seed_epoch()
        sampler = HalfSampler(len(self.examples), len(self.unlabelled), 2 * self.config.batch, self.job.seed)
        sampler.set_epoch(self.epoch)
        self.turns = sampler.pseudo_of_epoch()

    def weight(self) -> float:
        steps = len(self.train_loader)
        return ramp_up((self.epoch * steps + self.batches_done) / (RAMP_SHARE * self.epochs * steps))

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)
        begin = self.batches_done * self.config.batch
        turns = self.turns[begin : begin + len(batch["img"])]
        frames = super().preprocess_batch({"img": torch.stack([self.unlabelled[i]["img"] for i in turns])})["img"]
        with torch.no_grad():
            output = self.ema.ema(disturbed(frames, self.config))
            batch["teacher"] = said(self.stock, self.stock.parse_output(output))
        batch["img"] = torch.cat([batch["img"], disturbed(frames, self.config)])
        return batch


def disturbed(frames: torch.Tensor, config: YoloConfig) -> torch.Tensor:
    """Gray noise drawn anew for each frame of (n, 3, S, S) in [0, 1]; its bounds are the configuration's."""
    shape = (len(frames), 1, 1, 1)
    gamma = (torch.rand(shape) * 2 - 1) * math.log1p(config.gamma)
    gain = 1 + (torch.rand(shape) * 2 - 1) * config.brightness
    grain = 1 + torch.rand(shape) * config.speckle * torch.randn(len(frames), 1, *frames.shape[2:])
    gamma, gain, grain = (value.to(frames.device) for value in (gamma, gain, grain))
    noisy = (frames ** gamma.exp() * gain * grain).clamp(0, 1)
    return noisy.contiguous(memory_format=torch.channels_last) if frames.device.type == "cpu" else noisy


def train(job: Job, listed: str | Path) -> dict[str, Any]:
    """Train a student and its teacher; returns what run.json says.

    Half of ``config.batch`` is labelled; an epoch is one pass over the labelled frames. No frame is set aside, and the
    last epoch is kept.

    Args:
        job: data, settings and run folder.
        listed: names of the unlabelled frames, as given or below the data.

    Raises:
        UsageError: labels, list, settings, start or run folder do not fit; nothing was written.
    """
    config = load_config(YoloConfig, PRESETS, job.preset or "fast", job.changes)
    check_halves(config.batch)
    config = config.model_copy(update={"batch": config.batch // 2})
    labelled = read_labels(resolve(job.labels, job.data), job.data)
    entries = unlabelled_frames(job.data, listed, [job.labels]).entries
    examples = read_examples(labelled)
    nowhere = np.full((len(AOP.points), 2), np.nan)
    unlabelled = [Example(entry.source, read_frame(entry.path).pixels, nowhere) for entry in entries]
    start = find_start(job.init, config.model)
    moved = transfer(start, config.model)
    pieces = (piece for one in examples + unlabelled for piece in (one.name.encode(), one.pixels.tobytes()))
    facts = {
        "seed": job.seed, "schema": AOP.name, "stage": "mean teacher",
        "data": {
            "labels": job.labels, "frames": len(examples), "unlabelled": str(listed),
            "unlabelled_frames": len(unlabelled), "checked_frames": 0, "chosen_by": "the last epoch",
            "fingerprint": fingerprint(pieces),
        },
    }  # fmt: skip
    run = RunFolder.open(job.out, METHOD, config, facts, job.resume)
    job.say(f"start: {start.words}; frames: {len(examples)} labelled, {len(unlabelled)} unlabelled")
    trainer = MeanTeacherTrainer(config, job, start, examples, unlabelled)
    return fit(trainer, run, start=start.words, tensors_transferred=list(moved))
