"""From a network and a picture to the signals of trust: one clean pass and several after noise."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import attrs
import numpy as np

from aop_pose.decode import decode_pose, voters
from aop_pose.errors import UsageError
from aop_pose.letterbox import fit
from aop_pose.pseudo.confidence import (
    Signals,
    cosine_confidence,
    shannon_entropy,
    spread_of_candidates,
    spread_of_maps,
    spread_over_passes,
)
from aop_pose.pseudo.noise import Noise, draw
from aop_pose.runtime import Contract, Predictor, read_output

DRAWS = 8


@attrs.frozen(eq=False)
class Reading:
    """What one pass says, in pixels of the network's input."""

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
    answers = predictor.answers([fitted, *(disturbance.apply(fitted) for disturbance in disturbances)])
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
