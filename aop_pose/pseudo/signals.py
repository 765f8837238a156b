"""From a network and a picture to the signals of trust: one clean pass and several after noise."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import attrs
import cv2
import numpy as np

from aop_pose.core.letterbox import fit
from aop_pose.errors import UsageError
from aop_pose.inference.decode import decode_pose, voters
from aop_pose.inference.predictor import Contract, Predictor, read_output

REFERENCE_SIDE = 512
"""Pixels of the longer side on the scale in which an entropy is told."""
LEAST_SPREAD = 1 / math.sqrt(6)
"""Pixels: root mean square distance from the centre of a pixel within it, the least that a spread can mean."""
TOLERANCE = 0.01
"""Share of the longer side at which a spread halves trust, nearly: the weight is 1/e. It moves no ranking."""


@attrs.frozen
class Signals:
    """The signals of one frame's clean and noisy passes about its prediction. Spreads are shares of the longer side."""

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
    """The cosine that stands in the table."""


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


_GRAIN = 1.0
"""Standard deviation in pixels of the blur that gives the speckle its grain."""


def _not_negative(instance: object, attribute: attrs.Attribute, value: float) -> None:
    if not 0 <= value < np.inf:
        raise ValueError(f"{attribute.name}: expected a number from 0 on, found {value}")


@attrs.frozen
class Noise:
    """Strength of the noise. Each draw takes every quantity anew, evenly between minus and plus its bound."""

    shift: float = attrs.field(default=0.04, validator=_not_negative)
    """Along x and along y, as a share of the picture's longer side."""
    rotation: float = attrs.field(default=6.0, validator=_not_negative)
    """Degrees, about the centre of the picture."""
    scale: float = attrs.field(default=0.08, validator=_not_negative)
    """Natural logarithm of the magnification."""
    gamma: float = attrs.field(default=0.3, validator=_not_negative)
    """Natural logarithm of the exponent put on gray values in [0, 1]: the gain knob."""
    speckle: float = attrs.field(default=0.15, validator=_not_negative)
    """Standard deviation of the grain that multiplies the gray values; the same in every draw."""


@attrs.frozen(eq=False)
class Disturbance:
    """One draw for pictures of one shape: a map of places, and what is done to gray values."""

    matrix: np.ndarray
    """(2, 3): a point (x, y) of the picture lies at ``matrix @ (x, y, 1)`` afterwards."""
    exponent: float
    grain: np.ndarray
    """(H, W), multiplies the gray values."""

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """The disturbed picture, uint8 of the same shape (H, W); what comes in from outside is black."""
        height, width = pixels.shape
        moved = cv2.warpAffine(pixels, self.matrix, (width, height), flags=cv2.INTER_LINEAR)
        gray = (moved.astype(np.float32) / 255) ** self.exponent * self.grain
        return np.round(255 * np.clip(gray, 0, 1)).astype(np.uint8)

    def undo(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) on the disturbed picture -> where they lie on the original."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T


def draw(noise: Noise, shape: tuple[int, int], rng: np.random.Generator) -> Disturbance:
    """One draw for a picture of ``shape`` (H, W)."""
    height, width = shape
    angle = rng.uniform(-noise.rotation, noise.rotation)
    magnification = np.exp(rng.uniform(-noise.scale, noise.scale))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, magnification)
    matrix[:, 2] = matrix[:, 2] + rng.uniform(-noise.shift, noise.shift, 2) * max(shape)
    exponent = float(np.exp(rng.uniform(-noise.gamma, noise.gamma)))
    grain = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), _GRAIN)
    return Disturbance(matrix, exponent, 1 + noise.speckle * grain / grain.std())


DRAWS = 8


@attrs.frozen(eq=False)
class Reading:
    """The answer of one pass, in pixels of the network's input."""

    points: np.ndarray
    """(n, 2), also where the score is low; NaN where the output is not finite."""
    score: float
    spread: float
    """Of the places a point may have: ``spread_of_candidates`` of a pose head, ``spread_of_maps`` of a heatmap head."""
    scores: np.ndarray
    """One number for each place the network considered."""


