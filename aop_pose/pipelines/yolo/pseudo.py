"""Weights of pseudo-labels that follow the network while it trains (``--dynamic``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.inference.engine import Network
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pseudo.run import Origin
from aop_pose.pseudo.signals import CONFIDENCES, Noise, judge, rng_for


@attrs.frozen
class Confidence:
    """A rule by which weights are computed anew while a network trains (``--dynamic``)."""

    rule: str
    noise: Noise
    draws: int
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about it for run.json."""
        return {"confidence": self.rule, "draws": self.draws}

    @classmethod
    def of(cls, origin: Origin, config: YoloConfig, seed: int) -> Confidence:
        """The rule and the noise that made the table; those of ``pseudo-label`` where it does not say."""
        return cls(origin.rule.confidence, origin.noise, config.dynamic_draws, seed)

    def weights(self, network: Network, config: YoloConfig, pictures: Mapping[str, np.ndarray], epoch: int) -> Any:
        """Weight by name of gray pictures (H, W) uint8: the network against itself after noise, equation 14.

        Every draw follows from (seed, epoch, name). Where the network's answer is not finite the weight is 0.
        """
        contract = Contract(
            name="training", schema=AOP.name, head="pose", image_size=config.image_size, threshold=config.threshold,
            decode=config.decode, training_run={},
        )  # fmt: skip
        predictor = Predictor(contract, network, "training")
        weigh = CONFIDENCES[self.rule].weight
        seed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        found = {}
        for name, pixels in pictures.items():
            judged = judge(predictor, pixels, rng=rng_for(seed, name), draws=self.draws, noise=self.noise)
            weight = weigh(judged.signals)
            found[name] = weight if np.isfinite(weight) else 0.0
        return found
