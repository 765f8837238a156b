"""The gate: a few signals, one score, one threshold. Stored in an artefact, so that measuring needs numpy only."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from aop_pose.trust.appearance import STRUCTURES, Structure
from aop_pose.trust.evidence import SIGNALS, Evidence, logit, steadiness

_SAYS = {
    "symphysis": "one structure missing: no symphysis is seen where PS1 and PS2 lie",
    "head": "one structure missing: no fetal head is seen where FH1 lies",
    "score": "no anatomy found with confidence",
    "second_score": "disagreement between passes: the anatomy is not found again on a second look",
    "steadiness": "disagreement between passes: a second look finds the points elsewhere",
    "shape": "implausible geometry: the three points lie as they do in no known frame",
    "dark": "the sector is cut at the symphysis",
}
FARTHEST = 20.0
"""Standard deviations beyond which a signal says no more."""
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
    """Logistic regression on standardised signals; ``trust`` below ``threshold`` withholds the number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    appearance: dict[Structure, Linear]
    shape_mean: list[float]
    shape_precision: list[list[float]]
    """Inverse covariance of the shape vectors of frames that may be measured."""
    means: dict[str, float]
    """Of each signal over frames that may be measured."""
    scales: dict[str, float]
    coefficients: dict[str, float]
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
        parts = {name: self.coefficients[name] * self._standard(name, values[name]) for name in SIGNALS}
        trust = sigmoid(self.intercept + sum(parts.values()))
        if trust >= self.threshold:
            return Verdict(trust, "")
        worst = min(parts, key=lambda name: parts[name])
        appear = [parts[name] for name in STRUCTURES]
        says = _NEITHER if worst in STRUCTURES and max(appear) < 0.5 * min(appear) else _SAYS[worst]
        return Verdict(trust, f"withheld: {says} (trust {trust:.3f}, needed {self.threshold:.3f})")

    def _standard(self, name: str, value: float) -> float:
        return min(max((value - self.means[name]) / self.scales[name], -FARTHEST), FARTHEST)


def signals_of(evidence: Evidence, seen: dict[Structure, float], shape: float) -> np.ndarray:
    """The signals of a frame, in the order of ``SIGNALS``, once its appearance and shape are told as numbers."""
    return np.array([
        seen["symphysis"], seen["head"], logit(evidence.score), logit(evidence.second_score),
        steadiness(evidence.moved), shape, evidence.dark,
    ])  # fmt: skip


def plausibility(shape: np.ndarray, mean: object, precision: object) -> float:
    """-log(1 + Mahalanobis distance squared)."""
    gap = np.asarray(shape) - np.asarray(mean)
    return -math.log1p(max(0.0, float(gap @ np.asarray(precision) @ gap)))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -500.0), 500.0)))
