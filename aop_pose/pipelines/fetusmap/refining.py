"""A predictor that refines the network for each volume (``aop-pose predict --refine``)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
import torch

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.artefact import predictor
from aop_pose.pipelines.fetusmap.budget import ADAM_COPIES, memory_of
from aop_pose.pipelines.fetusmap.landmarks import LandmarkNetwork
from aop_pose.pipelines.fetusmap.library import PoseLibrary, check_schema
from aop_pose.pipelines.fetusmap.planner import dry_peak
from aop_pose.pipelines.fetusmap.refine import Refined, RefineSettings, refine
from aop_pose.pipelines.native import TorchNetwork
from aop_pose.runtime_volume import VolumeMaps, VolumePredictor, read_maps
from aop_pose.volume_grid import Placement


@attrs.frozen(eq=False, kw_only=True)
class RefiningPredictor(VolumePredictor):
    """Each volume takes the memory of a training step and the time of some; the network stays as it was trained."""

    learner: LandmarkNetwork
    library: PoseLibrary
    device: torch.device | str
    settings: RefineSettings

    @property
    def further_facts(self) -> dict[str, Any]:
        return {
            **super().further_facts,
            "refinement": {**self.settings.model_dump(), "library": int(self.library.usable.sum())},
        }

    def answer(self, values: np.ndarray, placement: Placement) -> VolumeMaps:
        """The maps after the refinement, with a note of how far the points moved."""
        refined = refine(
            self.learner,
            torch.from_numpy(values)[None, None].to(self.device),
            # The grid is right-handed and its voxels are cubes.
            np.diag([placement.voxel_mm] * 3 + [1.0]),
            self.library,
            self.schema,
            read=partial(self._seen, placement=placement),
            loss=self.learner.loss,
            sigma=self.learner.sigma,
            settings=self.settings,
            turns=self.turns,
            unsided=self.unsided,
        )
        return VolumeMaps(refined.maps, placement, note_of(refined))

    def _seen(self, maps: np.ndarray, placement: Placement) -> np.ndarray:
        points, scores = read_maps(maps, self.contract.decode, placement)
        return np.where(scores[:, None] >= self.contract.threshold, points, np.nan)


def note_of(refined: Refined) -> str:
    """What happened, in a few words."""
    if refined.reason or refined.prior is None:
        return f"not refined: {refined.reason}"
    moved = refined.moved[list(refined.prior.refined)]
    moved = moved[np.isfinite(moved)]
    far = f"{moved.min():.1f}-{moved.max():.1f} mm" if len(moved) else "nowhere"
    return f"refined: {len(moved)} points moved {far} by {len(refined.prior.nearest)} poses"


def _check_memory(network: LandmarkNetwork, size: tuple[int, int, int], device: str) -> None:
    """UsageError where the network, its copy in training and a step do not fit the device."""
    fixed = (1 + ADAM_COPIES) * sum(parameter.nbytes for parameter in network.parameters())
    needed = (fixed + dry_peak(network.body, [torch.empty(1, 1, *size, device="meta")])) / 2**30
    there = memory_of("0" if device == "cuda" else device)
    if needed > there:
        raise UsageError(
            f"refinement: a step at {'x'.join(map(str, size))} needs {needed:.2f} GiB, found {there:.2f} GiB; "
            "predict without it"
        )


def refining_predictor(path: Path, device: str = "cpu", settings: RefineSettings | None = None) -> RefiningPredictor:
    """The network of a run folder or checkpoint with the poses it was trained on.

    Raises:
        UsageError: no checkpoint, a schema or mode that cannot be refined, a checkpoint without poses, or no memory.
    """
    plain = predictor(path, device)
    check_schema(plain.schema)
    if plain.contract.mode != "whole":
        raise UsageError(
            f"refinement: expected a model of whole volumes, found mode {plain.contract.mode} in {path}; "
            "predict without it"
        )
    network = cast(TorchNetwork, plain.network).network
    if network.poses is None:
        raise UsageError(f"refinement: expected a checkpoint with training poses, found none in {path}; train again")
    _check_memory(network, plain.contract.size, device)
    return RefiningPredictor(
        contract=plain.contract,
        network=plain.network,
        model_id=f"{plain.model_id}+refined",
        learner=network,
        library=PoseLibrary(network.poses.cpu().numpy()),
        device=device,
        settings=settings or RefineSettings(),
    )
