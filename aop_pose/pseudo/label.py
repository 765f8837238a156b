"""One file -> one row: points, how far to trust them, and why a frame is no label."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.core.keypoints import to_edges
from aop_pose.core.results import as_text
from aop_pose.core.schemas import AOP
from aop_pose.errors import UnreadableError
from aop_pose.formats.iugc import ANGLE, COLUMNS, KEEP, point_cells
from aop_pose.geometry import angle_of_progression
from aop_pose.inference.predictor import Predictor
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frames
from aop_pose.pseudo.ensemble import Agreement, Ensemble
from aop_pose.pseudo.signals import (
    CONFIDENCES,
    DEFAULT,
    DRAWS,
    REFERENCE_SIDE,
    Judged,
    Noise,
    entropy_of_spread,
    judge,
    rng_for,
    steadiness,
)

COLUMNS_OF_TABLE = (*COLUMNS, ANGLE, KEEP, "reason", "det_conf", "entropy", "cosine", "weight")
POINT_WEIGHTS = tuple(f"weight_{name}" for name in AOP.points)
"""Further columns of a table that weighs every point by itself."""
POINT_SPREADS = tuple(f"spread_{name}" for name in AOP.points)
"""Further columns of a table by an ensemble: mean distance of the passes from the point, in pixels of the picture."""
UNREADABLE = "unreadable: "
"""Beginning of the reason of a frame that could not be decoded."""


@attrs.frozen
class Rule:
    """The rule by which frames are labelled: everything a row depends on besides the picture and the network."""

    confidence: str = attrs.field(default=DEFAULT, validator=attrs.validators.in_(CONFIDENCES))
    draws: int = DRAWS
    seed: int = 0
    min_score: float | None = None
    """Detection confidence below which a frame shows no anatomy; None = what the network's contract says."""
    noise: Noise = attrs.field(factory=Noise)


def columns_of(teacher: Predictor | Ensemble) -> tuple[str, ...]:
    """The columns of a table of its labels."""
    return (*COLUMNS_OF_TABLE, *POINT_WEIGHTS, *POINT_SPREADS) if isinstance(teacher, Ensemble) else COLUMNS_OF_TABLE


def label(teacher: Predictor | Ensemble, entry: Entry, rule: Rule) -> dict[str, str]:
    """The row of a file, as text by column. ``keep`` is 1 unless the reason says why not."""
    row = _labelled(teacher, entry, rule)
    return {**dict.fromkeys(columns_of(teacher), ""), **row}


def _labelled(teacher: Predictor | Ensemble, entry: Entry, rule: Rule) -> dict[str, str]:
    try:
        frame = _only_frame(entry)
    except UnreadableError as error:
        return _dropped(entry, f"{UNREADABLE}{error}")
    if frame is None:
        return _dropped(entry, "several frames in one file, and a row names one picture: store them as pictures")
    unfit = frame.unfit_reason()
    if unfit:
        return _dropped(entry, unfit)
    if isinstance(teacher, Ensemble):
        return _agreed_row(entry, frame, teacher.agree(frame.pixels, rule.min_score))
    rng = rng_for(rule.seed, entry.source)
    judged = judge(teacher, frame.pixels, rng=rng, draws=rule.draws, noise=rule.noise)
    least = teacher.contract.threshold if rule.min_score is None else rule.min_score
    return _row(entry, frame, judged, rule, least)


def _only_frame(entry: Entry) -> Frame | None:
    """The frame of a still, None for a file that holds several."""
    frames = read_frames(entry)
    try:
        first = next(frames)
        return first if next(frames, None) is None else None
    finally:
        frames.close()


def _row(entry: Entry, frame: Frame, judged: Judged, rule: Rule, least: float) -> dict[str, str]:
    signals, points = judged.signals, judged.points
    if not signals.score >= least:
        reason = f"no anatomy found (best score {signals.score:.3f}, needed {least:g})"
        return _dropped(entry, reason, {"det_conf": as_text(signals.score)})
    if not np.isfinite(points).all():
        return _dropped(entry, "the network's answer is not finite", {"det_conf": as_text(signals.score)})
    confidence = CONFIDENCES[rule.confidence]
    weight = confidence.weight(signals)
    reason = _fault(points, frame)
    if not reason and not math.isfinite(weight):
        reason = f"no {rule.confidence} confidence can be computed: the network's answer to noise is not finite"
    return {
        **_pointed(entry, points, reason),
        "det_conf": as_text(signals.score),
        "entropy": as_text(signals.entropy),
        "cosine": _fine(confidence.cosine(signals)),
        "weight": _fine(weight),
    }


def _agreed_row(entry: Entry, frame: Frame, agreed: Agreement) -> dict[str, str]:
    """Each point weighs by how near the passes lie together, the frame as its points do in the mean."""
    if not np.isfinite(agreed.points).all():
        reason = f"no anatomy found in {agreed.passes - agreed.found} of {agreed.passes} passes"
        return _dropped(entry, reason, {"det_conf": as_text(agreed.score)})
    side = max(frame.width, frame.height)
    weights = [steadiness(float(spread) / side) for spread in agreed.spreads]
    entropy = entropy_of_spread(float(np.mean(agreed.spreads)) / side * REFERENCE_SIDE)
    return {
        **_pointed(entry, agreed.points, _fault(agreed.points, frame)),
        "det_conf": as_text(agreed.score),
        "entropy": as_text(entropy),
        "weight": _fine(float(np.mean(weights))),
        **dict(zip(POINT_WEIGHTS, map(_fine, weights), strict=True)),
        **dict(zip(POINT_SPREADS, map(as_text, agreed.spreads), strict=True)),
    }


def _fault(points: np.ndarray, frame: Frame) -> str:
    """The reason why points (3, 2) are no label of a frame; empty where they are."""
    edges = to_edges(points)
    if not ((edges >= 0) & (edges <= [frame.width, frame.height])).all():
        return f"a point lies outside the {frame.width}x{frame.height} picture"
    return "" if math.isfinite(float(angle_of_progression(*points))) else "the points define no angle"


def _pointed(entry: Entry, points: np.ndarray, reason: str) -> dict[str, str]:
    return {
        **_dropped(entry, reason),
        **dict(zip(COLUMNS[1:], point_cells(points), strict=True)),
        ANGLE: as_text(float(angle_of_progression(*points))),
        KEEP: "0" if reason else "1",
    }


def _dropped(entry: Entry, reason: str, known: Mapping[str, str] | None = None) -> dict[str, str]:
    return {
        **dict.fromkeys(COLUMNS_OF_TABLE, ""),
        "Filename": entry.source,
        KEEP: "0",
        "reason": reason,
        **(known or {}),
    }


def _fine(value: float) -> str:
    """8 decimals: cosines of raw coordinates differ from the fourth on."""
    return f"{value:.8f}" if math.isfinite(value) else ""
