"""Pseudo-labelled frames of a training run: which ones, what run.json says of them, and weights that follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import filename, parse_rows, read_list
from aop_pose.formats.label import Label, find_picture, resolve
from aop_pose.inference.predictor import Contract, Network, Predictor
from aop_pose.pipelines.yolo.config import YoloConfig
from aop_pose.pseudo.run import Origin, PseudoFrame, read_origin, read_pseudo
from aop_pose.pseudo.signals import CONFIDENCES, Noise, judge, rng_for


@attrs.frozen(eq=False)
class PseudoSet:
    """The kept frames of a ``pseudo.csv``."""

    file: str
    """As given, like the list that chose among its frames."""
    listed: str | None
    frames: list[PseudoFrame]
    origin: Origin

    def facts(self, confidence: Confidence | None) -> dict[str, Any]:
        """Facts about them for run.json."""
        weights = np.array([frame.weight for frame in self.frames])
        return {
            "file": self.file, "list": self.listed,
            "frames": len(self.frames), "model": self.origin.model, "confidence": self.origin.confidence,
            "weights": {
                "min": float(weights.min()), "mean": float(weights.mean()), "median": float(np.median(weights)),
                "max": float(weights.max()), "zero": int((weights == 0).sum()),
            },
            "dynamic": None if confidence is None else {"confidence": confidence.rule, "draws": confidence.draws},
        }  # fmt: skip


def find_pseudo(
    pseudo: str | Path, data: Path, listed: str | Path | None, others: Mapping[str, Sequence[Label]]
) -> PseudoSet:
    """The frames of a ``pseudo.csv``, only those that a list names where there is one.

    Both files are taken as given, else below ``data``. ``others``: option -> frames that have labels.

    Raises:
        UsageError: a file does not fit, a listed frame is not in the table, a frame has a label too, or none is left.
    """
    file = resolve(pseudo, data)
    frames = read_pseudo(file, data, keep=True)
    for option, labelled in others.items():
        places = {frame.path.resolve() for frame in labelled}
        if both := [one.frame.name for one in frames if one.frame.path.resolve() in places]:
            more = f" (and {len(both) - 1} more)" if len(both) > 1 else ""
            raise UsageError(f"--pseudo: expected frames without labels, found {both[0]}{more} also in {option}")
    if listed is not None:
        frames = _listed(frames, file, resolve(listed, data), data)
    return PseudoSet(str(pseudo), None if listed is None else str(listed), frames, read_origin(file))


def _listed(frames: list[PseudoFrame], file: Path, listed: Path, data: Path) -> list[PseudoFrame]:
    wanted = {find_picture(data, name).resolve(): name for name in read_list(listed)}
    names = parse_rows(file, ("Filename",), lambda row: filename(row.cells["Filename"]))
    rows = {place.resolve() for name in names for place in (data / name, data / "images" / name)}
    if unknown := [name for place, name in wanted.items() if place not in rows]:
        raise UsageError(f"{listed}: expected frames of {file}, found {unknown[0]} ({len(unknown)} such frames)")
    kept = [one for one in frames if one.frame.path.resolve() in wanted]
    if not kept:
        raise UsageError(f"{file}: expected at least one frame of {listed} with keep = 1, found none")
    return kept


@attrs.frozen
class Confidence:
    """A rule by which weights are computed anew while a network trains (``--dynamic``)."""

    rule: str
    noise: Noise
    draws: int
    seed: int

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
