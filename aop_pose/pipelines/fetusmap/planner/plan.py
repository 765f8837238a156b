"""A plan: which units a network keeps, recomputes and reverses. Printed, stored as JSON, applied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, fx, nn

from aop_pose.errors import UsageError
from aop_pose.pipelines.config import Config, validate
from aop_pose.pipelines.fetusmap.planner.execution import Action, Planned, convert
from aop_pose.pipelines.fetusmap.planner.graph import build, trace

Method = Literal["plain", "gcp", "rev", "gcp+rev"]


class InputForm(Config):
    """Shape and type of an input the plan was made for; other sizes run too, with other memory."""

    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: Tensor) -> InputForm:
        return cls(shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))

    def empty(self) -> Tensor:
        """A tensor of this form without data."""
        return torch.empty(self.shape, dtype=getattr(torch, self.dtype), device="meta")


class SegmentPlan(Config):
    """Units by name, in order, that run together."""

    action: Action
    units: tuple[str, ...]


class Plan(Config):
    """The choice of what to keep, recompute and reverse, with the estimate of what it takes.

    Attributes:
        units: names of all units of the network the plan was made for, in order.
        reversed_passes: node names (convolution, norm, activation) that reversible blocks replace.
        slabs: node names (convolution, concatenation, enlargements) that are computed slab by slab.
        segments: in the order in which they run; a block has its convolution's name.
        plain_bytes, planned_bytes: peak of a training step beyond parameters, their gradients and the inputs.
        slowdown: estimated time of a step over the plain network's.
    """

    version: Literal[1] = 1
    method: Method
    inputs: tuple[InputForm, ...]
    units: tuple[str, ...]
    reversed_passes: tuple[tuple[str, str, str], ...]
    slabs: tuple[tuple[str, ...], ...] = ()
    segments: tuple[SegmentPlan, ...]
    plain_bytes: int
    planned_bytes: int
    slowdown: float

    @property
    def saving(self) -> float:
        """Part of the plain network's peak that is not needed any more."""
        return 1 - self.planned_bytes / self.plain_bytes

    def to_json(self) -> str:
        """The plan as text for a checkpoint or a file."""
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan again; UsageError where the text is none."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"memory plan: expected JSON, found something else ({error})") from None
        if not isinstance(values, dict):
            raise UsageError(f"memory plan: expected an object, found {type(values).__name__}")
        return validate(cls, values, "memory plan")

    def table(self) -> str:
        """The plan to read: a line a segment, then the estimates."""
        shapes = ", ".join("x".join(map(str, form.shape)) for form in self.inputs)
        lines = [f"memory plan ({self.method}) for {shapes}"]
        for segment in self.segments:
            names = " ".join(segment.units)
            lines.append(f"  {segment.action:9} {names}")
        for title, chosen in (("reversed", self.reversed_passes), ("in slabs", self.slabs)):
            if chosen:
                lines.append(f"  {title:9} {' '.join(names[0] for names in chosen)}")
        lines.append(
            f"peak {self.plain_bytes / 1e6:,.1f} -> {self.planned_bytes / 1e6:,.1f} MB of activations "
            f"({-100 * self.saving:+.1f} %), estimated time of a step x {self.slowdown:.2f}; "
            "what kernels take for themselves while they run is not counted"
        )
        return "\n".join(lines)

    def apply(
        self, module: nn.Module, leaves: tuple[type[nn.Module], ...] = (), graph: fx.Graph | None = None
    ) -> Planned:
        """The module run by this plan.

        Without reversed passes its own parameters are used; with them, a copy in which new blocks (not yet trained)
        stand for those passes, so make the optimiser from what is returned.

        Args:
            leaves, graph: as given to ``plan_memory``.

        Raises:
            UsageError: the plan was made for another network.
        """
        traced = graph or trace(module, leaves)
        forms = [form.empty() for form in self.inputs]
        names = [unit.name for unit in build(module, traced, forms).units]
        if names != list(self.units):
            extra = sorted(set(names) ^ set(self.units))
            raise UsageError(
                f"memory plan: expected the network it was made for ({len(self.units)} units), found "
                f"{type(module).__name__} ({len(names)} units, differing in {', '.join(extra[:3])}); plan again"
            )
        return self.run_on(*convert(module, traced, self.reversed_passes, self.slabs), forms)

    def run_on(self, root: nn.Module, graph: fx.Graph, forms: Sequence[Tensor]) -> Planned:
        """The converted network run by the plan's segments."""
        built = build(root, graph, forms)
        labels = {unit.name: label for label, unit in enumerate(built.units)}
        # Plans of before name each block of a row, which is one unit.
        chosen = [[labels[name] for name in segment.units if name in labels] for segment in self.segments]
        actions = [segment.action for segment in self.segments]
        return Planned(built, [(action, units) for action, units in zip(actions, chosen, strict=True) if units])
