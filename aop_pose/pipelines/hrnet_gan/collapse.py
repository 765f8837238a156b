"""Whether pre-training collapsed: how far embeddings spread, and whether they tell frames apart."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs
import torch
from torch import nn
from torch.nn import functional

LEAST_SPREAD = 0.005
"""Below this embeddings count as one point. One answer to everything has 0 (1e-6 in float32); networks with random
weights were measured at 0.01 to 0.4, trained ones at 0.5 and more."""
ENOUGH = 20
"""Frames from which on retrieval is judged: of fewer, a hit or two is luck."""


@attrs.frozen
class Collapse:
    """The check of a pre-training, on two views of each of a few frames."""

    spread: float
    retrieval: float
    """Share of the frames whose query view is nearest to their own key view (see ``retrieval``)."""
    frames: int

    @property
    def chance(self) -> float:
        """What guessing gives for ``retrieval``."""
        return 1 / self.frames

    @property
    def reason(self) -> str | None:
        """Why this counts as a collapse; None where it does not."""
        if not self.spread >= LEAST_SPREAD:
            return f"expected embeddings that spread by {LEAST_SPREAD} or more, found {self.spread:.4f}"
        if self.frames >= ENOUGH and not self.retrieval > self.chance:
            return f"expected a frame's other view to be found more often than by chance, found {self._found}"
        return None

    @property
    def _found(self) -> str:
        return f"{self.retrieval:.1%} of {self.frames} frames (chance {self.chance:.1%})"

    def __str__(self) -> str:
        few = f"; too few to judge: {ENOUGH} would do" if self.frames < ENOUGH else ""
        return f"spread of embeddings: {self.spread:.2f} (1 is ideal); other view retrieved: {self._found}{few}"

    def facts(self) -> dict[str, float | int | str | None]:
        """For run.json."""
        numbers = {"spread": self.spread, "retrieval": self.retrieval, "chance": self.chance}
        return {**{key: round(value, 4) for key, value in numbers.items()}, "frames": self.frames, "why": self.reason}


def check(query: torch.Tensor, key: torch.Tensor) -> Collapse:
    """The check from embeddings (n, positions, D) of the two views of n frames, each of length 1."""
    return Collapse(spread(torch.cat([query, key])), retrieval(query, key), len(query))


def spread(embeddings: torch.Tensor) -> float:
    """Standard deviation of each dimension of (..., D), mean over the dimensions, times sqrt(D).

    1 where vectors of length 1 lie evenly on the sphere, 0 where they are one vector (Chen and He 2021, section 4.1).
    """
    flat = embeddings.flatten(0, -2)
    return float(flat.std(dim=0, correction=0).mean()) * math.sqrt(flat.shape[1])


def retrieval(query: torch.Tensor, key: torch.Tensor) -> float:
    """Share of n frames (n, positions, D) whose query view is nearer to their own key view than to any other frame's.

    Nearness is the mean over positions of the cosine. A tie is no hit: equal embeddings find nothing.
    """
    nearness = query.flatten(1) @ key.flatten(1).T
    own = nearness.diagonal()
    others = nearness.masked_fill(torch.eye(len(own), dtype=torch.bool, device=own.device), -math.inf)
    return float((own > others.max(dim=1).values).float().mean())


def held_loss(query: torch.Tensor, key: torch.Tensor, temperature: float) -> float:
    """InfoNCE of each position of n frames (n, positions, D) against its own and all positions of the other frames.

    The same frames, views and negatives every time, so that epochs can be compared: the queue's loss cannot be, as its
    negatives are at first random vectors and then the slow copy's.
    """
    losses = []
    for number, (queries, keys) in enumerate(zip(query, key, strict=True)):
        others = torch.cat([key[:number], key[number + 1 :]]).flatten(0, 1)
        logits = torch.cat([(queries * keys).sum(dim=1, keepdim=True), queries @ others.T], dim=1) / temperature
        losses.append(functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=key.device)))
    return float(torch.stack(losses).mean())


@torch.no_grad()
def embed(network: nn.Module, batches: Iterable[tuple[torch.Tensor, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (n, positions, D) of the query and key views of batches (query, key, ...), in evaluation mode."""
    network.eval()
    found = [[network(view).flatten(2).transpose(1, 2) for view in batch[:2]] for batch in batches]
    query, key = (torch.cat([pair[which] for pair in found]) for which in (0, 1))
    return query, key
