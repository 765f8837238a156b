"""Frames in memory, as every pipeline that is written here learns them: labelled, unlabelled, made up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from aop_pose.core.letterbox import Letterbox, fit
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.evaluation.noise import stated_spread
from aop_pose.formats.label import CLASSES, Label
from aop_pose.formats.split import (
    groups_by_name,
    hold_out,
    merge_groups,
    near_duplicate_groups,
    near_duplicate_groups_of,
    thumbnail,
)
from aop_pose.geometry import largest_contour
from aop_pose.io.images import read_frame
from aop_pose.pipelines.config import FrameConfig
from aop_pose.pipelines.job import Job
from aop_pose.pipelines.pipeline import StageData
from aop_pose.pipelines.run import fingerprint, labelled_facts
from aop_pose.pseudo.chosen import find_pseudo
from aop_pose.pseudo.run import unlabelled_frames


def split_frames(
    labelled: list[Label],
    val: list[Label] | None,
    holdout: float,
    seed: int,
    patient: str | None = None,
) -> tuple[list[Label], list[Label]]:
    """Frames that train and frames that choose the epoch.

    Without ``val`` a share ``holdout`` of the labelled frames is set aside in whole groups of near-duplicates, joined
    with the frames of a patient where ``patient``, a regular expression, finds him in the file name.

    Raises:
        UsageError: no labelled frame in a file, or one that stands in both files (it is named).
    """
    if not labelled:
        raise UsageError("--labels: expected at least one labelled frame, found none")
    if val is not None:
        if not val:
            raise UsageError("--val: expected at least one labelled frame, found none")
        shared = sorted({frame.path.resolve() for frame in labelled} & {frame.path.resolve() for frame in val})
        if shared:
            raise UsageError(f"--val: {shared[0].name} stands in --labels too ({len(shared)} such frames)")
        return labelled, val
    if not holdout:
        return labelled, []
    groups = near_duplicate_groups_of([thumbnail(frame.gray()) for frame in labelled])
    if patient is not None:
        groups = merge_groups(groups, groups_by_name([frame.name for frame in labelled], patient))
    held = hold_out(groups, holdout, seed)
    kept = [frame for frame, out in zip(labelled, held, strict=True) if not out]
    return kept, [frame for frame, out in zip(labelled, held, strict=True) if out]


RING = 96
"""Points of an outline that is learned, evenly along it."""


@attrs.frozen(eq=False)
class Example:
    """One frame: gray pixels (H, W) uint8 and points (n, 2) in its pixels; without labels, points (0, 2)."""

    name: str
    pixels: np.ndarray
    points: np.ndarray
    outlines: np.ndarray | None = None
    """(structures, ``RING``, 2) rings of points round symphysis and head, where they are learned; NaN = none drawn."""
    weights: np.ndarray | None = None
    """(n,) how much each point counts where they are a pseudo-label; None = they are a label, and each counts 1."""

    spreads: np.ndarray | None = None
    """(n,) standard deviation of each label along one axis, in pixels, where a consensus states it; None = unknown."""

    def parts(self) -> list[bytes]:
        """The bytes that a fingerprint of the data is made of."""
        return [
            self.name.encode(), self.pixels.tobytes(), self.points.tobytes(),
            *([] if self.outlines is None else [self.outlines.tobytes()]),
            *([] if self.weights is None else [self.weights.tobytes()]),
            *([] if self.spreads is None else [self.spreads.tobytes()]),
        ]  # fmt: skip


@attrs.frozen(eq=False)
class TrainingFrames:
    """Frames that train and frames that choose the epoch."""

    training: list[Example]
    checking: list[Example]
    facts: dict[str, Any]
    """Facts about them for run.json."""
    trusted: Sequence[Example] = ()
    """Those that train with pseudo-labels."""


def read_examples(frames: Sequence[Label]) -> list[Example]:
    """Pictures and points in memory; where a frame has a mask, its outlines too; of a consensus, its uncertainty."""
    spreads = label_spreads(frames)
    return [
        Example(
            frame.name, frame.gray(), frame.points, None if frame.mask is None else rings(frame.mask.read()),
            spreads=None if spreads is None else spreads[at],
        )
        for at, frame in enumerate(frames)
    ]  # fmt: skip


def label_spreads(frames: Sequence[Label]) -> np.ndarray | None:
    """Standard deviation of each label along one axis, (frames, points) in pixels; None where no file states it.

    A consensus states that of single readings (``POINT_sd_px``, both axes together), whose mean of k has the k-th part
    of the variance. A frame with one reading has that of the others' readings. UsageError for a value that is none.
    """
    if not frames or frames[0].keypoints is None:
        return None
    columns = {name: [frame.extras.get(name, "") for frame in frames] for name in frames[0].extras}
    stated = stated_spread(columns, frames[0].schema) if columns else None
    if stated is None or stated.points is None or not np.isfinite(stated.points).any():
        return None
    squares, known = stated.points**2, np.isfinite(stated.points)
    pooled = np.where(known, squares, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.sqrt(np.where(known, squares, pooled) / (2 * stated.readers[:, None]))


def rings(mask: np.ndarray) -> np.ndarray:
    """Outlines (2, ``RING``, 2) of symphysis and head in a mask (H, W) of 0, 1, 2; NaN where one is not there."""
    found = np.full((len(CLASSES), RING, 2), np.nan)
    for number in range(len(CLASSES)):
        contour = largest_contour(mask == number + 1)
        if len(contour):
            found[number] = contour[np.linspace(0, len(contour), RING, endpoint=False).astype(int)]
    return found


def phantom_examples(count: int, seed: int, outlines: bool = False) -> list[Example]:
    """Made-up frames as further training examples."""
    if not count:
        return []
    from aop_pose.phantom import make_phantom

    made = (make_phantom(seed, index=i) for i in range(count))
    return [
        Example(f"phantom-{i}", m.frame.pixels, m.keypoints.coords, rings(m.mask) if outlines else None)
        for i, m in enumerate(made)
    ]


def labelled_examples(
    job: Job,
    val: str | None,
    config: FrameConfig,
    read: Callable[[str], list[Label]],
    pseudo: str | Path | None = None,
    listed: str | Path | None = None,
) -> TrainingFrames:
    """Labelled frames, and those of a table of pseudo-labels; ``read`` gives those of a label file.

    Raises:
        UsageError: as ``split_frames``, ``read_examples`` and ``pseudo.chosen.find_pseudo`` do.
    """
    labelled = read(job.labels)
    chosen = read(val) if val is not None else None
    split = split_frames(labelled, chosen, config.holdout, job.seed, config.patient)
    training, checking = (read_examples(frames) for frames in split)
    trusted: list[Example] = []
    further: dict[str, Any] = {"phantoms": config.phantoms}
    if spread := [example.spreads for example in training if example.spreads is not None]:
        further["label_spread_px"] = round(float(np.mean(spread)), 3)
    if pseudo is not None:
        check_halves(config.batch)
        found = find_pseudo(pseudo, job.data, listed, {"--labels": labelled, "--val": chosen or []})
        trusted = [
            attrs.evolve(example, weights=weights)
            for example, weights in zip(
                read_examples([one.frame for one in found.frames]), found.point_weights(), strict=True
            )
        ]
        further["pseudo"] = found.facts()
    parts = _parts([*training, *trusted, *checking])
    facts = labelled_facts(job, val, len(training), len(checking), parts, **further)
    return TrainingFrames(training, checking, facts, trusted)


def unlabelled_examples(data: Path, frames: str | Path | None, holdout: float, seed: int) -> TrainingFrames:
    """Frames without labels.

    Args:
        data: folder with the pictures.
        frames: a list of file names (one a line); None = every picture below ``data``.
        holdout: share that is held out, in whole groups of near-duplicates.
        seed: of that choice.

    Raises:
        UsageError: no such list or frame, or nothing in the folder.
    """
    entries = unlabelled_frames(data, frames, ()).entries
    nothing = np.zeros((0, 2))
    examples = [Example(entry.source, read_frame(entry.path).pixels, nothing) for entry in entries]
    held = np.zeros(len(examples), bool)
    if holdout and len(examples) > 1:
        held = hold_out(near_duplicate_groups([entry.path for entry in entries]), holdout, seed)
    training = [example for example, out in zip(examples, held, strict=True) if not out]
    checking = [example for example, out in zip(examples, held, strict=True) if out]
    facts = {
        "list": str(frames) if frames is not None else None, "frames": len(training), "checked_frames": len(checking),
        "fingerprint": fingerprint(_parts(examples)),
    }  # fmt: skip
    return TrainingFrames(training, checking, facts)


def with_unlabelled(data: StageData, folder: Path, listed: str | Path | None, named: Sequence[str]) -> StageData:
    """The data of a training with frames without labels behind them, whose points count 0.

    Args:
        data: the labelled frames.
        folder: with the pictures.
        listed: a list of file names; None = every picture below ``folder`` that no label file names.
        named: the label files, as given or below ``folder``.

    Raises:
        UsageError: a listed frame has a label too, or there is none.
    """
    entries = unlabelled_frames(folder, listed, named).entries
    examples = []
    for entry in entries:
        pixels = read_frame(entry.path).pixels
        height, width = pixels.shape
        # In the middle, so that whatever is worked out of them is a number.
        middle = np.tile([(width - 1) / 2, (height - 1) / 2], (len(AOP.points), 1))
        examples.append(Example(entry.source, pixels, middle, weights=np.zeros(len(AOP.points))))
    facts = {
        **data.facts, "unlabelled": None if listed is None else str(listed), "unlabelled_frames": len(examples),
        "fingerprint": fingerprint([str(data.facts["fingerprint"]).encode(), *_parts(examples)]),
    }  # fmt: skip
    told = (*data.told, f"unlabelled: {len(examples)} frames, half of each batch")
    return attrs.evolve(data, training=[*data.training, *examples], facts=facts, told=told)


def _parts(examples: Sequence[Example]) -> Iterator[bytes]:
    return (part for example in examples for part in example.parts())


Change = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Gray (1, S, S) in [0, 1] and points (n, 2) in its pixels -> the same, changed; drawn by torch's own generator."""


