"""How far to trust a prediction without knowing the answer: every formula, and the rules that make a weight of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np

REFERENCE_SIDE = 512
"""Pixels of the longer side on the scale in which an entropy is told."""
LEAST_SPREAD = 1 / math.sqrt(6)
"""Pixels: root mean square distance from the centre of a pixel within it, the least that a spread can mean."""
TOLERANCE = 0.01
"""Share of the longer side at which a spread halves trust, nearly: the weight is 1/e. It moves no ranking."""


@attrs.frozen
class Signals:
    """What one frame's clean and noisy passes say of its prediction. Spreads are shares of the longer side."""

    score: float
    """Of the clean pass: the detection confidence, in [0, 1]."""
    candidate_spread: float
    """Between the candidates of the clean pass, see ``spread_of_candidates``."""
    score_entropy: float
    """Of the per-candidate scores of the clean pass, see ``shannon_entropy``; over its maximum, in [0, 1]."""
    noise_spread: float
    """Between the clean pass and those after noise, see ``spread_over_passes``."""
    cosine: float
    """C of equation 14, in [0, 0.5], mean over the draws; vectors: all coordinates in pixels of the network's input."""
    cosine_centred: float
    """The same of the points minus their mean: what is left is the shape of the triangle."""
    cosine_scores: float
    """The same of the scores of all candidates. They stay in their places when noise shifts the picture."""

    @property
    def entropy(self) -> float:
        """Nats, see ``entropy_of_spread``."""
        return entropy_of_spread(self.candidate_spread * REFERENCE_SIDE)


def cosine_confidence(p: np.ndarray, q: np.ndarray) -> float:
    """C(p, q) = (p . q / (|p| |q|) + 1) / 4 in [0, 0.5]; NaN where a vector has no length.

    "Progressive Semi-supervised Landmark Detection Algorithm For Intrapartum Ultrasound Measurement", equation 14:
    p is the prediction, q the one after noise. Which vectors, which noise and how many draws are not said there.
    """
    p, q = np.ravel(p).astype(np.float64), np.ravel(q).astype(np.float64)
    lengths = float(np.linalg.norm(p) * np.linalg.norm(q))
    if not lengths > 0:
        return math.nan
    # Rounding may bring a quotient of equal vectors beyond 1.
    return (min(max(float(p @ q) / lengths, -1.0), 1.0) + 1) / 4


def shannon_entropy(values: np.ndarray) -> float:
    """H = -sum(q log q) in nats, q = values / sum(values): of a map that is not negative; NaN where the sum is 0.

    Of a heatmap's pixels this is the entropy of where its point lies.
    """
    values = np.ravel(values).astype(np.float64)
    total = values.sum()
    if not total > 0:
        return math.nan
    shares = values / total
    # After the division: a value that is almost nothing may have become nothing.
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def entropy_of_spread(spread: float) -> float:
    """log(pi e s^2) in nats: the entropy of a round Gaussian whose root mean square distance from its centre is s.

    s in pixels, at least ``LEAST_SPREAD``. A heatmap that holds this Gaussian has this Shannon entropy, so that pose
    heads and heatmap heads are told in one unit.
    """
    return math.log(math.pi * math.e * max(spread, LEAST_SPREAD) ** 2)


def spread_of_candidates(points: np.ndarray, weights: np.ndarray) -> float:
    """Root mean square distance of candidates' points (k, n, 2) from their mean, both weighted by ``weights`` (k,).

    The mean over the n points is taken of the squares. ``weights`` add up to 1; unit as of the points.
    """
    centre = np.tensordot(weights, points, axes=1)
    squares = ((points - centre) ** 2).sum(axis=-1).mean(axis=-1)
    return math.sqrt(float(weights @ squares))


def spread_of_maps(shares: np.ndarray) -> float:
    """Root mean square distance of a map's pixels from their mean, weighted by ``shares`` (n, h, w), in pixels.

    Each map adds up to 1; the mean over the n maps is taken of the squares. Of a Gaussian of standard deviation s in
    each direction it is s times the root of 2.
    """
    squares = 0.0
    for marginal in (shares.sum(axis=1), shares.sum(axis=2)):
        places = np.arange(marginal.shape[1])
        squares += float((marginal @ places**2 - (marginal @ places) ** 2).mean())
    return math.sqrt(max(squares, 0.0))


def spread_over_passes(points: np.ndarray) -> float:
    """Mean distance of points (passes, n, 2) from their mean over the passes, over points and passes; unit kept."""
    return float(np.linalg.norm(points - points.mean(axis=0), axis=-1).mean())


def steadiness(spread: float) -> float:
    """exp(-spread / ``TOLERANCE``) in [0, 1] for a spread in shares of the longer side."""
    return math.exp(-spread / TOLERANCE)


def joint_spread(first: float, second: float) -> float:
    """Geometric mean of two spreads in shares of the longer side, each at least ``LEAST_SPREAD`` of the 512 scale."""
    least = LEAST_SPREAD / REFERENCE_SIDE
    return math.sqrt(max(first, least) * max(second, least))


@attrs.frozen
class Confidence:
    """A rule that makes a weight in [0, 1] of the signals."""

    weight: Callable[[Signals], float]
    cosine: Callable[[Signals], float] = lambda signals: signals.cosine
    """Which of the cosines stands in the table."""


CONFIDENCES = {
    # A prediction is trusted where the candidates agree and noise does not move it.
    "steady": Confidence(lambda s: steadiness(joint_spread(s.candidate_spread, s.noise_spread))),
    "noise": Confidence(lambda s: steadiness(s.noise_spread)),
    "entropy": Confidence(lambda s: steadiness(s.candidate_spread)),
    "score-entropy": Confidence(lambda s: 1 - s.score_entropy),
    "detection": Confidence(lambda s: s.score),
    "paper": Confidence(lambda s: s.cosine),
    "paper-centred": Confidence(lambda s: s.cosine_centred, lambda s: s.cosine_centred),
    "paper-scores": Confidence(lambda s: s.cosine_scores, lambda s: s.cosine_scores),
}
DEFAULT = "steady"
"""The one that ranks errors best: ``tools/confidence_table.py``."""
