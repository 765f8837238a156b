"""The frames to label next: those on which a network is in doubt, unlike what is labelled and unlike each other.

Doubt is what moves its points: how far the places that it considers lie apart, and how far noise shifts them. Likeness
is the correlation of small pictures by which splits know near-duplicates. One frame after the other is chosen, that of
the largest product of rank in doubt and difference, and patients take turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.format import Reading
from aop_pose.formats.label import Label, resolve
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import fitting_formats, labels_of
from aop_pose.formats.split import THRESHOLD, groups_by_name, thumbnail
from aop_pose.inference.predictor import Predictor
from aop_pose.io.csv_text import Writer
from aop_pose.io.discover import Entry
from aop_pose.io.files import replacing
from aop_pose.measuring.ahead import in_order
from aop_pose.pseudo.run import unlabelled_frames
from aop_pose.pseudo.signals import DRAWS, REFERENCE_SIDE, check_head, joint_spread, judge, rng_for

COLUMNS = ("Filename", "rank", "doubt", "distance")


@attrs.frozen
class Pick:
    """A frame to label."""

    name: str
    doubt: float
    """Distance by which its points move, in pixels where the longer side has ``REFERENCE_SIDE``; inf = no answer."""
    distance: float
    """1 minus the correlation with the most alike of the labelled frames and those chosen before it."""


@attrs.frozen
class Picked:
    """The outcome."""

    picks: tuple[Pick, ...]
    looked_at: int
    """Frames without a label."""
    alike: int
    """Of these, near-duplicates of labelled frames: they are never chosen."""
    unreadable: tuple[str, ...]


def pick(
    predictor: Predictor,
    images: Path,
    count: int,
    labels: Sequence[str] = (),
    *,
    group_regex: str = "",
    draws: int = DRAWS,
    seed: int = 0,
    workers: int = 1,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> Picked:
    """Choose ``count`` frames of a folder, the most telling first; fewer where there are no more.

    Args:
        predictor: the network whose doubt counts.
        images: folder of the frames, or one with ``images/`` in it.
        count: frames to choose.
        labels: label files, as given or below ``images``, whose frames are labelled.
        group_regex: finds the patient in a name, as its first bracket; a patient gets another frame only after all
            others that have any. Without it a frame is a patient of its own.
        draws: passes after noise, a frame.
        seed: of the noise.
        workers: frames at work side by side.
        on_frame: is told how many frames of how many were looked at.

    Raises:
        UsageError: no frames without labels, a head that has no doubt, a pattern that does not match.
    """
    check_head(predictor)
    entries = unlabelled_frames(images, None, labels).entries
    labelled = _labelled(images, labels)
    known = [thumbnail(read_gray(label.path)) for label in labelled]
    names, doubts, thumbnails, unreadable = [], [], [], []

    def look(entry: Entry) -> tuple[float, np.ndarray] | None:
        try:
            pixels = read_gray(entry.path)
        except AopPoseError:
            return None
        return doubt_of(predictor, pixels, entry.source, draws, seed), thumbnail(pixels)

    for done, (entry, seen) in enumerate(zip(entries, in_order(look, entries, workers), strict=True), start=1):
        on_frame(done, len(entries))
        if seen is None:
            unreadable.append(entry.source)
            continue
        names.append(entry.source)
        doubts.append(seen[0])
        thumbnails.append(seen[1])
    patients, before = _patients(names, [label.name for label in labelled], group_regex)
    like = np.array(thumbnails).reshape(len(names), -1)
    nearest = (like @ np.array(known).T).max(axis=1) if known and names else np.full(len(names), -1.0)
    chosen = choose(np.array(doubts), like, nearest, patients, before, count)
    alike = int((nearest > THRESHOLD).sum())
    picks = tuple(Pick(names[at], doubts[at], distance) for at, distance in chosen)
    return Picked(picks, len(entries), alike, tuple(unreadable))


def doubt_of(predictor: Predictor, pixels: np.ndarray, name: str, draws: int = DRAWS, seed: int = 0) -> float:
    """Doubt on a gray picture (H, W) uint8, see ``Pick.doubt``. It follows from the seed and the name alone."""
    signals = judge(predictor, pixels, rng=rng_for(seed, name), draws=draws).signals
    spread = joint_spread(signals.candidate_spread, signals.noise_spread) * REFERENCE_SIDE
    return float(spread) if np.isfinite(spread) else float("inf")


def choose(
    doubts: np.ndarray, like: np.ndarray, nearest: np.ndarray, patients: np.ndarray, before: Counter[int], count: int
) -> list[tuple[int, float]]:
    """Positions of the frames to label, the best first, each with its distance at that time.

    Args:
        doubts: (n,).
        like: (n, m) unit vectors, whose products are correlations.
        nearest: (n,) largest correlation with a labelled frame.
        patients: (n,) numbers.
        before: labelled frames of each patient.
        count: frames to choose.
    """
    if not len(doubts):
        return []
    # Ranks, since doubt has a long tail: a frame that shows nothing would outweigh all that can be labelled.
    ranks = (np.argsort(np.argsort(doubts, kind="stable"), kind="stable") + 1) / len(doubts)
    nearest, taken = nearest.copy(), Counter(before)
    free = nearest <= THRESHOLD
    chosen: list[tuple[int, float]] = []
    while len(chosen) < count and free.any():
        turns = np.array([taken[int(one)] for one in patients])
        allowed = free & (turns == turns[free].min())
        worth = np.where(allowed, ranks * (1 - nearest), -np.inf)
        at = int(np.argmax(worth))
        chosen.append((at, float(1 - nearest[at])))
        taken[int(patients[at])] += 1
        nearest = np.maximum(nearest, like @ like[at])
        free &= nearest <= THRESHOLD
        free[at] = False
    return chosen


def write_picked(picks: Sequence[Pick], out: Path, overwrite: bool = False) -> None:
    """Write ``Filename,rank,doubt,distance``; UsageError where the file exists and is not to be replaced."""
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: expected no file of this name, found one; add --overwrite")
    with replacing(out) as part, open(part, "w", newline="", encoding="utf-8") as stream:
        writer = Writer(stream)
        writer.writerow(COLUMNS)
        for rank, one in enumerate(picks, start=1):
            doubt = f"{one.doubt:.4f}" if np.isfinite(one.doubt) else ""
            writer.writerow([one.name, str(rank), doubt, f"{one.distance:.4f}"])


def _labelled(images: Path, labels: Sequence[str]) -> list[Label]:
    """Labelled frames whose pictures are there, half skeletons too."""
    found: list[Label] = []
    for given in labels:
        file = resolve(given, images)
        items = labels_of(fitting_formats(file)[0], file, Reading(images, missing=True, strict=False))
        found += [item for item in items if isinstance(item, Label)]
    return found


def _patients(names: Sequence[str], labelled: Sequence[str], regex: str) -> tuple[np.ndarray, Counter[int]]:
    if not regex:
        return np.arange(len(names)), Counter()
    groups = groups_by_name([*names, *labelled], regex)
    return groups[: len(names)], Counter(groups[len(names) :].tolist())