def _read_pose(output: np.ndarray, contract: Contract) -> Reading:
    points, score = decode_pose(output, contract.decode)
    spread = math.nan
    if np.isfinite(points).all():
        chosen, weights = voters(output)
        spread = spread_of_candidates(output[5:, chosen].T.reshape(len(chosen), -1, 2).astype(np.float64), weights)
    return Reading(points, score, spread, output[4])


def _read_heatmap(output: np.ndarray, contract: Contract) -> Reading:
    points, scores = read_output(output, contract)
    # Maps of outlines and of the stance follow those of the points, and say nothing about where a point lies.
    output = output[: len(points)]
    if not (np.isfinite(output).all() and np.isfinite(points).all()):
        return Reading(points, 0.0, math.nan, np.zeros_like(output))
    maps = np.clip(output, 0, None).astype(np.float64)
    shares = maps / maps.sum(axis=(1, 2), keepdims=True)
    stride = contract.image_size / output.shape[-1]
    return Reading(points, float(scores.min()), spread_of_maps(shares) * stride, shares)


READERS: dict[str, Callable[[np.ndarray, Contract], Reading]] = {"pose": _read_pose, "heatmap": _read_heatmap}
"""Head of the contract -> how its raw output is read. A heatmap head gives the maps, each divided by its sum, as
``scores``: their Shannon entropy is that of where each point lies, mean over the points, plus log n."""


@attrs.frozen(eq=False)
class Judged:
    """Points in pixels of the frame, and the signals of trust."""

    points: np.ndarray
    """(n, 2); NaN where the network's answer is not finite."""
    signals: Signals


def rng_for(seed: int, name: str) -> np.random.Generator:
    """The draws of one frame: they follow from the seed and the frame's name alone, not from the other frames."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def check_head(predictor: Predictor) -> None:
    """UsageError where nothing here reads the network's head."""
    head = predictor.contract.head
    if head not in READERS:
        raise UsageError(f"--weights: expected a network with the head {' or '.join(READERS)}, found {head}")


def judge(
    predictor: Predictor,
    pixels: np.ndarray,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
    noise: Noise | None = None,
) -> Judged:
    """Predict on a gray picture (H, W) uint8, once as it is and ``draws`` times after noise.

    Noise is put on the picture as fitted into the network's input, so that it is as strong at every resolution, and
    its effect on the points is undone. ``noise``: default strengths where None.
    """
    read = READERS[predictor.contract.head]
    fitted, box = fit(pixels, predictor.contract.image_size)
    disturbances = [draw(noise or Noise(), (fitted.shape[0], fitted.shape[1]), rng) for _ in range(draws)]
    answers = predictor.raw_outputs([fitted, *(disturbance.apply(fitted) for disturbance in disturbances)])
    clean, *noisy = [read(answer.output, predictor.contract) for answer in answers]
    again = [disturbance.undo(reading.points) for disturbance, reading in zip(disturbances, noisy, strict=True)]
    side = float(predictor.contract.image_size)
    signals = Signals(
        score=clean.score,
        candidate_spread=clean.spread / side,
        score_entropy=shannon_entropy(clean.scores) / math.log(max(2, clean.scores.size)),
        noise_spread=spread_over_passes(np.stack([clean.points, *again])) / side,
        cosine=_mean_cosine(clean.points, again),
        cosine_centred=_mean_cosine(_centred(clean.points), [_centred(points) for points in again]),
        cosine_scores=_mean_cosine(clean.scores, [reading.scores for reading in noisy]),
    )
    return Judged(box.backward(clean.points), signals)


def _centred(points: np.ndarray) -> np.ndarray:
    return points - points.mean(axis=0)


def _mean_cosine(clean: np.ndarray, noisy: list[np.ndarray]) -> float:
    return float(np.mean([cosine_confidence(clean, vector) for vector in noisy]))
