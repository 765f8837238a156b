"""From pictures that may and may not be measured to a gate: least squares, a logistic regression, a cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
import numpy as np

from aop_pose.core.stances import UPRIGHT, Stance
from aop_pose.errors import UsageError
from aop_pose.trust.gate import (
    FARTHEST,
    KNOTS,
    SIGNALS,
    STRUCTURES,
    Evidence,
    Gate,
    Linear,
    Structure,
    bent,
    plausibility,
    signals_of,
)
from lib.conformal import folds_of

FRAMES, MARKED = "frames", "frames with marks, looks and cuts"
NO_SYMPHYSIS, NO_HEAD, CUT = "symphysis painted out", "head painted out", "sector cut"
GOOD = (FRAMES, MARKED)
"""The kinds of pictures that may be measured."""
SHOWS: dict[str, frozenset[Structure]] = {
    FRAMES: frozenset(STRUCTURES),
    MARKED: frozenset(STRUCTURES),
    NO_SYMPHYSIS: frozenset({"head"}),
    NO_HEAD: frozenset({"symphysis"}),
    CUT: frozenset({"head"}),
}
"""Kind of picture -> the structures it shows; every other kind shows none."""
MARKED_SHARE = 0.1
"""Weight of all marked frames over that of the plain ones."""
RISK = 0.01
RISKS = (0.003, 0.0025, 0.002, 0.0015, 0.001, 0.0005)
FOLDS = 5
_RIDGE = 0.03
"""Of the vectors, as a share of their mean variance."""
_STEPS = 30
_PENALTY = 1e-3


@attrs.frozen(eq=False)
class Sample:
    """One picture on which a network found points."""

    kind: str
    group: int
    """Equal for pictures made of the same or nearly the same frame."""
    evidence: Evidence
    stance: Stance = UPRIGHT
    """As the network tells how it was given."""


@attrs.frozen(eq=False)
class _Learned:
    """What has to be learned before the signals of a picture are known."""

    appearance: dict[Structure, Linear]
    rim: dict[Structure, Linear]
    shape_mean: np.ndarray
    shape_precision: np.ndarray

    def signals(self, evidence: Evidence) -> np.ndarray:
        shape = plausibility(evidence.shape, self.shape_mean, self.shape_precision)
        return signals_of(evidence, self.appearance, self.rim, shape)


def fit_gate(samples: Sequence[Sample], asked: dict[str, int], risk: float = RISK) -> Gate:
    """A gate that lets through a share ``risk`` of the pictures that may not be measured, each kind counting alike.

    Args:
        samples: pictures of the kinds ``GOOD`` and of others, on which points were found.
        asked: kind -> how many pictures of it the network was given, those without points included.

    Raises:
        UsageError: points were found on frames of fewer than ``FOLDS`` groups, or on nothing else.

    Appearance and shape are learned on four fifths of the groups and told on the fifth, five times; the logistic
    regression sees only what was told so. The threshold is set on what regressions say of folds that they did not see.
    What is stored was then learned on all.
    """
    kinds = np.array([sample.kind for sample in samples])
    groups = np.array([sample.group for sample in samples])
    good = np.isin(kinds, GOOD)
    if len(np.unique(groups[good])) < FOLDS or good.all():
        raise UsageError(
            f"gate: expected points found on frames of at least {FOLDS} groups and on other pictures, found points on "
            f"{good.sum()} of {asked.get(FRAMES, 0)} frames and on {(~good).sum()} other pictures"
        )
    fold = folds_of(groups, FOLDS)
    signals = np.empty((len(samples), len(SIGNALS)))
    for number in range(FOLDS):
        learned = _learn([sample for sample, out in zip(samples, fold == number, strict=True) if not out], asked)
        for i in np.flatnonzero(fold == number).tolist():
            signals[i] = learned.signals(samples[i].evidence)
    means, scales = signals[good].mean(axis=0), np.maximum(signals[good].std(axis=0), 1e-3)
    standard = np.clip((signals - means) / scales, -FARTHEST, FARTHEST)
    columns = bent(standard).reshape(len(samples), -1)
    weights = _balanced(kinds, asked)
    coefficients, intercept = _logistic(columns, good, weights)
    trust = _crossed(columns, good, weights, fold)
    # A picture without points has got nothing through; the cut is made over all that were given.
    others = len(set(asked) - set(GOOD))
    share = np.array([0.0 if kind in GOOD else 1 / asked[kind] for kind in kinds]) / others
    threshold = _cut(trust, share, risk)
    learned = _learn(samples, asked)
    through = {kind: float(((kinds == kind) & (trust >= threshold)).sum() / count) for kind, count in asked.items()}
    return Gate(
        appearance=learned.appearance,
        rim=learned.rim,
        shape_mean=learned.shape_mean.round(6).tolist(),
        shape_precision=learned.shape_precision.round(4).tolist(),
        means=_named(means),
        scales=_named(scales),
        coefficients={
            name: values.round(5).tolist()
            for name, values in zip(SIGNALS, coefficients.reshape(-1, 1 + len(KNOTS)), strict=True)
        },
        intercept=round(float(intercept), 5),
        threshold=threshold,
        risk=risk,
        fitted={"pictures": dict(asked), "let_through": {kind: round(value, 4) for kind, value in through.items()}},
    )


def safest(gates: Sequence[Gate]) -> Gate | None:
    """That of several stated risks, the largest first, which withholds most and still measures what it should.

    Of those that in cross-validation measure 97 % of frames, and at most 0.5 % of painted heads and 1 % of each other
    kind that must not be measured: the last that measures 99 % of frames and 95 % of marked ones; where none measures
    so many, the first of them. None where there is none.
    """
    safe = [gate for gate in gates if _is_safe(gate.fitted["let_through"])]
    plenty = [gate for gate in safe if _measures_plenty(gate.fitted["let_through"])]
    return plenty[-1] if plenty else safe[0] if safe else None


def _is_safe(through: Mapping[str, float]) -> bool:
    most = {kind: 0.005 if kind == NO_HEAD else 0.01 for kind in through if kind not in GOOD}
    return through[FRAMES] >= 0.97 and all(through[kind] <= share for kind, share in most.items())


def _measures_plenty(through: Mapping[str, float]) -> bool:
    return through[FRAMES] >= 0.99 and through.get(MARKED, 1.0) >= 0.95


def _named(values: np.ndarray) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in zip(SIGNALS, values, strict=True)}


def _balanced(kinds: np.ndarray, asked: dict[str, int]) -> np.ndarray:
    """Weights (n,): one half for what may be measured, the other for the rest, where each kind counts as it is risked.

    That is by the share of its pictures on which points were found: a kind of which one picture of hundreds has points
    weighs next to nothing.
    """
    weights, good = np.array([1.0 / asked[kind] for kind in kinds]), np.isin(kinds, GOOD)
    weights[kinds == MARKED] *= MARKED_SHARE
    weights[good] /= 2 * weights[good].sum()
    weights[~good] /= 2 * weights[~good].sum()
    return weights


def _learn(samples: Sequence[Sample], asked: dict[str, int]) -> _Learned:
    shapes = np.stack([sample.evidence.shape for sample in samples if sample.kind == FRAMES])
    rimmed = {name: _with_rim(samples, name) for name in STRUCTURES}
    covariance = np.cov(shapes.T) + 1e-5 * np.eye(shapes.shape[1])
    return _Learned(
        {name: _least_squares(samples, name, asked) for name in STRUCTURES},
        {name: _least_squares(rimmed[name], name, asked, "rims") for name in STRUCTURES if rimmed[name]},
        shapes.mean(axis=0),
        np.linalg.inv(covariance),
    )


def _with_rim(samples: Sequence[Sample], structure: Structure) -> list[Sample]:
    """The samples that outline it; none where all of them may be measured, or none of them."""
    those = [one for one in samples if structure in one.evidence.rims]
    return those if len({_teaches(one, structure) for one in those} - {None}) == 2 else []


def _teaches(sample: Sample, structure: Structure) -> float | None:
    """1 where the structure is to be measured, -1 where it is not there, None where it is seen in a frame without the
    other one."""
    if sample.kind in GOOD:
        return 1.0
    return None if structure in SHOWS.get(sample.kind, frozenset()) else -1.0


def _least_squares(
    samples: Sequence[Sample],
    structure: Structure,
    asked: dict[str, int],
    told: Literal["appearance", "rims"] = "appearance",
) -> Linear:
    """The weighted sum of vectors that is nearest to what the samples teach.

    Ridge regression of the two labels (Fisher's discriminant with a shrunk covariance).
    """
    used = [(one, label) for one in samples if (label := _teaches(one, structure)) is not None]
    vectors = np.stack([getattr(one.evidence, told)[structure] for one, _ in used])
    target = np.array([label for _, label in used])
    weights = _balanced(np.array([one.kind for one, _ in used]), asked)
    mean = weights @ vectors
    centred = vectors - mean
    spread = (centred * weights[:, None]).T @ centred
    spread += _RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    found = np.linalg.solve(spread, (centred * weights[:, None]).T @ (target - weights @ target))
    offset = float(weights @ target - mean @ found)
    return Linear(weights=[float(f"{value:.4g}") for value in found], offset=round(offset, 6))


def _logistic(signals: np.ndarray, good: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weighted logistic regression with a small square penalty, by Newton's steps; coefficients and intercept."""
    columns = np.column_stack([signals, np.ones(len(signals))])
    penalty = _PENALTY * np.eye(columns.shape[1])
    found = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(columns @ found, -30, 30)))
        slope = columns.T @ (weights * (good - share)) - penalty @ found
        bend = (columns * (weights * share * (1 - share))[:, None]).T @ columns + penalty
        step = np.linalg.solve(bend, slope)
        found = found + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
    return found[:-1], float(found[-1])


def _crossed(columns: np.ndarray, good: np.ndarray, weights: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Trust (n,) of each sample by a regression on the other folds."""
    told = np.empty(len(columns))
    for number in range(FOLDS):
        out = fold == number
        coefficients, intercept = _logistic(columns[~out], good[~out], weights[~out])
        told[out] = columns[out] @ coefficients + intercept
    return np.asarray(1 / (1 + np.exp(-np.clip(told, -500, 500))))


def _cut(trust: np.ndarray, share: np.ndarray, risk: float) -> float:
    """The least threshold at which the shares of what is let through add up to ``risk`` at most."""
    order = np.argsort(-trust, kind="stable")
    beyond = np.flatnonzero(np.cumsum(share[order]) > risk)
    if not len(beyond):
        return 0.0
    return min(1.0, float(np.nextafter(trust[order][beyond[0]], 2.0)))
