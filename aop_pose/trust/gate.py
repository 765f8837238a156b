"""The gate: a few signals, one score, one threshold. Stored in an artefact, so that measuring needs numpy only."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aop_pose.trust.appearance import STRUCTURES, Structure
from aop_pose.trust.evidence import SIGNALS, Evidence

_SAYS = {
    "symphysis": "one structure missing: no symphysis is seen where PS1 and PS2 lie",
    "head": "one structure missing: no fetal head is seen where FH1 lies",
    "symphysis_score": "no symphysis found with confidence",
    "head_score": "no fetal head found with confidence",
    "second_symphysis_score": "disagreement between passes: the symphysis is not found again on a second look",
    "second_head_score": "disagreement between passes: the fetal head is not found again on a second look",
    "symphysis_sharpness": "no symphysis found with confidence: PS1 or PS2 may lie in several places",
    "head_sharpness": "no fetal head found with confidence: FH1 may lie in several places",
    "second_symphysis_sharpness": "no symphysis found with confidence: on a second look it may lie in several places",
    "second_head_sharpness": "no fetal head found with confidence: on a second look FH1 may lie in several places",
    "symphysis_steadiness": "disagreement between passes: a second look finds PS1 or PS2 elsewhere",
    "head_steadiness": "disagreement between passes: a second look finds FH1 elsewhere",
    "shape": "implausible geometry: the three points lie as they do in no known frame",
    "dark": "the sector is cut at the symphysis",
}
FARTHEST = 20.0
"""Standard deviations beyond which a signal says no more."""
KNOTS = (0.0, -1.0, -2.0)
"""Standard deviations below which a signal has a further coefficient.

One that is as in most frames says little, whether more or less so; one far below them says much. With one coefficient
a signal, a structure that is plainly seen makes up for another that is not there.
"""
_NEITHER = "not the standard plane: neither symphysis nor head is seen where the points lie"


@attrs.frozen
class Verdict:
    """Whether a number may be given, and why not."""

    trust: float
    """In [0, 1]."""
    reason: str
    """Empty where it may."""


class Linear(BaseModel):
    """A weighted sum of an appearance vector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: list[float]
    offset: float

    def of(self, vector: np.ndarray) -> float:
        return float(vector @ self._weights) + self.offset

    @cached_property
    def _weights(self) -> np.ndarray:
        return np.array(self.weights)


class Gate(BaseModel):
    """Logistic regression on standardised signals, each bent at ``KNOTS``; ``trust`` below ``threshold`` withholds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    appearance: dict[Structure, Linear]
    shape_mean: list[float]
    shape_precision: list[list[float]]
    """Inverse covariance of the shape vectors of frames that may be measured."""
    means: dict[str, float]
    """Of each signal over frames that may be measured."""
    scales: dict[str, float]
    coefficients: dict[str, list[float]]
    """Of each signal: along its whole range, and added below each of ``KNOTS``."""
    intercept: float
    threshold: float = Field(ge=0, le=1)
    risk: float = Field(gt=0, lt=1)
    """Share of frames of the fitted kinds that get through, as measured by cross-validation; each kind counts alike."""
    fitted: dict[str, Any]
    """On what, and how it did; for people."""

    @model_validator(mode="after")
    def _check_names(self) -> Gate:
        for name in ("means", "scales", "coefficients"):
            if set(getattr(self, name)) != set(SIGNALS):
                raise ValueError(f"{name}: expected {', '.join(SIGNALS)}, found {', '.join(getattr(self, name))}")
        for name, values in self.coefficients.items():
            if len(values) != 1 + len(KNOTS):
                raise ValueError(f"coefficients: expected {1 + len(KNOTS)} of {name}, found {len(values)}")
        if set(self.appearance) != set(STRUCTURES):
            raise ValueError(f"appearance: expected {', '.join(STRUCTURES)}, found {', '.join(self.appearance)}")
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """All but the appearance."""
        return {"threshold": self.threshold, "risk": self.risk, "coefficients": self.coefficients, **self.fitted}

    def signals(self, evidence: Evidence) -> np.ndarray:
        """In the order of ``SIGNALS``."""
        seen = {name: self.appearance[name].of(evidence.appearance[name]) for name in STRUCTURES}
        return signals_of(evidence, seen, plausibility(evidence.shape, self.shape_mean, self.shape_precision))

    def judge(self, evidence: Evidence) -> Verdict:
        """The score of a frame, and where it is too low the signal that speaks most against it."""
        values = dict(zip(SIGNALS, self.signals(evidence), strict=True))
        parts = {
            name: float(bent(self._standard(name, values[name])) @ np.array(self.coefficients[name]))
            for name in SIGNALS
        }
        trust = sigmoid(self.intercept + sum(parts.values()))
        if trust >= self.threshold:
            return Verdict(trust, "")
        worst = min(parts, key=lambda name: parts[name])
        appear = [parts[name] for name in STRUCTURES]
        says = _NEITHER if worst in STRUCTURES and max(appear) < 0.5 * min(appear) else _SAYS[worst]
        return Verdict(trust, f"withheld: {says} (trust {trust:.3f}, needed {self.threshold:.3f})")

    def _standard(self, name: str, value: float) -> float:
        return min(max((value - self.means[name]) / self.scales[name], -FARTHEST), FARTHEST)


def bent(standard: float | np.ndarray) -> np.ndarray:
    """A standardised signal (...) and how far it is below each of ``KNOTS``, as columns (..., 4)."""
    return np.stack([np.asarray(standard), *(np.minimum(np.asarray(standard) - knot, 0) for knot in KNOTS)], axis=-1)


def signals_of(evidence: Evidence, seen: dict[Structure, float], shape: float) -> np.ndarray:
    """The signals of a frame, in the order of ``SIGNALS``, once its appearance and shape are told as numbers."""
    return np.array([seen["symphysis"], seen["head"], *evidence.of_passes(), shape, evidence.dark])


def plausibility(shape: np.ndarray, mean: object, precision: object) -> float:
    """-log(1 + Mahalanobis distance squared)."""
    gap = np.asarray(shape) - np.asarray(mean)
    return -math.log1p(max(0.0, float(gap @ np.asarray(precision) @ gap)))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -500.0), 500.0)))
