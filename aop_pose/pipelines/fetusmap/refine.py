"""Test-time refinement by shape priors (section 3.3): a few steps of the network on labels from the pose library."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import attrs
import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import Field
from torch import Tensor, nn

from aop_pose.geometry import from_mm, to_mm
from aop_pose.heatmaps import peaks
from aop_pose.pipelines.config import Config
from aop_pose.pipelines.fetusmap.library import NEAREST, STABLE, PoseLibrary, Prior, check_schema, surest
from aop_pose.pipelines.fetusmap.maps import answer, encode, peak_of
from aop_pose.schemas import Schema
from aop_pose.volume_turns import TURNS, Sides, Turn, turned_maps


class RefineSettings(Config):
    """Those of the paper, sections 3.3 and 4.1.

    It does not name the optimiser, which is taken to be that of training, nor say whether poses are scaled.
    """

    steps: int = Field(default=8, ge=1, le=1000)
    lr: float = Field(default=5e-4, gt=0, le=1)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    nearest: int = Field(default=NEAREST, ge=1)
    """K of equation 9."""
    similarity: bool = True
    """Whether poses of the library are scaled when they are registered."""
    on: Literal["paper", "surest"] = "paper"
    """Points of head and trunk that poses are registered on, while the other five are refined: 2, 3, 5, 7 and 9, or
    (not the paper's) the five whose maps have the highest peaks in this volume."""


@attrs.frozen(eq=False)
class Refined:
    """What the refinement of one volume found, and what happened on the way.

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
