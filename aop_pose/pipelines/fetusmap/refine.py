"""Test-time refinement by shape priors (section 3.3): a few steps of the network on labels from the pose library."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from aop_pose.core.schema import Schema
from aop_pose.errors import UsageError
from aop_pose.geometry import from_mm, to_mm
from aop_pose.inference.decode import peaks
from aop_pose.inference.engine import cuda_numbers
from aop_pose.inference.grid import TURNS, Placement, Sides, Turn, turned_maps
from aop_pose.inference.volume_predictor import VolumeMaps, VolumePredictor, read_maps
from aop_pose.pipelines.export import TorchNetwork
from aop_pose.pipelines.fetusmap.config import RefineSettings
from aop_pose.pipelines.fetusmap.landmarks import LandmarkNetwork, answer, encode, peak_of
from aop_pose.pipelines.fetusmap.library import STABLE, PoseLibrary, Prior, check_schema, surest
from aop_pose.pipelines.fetusmap.planner import dry_peak
from aop_pose.pipelines.fetusmap.training import ADAM_COPIES, usable_memory


@attrs.frozen(eq=False)
class Refined:
    """The outcome of the refinement of one volume, and what happened on the way.

    Attributes:
        maps: (points, I, J, K) that peak at 1; those of the refined points by the network after its steps, the others
            as they were first: equation 11 says nothing of them.
        before, points: (points, 3) in mm, read from the maps before and after.
        prior: labels and the poses they are from; None where nothing was refined.
        losses: equation 11 before each step and, on the maps of all turns, after the last.
        reason: why nothing was refined, else empty.
    """

    maps: np.ndarray
    before: np.ndarray
    points: np.ndarray
    prior: Prior | None = None
    losses: tuple[float, ...] = ()
    reason: str = ""

    @property
    def moved(self) -> np.ndarray:
        """(points,) distance in mm from before to after; NaN where a point is missing."""
        return np.asarray(np.linalg.norm(self.points - self.before, axis=1))


def refine(
    network: nn.Module,
    volume: Tensor,
    affine: ArrayLike,
    library: PoseLibrary,
    schema: Schema,
    *,
    read: Callable[[np.ndarray], np.ndarray],
    loss: str = "cross-entropy",
    sigma: float = 2.0,
    settings: RefineSettings | None = None,
    turns: Sequence[Turn] = tuple(TURNS[:1]),
    unsided: Sides = (),
) -> Refined:
    """Points of one volume after a few steps on the labels of equation 10, with the loss of equation 11.

    The steps are those of a copy, so that the network is never changed: not its weights, gradients, statistics or
    modes, whatever is raised. On a CPU the result is the same each time. It takes the memory of a training step; a
    planned network (``planner.Planned``) stays planned.

    Args:
        network: (1, 1, I, J, K) -> raw output (1, points, I, J, K).
        volume: as the network takes it, on its device.
        affine: (4, 4), indices i, j, k of the volume -> x, y, z in right-handed mm, to scale with the library's.
        read: (points, I, J, K) maps that peak at 1 -> (points, 3) indices i, j, k; NaN where there is none.
        loss, sigma: as the network was trained (``maps.answer``).
        turns, unsided: over which the maps before and after are averaged (``turned_maps``). The steps are taken in the
            first turn alone: the paper has no others.

    Raises:
        UsageError: the schema has not the points that are registered and refined.
    """
    check_schema(schema)
    settings = settings or RefineSettings()
    # A predictor may run under inference_mode, whose tensors no gradient passes.
    with torch.inference_mode(False), torch.enable_grad():
        learner = copy.deepcopy(network).requires_grad_(True)
        given = volume.detach().clone()

        def seen(inputs: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return answer(learner(torch.from_numpy(inputs).to(given)), loss, sigma).float().cpu().numpy()

        averaged = partial(turned_maps, seen, given[0, 0].cpu().numpy(), turns, unsided)
        return _refined(learner, given, np.asarray(affine), library, read, averaged, loss, sigma, settings)


def _refined(
    learner: nn.Module,
    volume: Tensor,
    affine: np.ndarray,
    library: PoseLibrary,
    read: Callable[[np.ndarray], np.ndarray],
    averaged: Callable[[], np.ndarray],
    loss: str,
    sigma: float,
    settings: RefineSettings,
) -> Refined:
    def maps_now() -> Tensor:
        return answer(learner(volume), loss, sigma)[0]

    first = averaged()
    before = to_mm(affine, read(first))
    found = np.where(np.isfinite(before).all(axis=1), peaks(first, dimensions=3), np.nan)
    stable = STABLE if settings.on == "paper" else surest(found)
    prior = library.prior(before, settings.nearest, settings.similarity, stable)
    if prior is None:
        return Refined(first, before, before, reason="the points it is registered on are missing or on one line")
    known = [point for point in prior.refined if np.isfinite(prior.labels[point]).all()]
    labels = torch.from_numpy(from_mm(affine, prior.labels[known])).to(volume)
    targets = encode(labels[None], volume.shape[2:], sigma)[0]

    def distance(maps: Tensor) -> Tensor:
        """Equation 11 over all voxels, for maps that peak at 1: a constant factor, which Adam's steps do not have."""
        return (targets - maps[known]).square().sum() * peak_of(sigma) / len(prior.refined)

    optimiser = torch.optim.Adam(learner.parameters(), lr=settings.lr, betas=(settings.beta1, 0.999))
    losses: list[float] = []
    for _ in range(settings.steps):
        optimiser.zero_grad(set_to_none=True)
        now = distance(maps_now())
        losses.append(now.item())
        now.backward()
        optimiser.step()
    last = averaged()
    losses.append(distance(torch.from_numpy(last).to(volume)).item())
    refined, maps = list(prior.refined), first.copy()
    maps[refined] = last[refined]
    if not np.isfinite([*losses, maps[refined].min(), maps[refined].max()]).all():
        return Refined(first, before, before, prior, tuple(losses), "the steps did not stay finite")
    after = before.copy()
    after[refined] = to_mm(affine, read(maps))[refined]
    return Refined(maps, before, after, prior, tuple(losses))


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
    """The events in a few words."""
    if refined.reason or refined.prior is None:
        return f"not refined: {refined.reason}"
    moved = refined.moved[list(refined.prior.refined)]
    moved = moved[np.isfinite(moved)]
    far = f"{moved.min():.1f}-{moved.max():.1f} mm" if len(moved) else "nowhere"
    return f"refined: {len(moved)} points moved {far} by {len(refined.prior.nearest)} poses"


def _check_memory(network: LandmarkNetwork, size: tuple[int, int, int], device: str) -> None:
    """UsageError where the network, its copy in training and a step do not fit the device."""
    fixed = (1 + ADAM_COPIES) * sum(parameter.nbytes for parameter in network.parameters())
    volume = [torch.empty(1, 1, *size, device="meta")]
    needed = (fixed + dry_peak(network.body, volume, kernels=device == "cpu")) / 2**30
    there, found = usable_memory("cpu" if device == "cpu" else str((cuda_numbers(device) or (0,))[0]))
    if needed > there:
        raise UsageError(
            f"refinement: a step at {'x'.join(map(str, size))} needs {needed:.2f} GiB, found {found}; "
            "predict without it"
        )


def refining_predictor(plain: VolumePredictor, path: Path, device: str, settings: RefineSettings) -> RefiningPredictor:
    """The network of a run folder or checkpoint, ``plain`` from ``path``, with the poses it was trained on.

    Raises:
        UsageError: a schema or mode that cannot be refined, a checkpoint without poses, or no memory.
    """
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
        engine=plain.engine,
        learner=network,
        library=PoseLibrary(network.poses.cpu().numpy()),
        device=device,
        settings=settings,
    )