def points_of(example: Example) -> np.ndarray:
    """The points alone, in pixels of the example."""
    return example.points


def ends_of(example: Example) -> np.ndarray:
    """A place one standard deviation of the label beside each point, (n, 2), which moves and scales with the rest."""
    spreads = np.zeros(len(example.points)) if example.spreads is None else example.spreads
    return example.points + spreads[:, None] * np.array([1.0, 0.0])


def with_ends(example: Example) -> np.ndarray:
    """The points, then ``ends_of`` them."""
    return np.concatenate([example.points, ends_of(example)])


def any_spread(examples: Sequence[Example]) -> bool:
    """True where a label has an uncertainty of its own."""
    return any(example.spreads is not None for example in examples)


class FrameDataset(Dataset):
    """(gray (1, S, S) float32 in [0, 1], points (n, 2) float32 in its pixels, index) of each example.

    ``rows`` gives the points of an example; all that moves with the picture may stand behind them. With ``epoch`` the
    frames are augmented, and every draw follows from (seed, epoch, index) alone: not from the order, the number of
    workers, or what was drawn before.
    """

    def __init__(
        self, examples: Sequence[Example], size: int, augmentation: Change, seed: int = 0, epoch: int | None = None,
        rows: Callable[[Example], np.ndarray] = points_of,
    ):  # fmt: skip
        self.examples, self.augmentation, self.seed, self.epoch = examples, augmentation, seed, epoch
        fitted = [fit(example.pixels, size) for example in examples]
        self.pictures = [torch.from_numpy(pixels) for pixels, _ in fitted]
        self.boxes: list[Letterbox] = [box for _, box in fitted]
        self.points = [
            torch.from_numpy(box.forward(rows(example))) for example, box in zip(examples, self.boxes, strict=True)
        ]
        self.labelled = sum(example.weights is None for example in examples)
        """The examples with labels, which come before those with pseudo-labels."""

    def __len__(self) -> int:
        return len(self.examples)

    def trust(self, indices: torch.Tensor) -> torch.Tensor | None:
        """(B, n) how much each point of the examples counts; None where all are labels."""
        if self.labelled == len(self.examples):
            return None
        given = [self.examples[index] for index in indices.tolist()]
        rows = [np.ones(len(one.points)) if one.weights is None else one.weights for one in given]
        return torch.from_numpy(np.stack(rows)).float()

    def order(self, batch: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[int]:
        """The indices of an epoch; with pseudo-labels half of each batch has labels (see ``HalfSampler``).

        Of several processes those of one, which takes ``batch`` of them a step.
        """
        if self.labelled == len(self.examples):
            return order_of(len(self.examples), seed, epoch, rank, world)
        sampler = HalfSampler(self.labelled, len(self.examples) - self.labelled, batch * world, seed, rank, world)
        sampler.set_epoch(epoch)
        return list(sampler)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        gray, points = self.pictures[index][None].float() / 255, self.points[index]
        if self.epoch is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(number_of(self.seed, self.epoch, index))
                gray, points = self.augmentation(gray, points)
        return gray, points.float(), index


def number_of(*numbers: int) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def order_of(count: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[int]:
    """The order of an epoch's frames: it follows from (seed, epoch) alone.

    Of ``world`` processes each takes its share of every step, as many as the others: where they do not divide, the
    epoch begins anew.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.resize(order, math.ceil(count / world) * world)[rank::world].tolist()


def inside(points: torch.Tensor, size: int) -> torch.Tensor:
    """1.0 for each point (B, n, 2) within the input, 0.0 for one that augmentation has moved out of it: (B, n)."""
    return ((points >= -0.5) & (points <= size - 0.5)).all(dim=2).float()


_LABELLED, _PSEUDO = 0, 1


def check_halves(batch: int, world: int = 1) -> None:
    """UsageError where a batch cannot be halved for each of ``world`` processes."""
    if batch % (2 * world):
        raise UsageError(f"batch: expected a multiple of {2 * world}, one half labelled each, found {batch}")


class HalfSampler(Sampler[int]):
    """Indices of a dataset that holds its labelled examples first, in an order that a plain batching cuts in halves.

    An epoch is one pass over the labelled examples in a new order, and takes as many pseudo-labelled ones. Those come
    from a cycle through all of them that goes on from epoch to epoch, each round in a new order. Where there are at
    least one and a half batches of them, no batch holds one twice. The last batch of an epoch may be smaller and is
    halved too. Everything follows from (seed, epoch).

    Of several processes each takes its share of both halves of every batch, ``batch / world`` examples. For each to
    have as many, an epoch begins anew on the labelled examples where they do not divide: fewer than ``world`` of them
    come twice in its last batch.
    """

    def __init__(self, labelled: int, pseudo: int, batch: int, seed: int, rank: int = 0, world: int = 1):
        """``batch``: examples of all processes together; UsageError as ``check_halves`` raises it."""
        check_halves(batch, world)
        self.labelled, self.pseudo, self.half = labelled, pseudo, batch // 2
        self.seed, self.rank, self.world = seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """From 0; the next iteration is of that epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Examples that one process takes in an epoch."""
        return 2 * math.ceil(self.labelled / self.world)

    def __iter__(self) -> Iterator[int]:
        halves = self.labelled_of_epoch(), self.labelled + self.pseudo_of_epoch()
        for begin in range(0, len(halves[0]), self.half):
            for order in halves:
                yield from order[begin : begin + self.half][self.rank :: self.world].tolist()

    def labelled_of_epoch(self) -> np.ndarray:
        """Of all processes, in order."""
        order = self._shuffled(self.labelled, _LABELLED, self.epoch)
        return np.resize(order, math.ceil(self.labelled / self.world) * self.world)

    def pseudo_of_epoch(self) -> np.ndarray:
        """Of all processes, in order, counted from the first pseudo-labelled example."""
        count = math.ceil(self.labelled / self.world) * self.world
        begin, end = self.epoch * count, (self.epoch + 1) * count
        first, last = begin // self.pseudo, (end - 1) // self.pseudo
        rounds = np.concatenate([self._round(number) for number in range(first, last + 1)])
        return rounds[begin - first * self.pseudo :][:count]

    def _round(self, number: int) -> np.ndarray:
        """One round of the cycle, its head free of what half a batch before it may hold, its tail as drawn."""
        order, reach = self._shuffled(self.pseudo, _PSEUDO, number), self.half - 1
        if not number or not reach or self.pseudo < 3 * reach:
            return order
        before = self._shuffled(self.pseudo, _PSEUDO, number - 1)[-reach:]
        head, tail = order[:-reach], order[-reach:]
        return np.concatenate([head[np.argsort(np.isin(head, before), kind="stable")], tail])

    def _shuffled(self, count: int, kind: int, number: int) -> np.ndarray:
        return np.random.default_rng([self.seed, kind, number]).permutation(count)
