"""Several networks, each in several views of a frame: where they agree, and how far apart they lie."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np

from aop_pose.core.keypoints import Prediction
from aop_pose.errors import UsageError
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.trust.passes import turn

VIEWS = ((0.0, 1.0), (-5.0, 1.0), (5.0, 1.0), (-8.0, 1.0), (8.0, 1.0), (0.0, 0.9), (0.0, 1.1))
"""Degrees and scale about the centre of the picture; the first is the picture as it is."""
LEAST_SHARE = 0.5
"""Share of the passes that have to find the points for the frame to show them."""
FAR = 1.5
"""Beyond so many times the median distance, a pass pulls at the robust mean with no more force."""
STEPS = 20


@attrs.frozen(eq=False)
class Agreement:
    """The common answer of all passes, in pixels of the frame."""

    points: np.ndarray
    """(n, 2) robust mean; NaN where too few passes found anything."""
    spreads: np.ndarray
    """(n,) mean distance of the passes from it."""
    score: float
    """Median of the passes' scores."""
    found: int
    """Passes that found the points."""
    passes: int


@attrs.frozen(eq=False)
class Ensemble:
    """Networks of one schema that label together, each in the first ``views`` of ``VIEWS``."""

    networks: Sequence[Predictor]
    views: int = attrs.field(default=len(VIEWS))

    @views.validator
    def _check_views(self, attribute: object, value: int) -> None:
        if not 1 <= value <= len(VIEWS):
            raise UsageError(f"--views: expected 1 to {len(VIEWS)}, found {value}")

    def __attrs_post_init__(self) -> None:
        schemas = sorted({network.schema.name for network in self.networks})
        if len(schemas) != 1:
            raise UsageError(f"--weights: expected networks of one schema, found {', '.join(schemas) or 'none'}")
        ids = [network.model_id for network in self.networks]
        if again := next((one for one in ids if ids.count(one) > 1), None):
            raise UsageError(f"--weights: expected each network once, found {again} again")

    @property
    def contract(self) -> Contract:
        return self.networks[0].contract

    @property
    def model_id(self) -> str:
        return " + ".join(network.model_id for network in self.networks)

    def agree(self, pixels: np.ndarray, least: float | None = None) -> Agreement:
        """The answer for a gray picture (H, W) uint8; ``least``: score in the place of the networks' thresholds."""
        turned = [turn(pixels, degrees, scale) for degrees, scale in VIEWS[: self.views]]
        pictures, backs = [picture for picture, _ in turned], [back for _, back in turned]
        answers: list[Prediction] = []
        places: list[np.ndarray] = []
        for network in self.networks:
            found = _with_threshold(network, least).find(pictures)
            answers += found
            places += [
                one.keypoints.coords @ back[:, :2].T + back[:, 2]
                for one, back in zip(found, backs, strict=True)
                if one.keypoints is not None and np.isfinite(one.keypoints.coords).all()
            ]
        score = float(np.median([one.score for one in answers]))
        if len(places) < LEAST_SHARE * len(answers):
            nothing = np.full((len(self.contract.schema_of_points.points), 2), np.nan)
            return Agreement(nothing, nothing[:, 0], score, len(places), len(answers))
        points = np.stack(places)
        mean = robust_mean(points)
        return Agreement(mean, np.linalg.norm(points - mean, axis=2).mean(axis=0), score, len(places), len(answers))


def robust_mean(points: np.ndarray) -> np.ndarray:
    """(n, 2) of passes (passes, n, 2): Huber's estimate, so that a pass that went astray counts little.

    Beyond ``FAR`` times the median distance a pass counts by the inverse of its distance.
    """
    mean = np.median(points, axis=0)
    for _ in range(STEPS):
        distances = np.linalg.norm(points - mean, axis=2)
        near = FAR * np.median(distances, axis=0)
        shares = np.where(distances > near, near / np.maximum(distances, 1e-12), 1.0)
        total = shares.sum(axis=0)
        if not total.all():
            return mean
        mean = (shares[..., None] * points).sum(axis=0) / total[:, None]
    return mean


def _with_threshold(network: Predictor, least: float | None) -> Predictor:
    if least is None:
        return network
    return attrs.evolve(network, contract=network.contract.model_copy(update={"threshold": least}))


def teachers(networks: Sequence[Predictor], views: int | None) -> Predictor | Ensemble:
    """One network as it is where no more is asked for, else an ensemble: the labellers of ``--weights``."""
    if len(networks) == 1 and views is None:
        return networks[0]
    return Ensemble(networks, len(VIEWS) if views is None else views)
