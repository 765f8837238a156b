"""Whether the memory holds a training step, by which plan, and which size would fit."""

from __future__ import annotations

import os
from typing import Literal

import torch
from torch import Tensor

from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.config import FetusmapConfig
from aop_pose.pipelines.fetusmap.maps import map_loss
from aop_pose.pipelines.fetusmap.network import UNet3d
from aop_pose.pipelines.fetusmap.planner import Plan, dry_peak, max_input_size, plan_memory
from aop_pose.schemas import Schema

ADAM_COPIES = 4
"""Tensors of the parameters' size in training: weights, gradients, Adam's two moments."""
LESS = 0.9
"""By which the search for a size that fits is narrowed: what it estimates leaves the loss out."""


def plan_for(config: FetusmapConfig, schema: Schema, device: str) -> tuple[Plan | None, int]:
    """The memory plan of a training, and the bytes that its largest moment takes, everything counted.

    Raises:
        UsageError: the memory at hand, or ``budget_gb``, does not hold a step of that size; names one that fits.
    """
    plan, needed = step_of(config, schema)
    budget = config.budget_gb or memory_of(device)
    if needed > budget * 2**30:
        raise UsageError(
            f"size: a training step at {'x'.join(map(str, config.size))} needs {needed / 2**30:.2f} GiB, found "
            f"{budget:.2f} GiB; {_advice(config, fitting_size(config, schema, budget))}"
        )
    return plan, needed


def step_of(config: FetusmapConfig, schema: Schema) -> tuple[Plan | None, int]:
    """The plan of a step where the settings ask for one, and its bytes, of float32, the loss included."""
    body = UNet3d(1, len(schema.points), config.widths, config.stem).to("meta")
    volume = torch.empty(1, 1, *config.size, device="meta")
    points = torch.zeros(1, len(schema.points), 3, device="meta")
    sides = schema.sides if config.pair else ()

    def loss(raw: Tensor) -> Tensor:
        return map_loss(raw, points, config.loss, config.sigma, sides)

    plan = plan_memory(body, [volume], max_slowdown=config.max_slowdown, loss=loss) if config.plan == "auto" else None
    fixed = _copies(config) * sum(parameter.nbytes for parameter in body.parameters()) + volume.nbytes
    return plan, fixed + (plan.planned_bytes if plan is not None else dry_peak(body, [volume], loss))


def fitting_size(config: FetusmapConfig, schema: Schema, budget_gb: float) -> tuple[int, int, int] | None:
    """A size of the same proportions whose step fits; None where not even a quarter of it does."""
    body = UNet3d(1, len(schema.points), config.widths, config.stem).to("meta")
    method: Literal["gcp+rev", "plain"] = "gcp+rev" if config.plan == "auto" else "plain"
    tried = budget_gb
    while True:
        found = max_input_size(
            body,
            config.size,
            tried,
            config.stride,
            method=method,
            max_slowdown=config.max_slowdown,
            copies=_copies(config),
        )
        if found is None:
            return None
        i, j, k = found
        if step_of(config.model_copy(update={"size": (i, j, k)}), schema)[1] <= budget_gb * 2**30:
            return i, j, k
        tried *= LESS


def memory_of(device: str) -> float:
    """GiB of the CUDA device of that number, or of the machine for ``cpu``."""
    if device == "cpu":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return float(torch.cuda.get_device_properties(int(device)).total_memory) / 2**30


def _copies(config: FetusmapConfig) -> int:
    return ADAM_COPIES + bool(config.averaging)


def _advice(config: FetusmapConfig, fitting: tuple[int, ...] | None) -> str:
    planned = "" if config.plan == "auto" else " (or try --set plan=auto)"
    if fitting is None:
        return (
            f"no size of these proportions fits{planned}; train on windows with --set mode=patch --set loss=mse "
            "--set pair=false --set voxel_mm=MM and a smaller size"
        )
    return f"what fits is --set size=[{','.join(map(str, fitting))}]{planned}"
