"""The right-angled turns of a cube, and a network's maps averaged over them. None of them is a mirror."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import attrs
import numpy as np

Sides = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Channels of the left and of the right points of each pair of sides."""


@attrs.frozen
class Turn:
    """A signed permutation of the axes, about the middle of a grid."""

    axes: tuple[int, ...]
    """The axis that comes to stand first, second, third."""
    reversed: tuple[int, ...]
    """Which of the new axes then run the other way."""

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3): position from the middle before -> after."""
        signs = [-1.0 if axis in self.reversed else 1.0 for axis in range(3)]
        return np.eye(3)[list(self.axes)] * np.array(signs)[:, None]

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Values (I, J, K) turned."""
        return np.flip(values.transpose(self.axes), self.reversed)

    def backward(self, maps: np.ndarray) -> np.ndarray:
        """Maps (n, I, J, K) of turned values, turned back."""
        back = np.flip(maps, tuple(axis + 1 for axis in self.reversed))
        return back.transpose(0, *(1 + np.argsort(self.axes)))

    def keeps(self, shape: Sequence[int]) -> bool:
        """Whether a grid of this shape has the same one after the turn."""
        return [shape[axis] for axis in self.axes] == list(shape)


def _turns() -> list[Turn]:
    every = (
        Turn(axes, tuple(axis for axis, sign in enumerate(signs) if sign))
        for axes in itertools.permutations(range(3))
        for signs in itertools.product((0, 1), repeat=3)
    )
    return [turn for turn in every if np.linalg.det(turn.matrix) > 0]


TURNS = _turns()
"""The 24 rotations of a cube, the one that moves nothing first."""


def turns_of(shape: Sequence[int], count: int) -> list[Turn]:
    """The turns a grid is shown in: all that keep its shape, or with a ``count`` of 1 the first.

    A cube has 24, a box with two equal sides 8, one with three different sides 4.
    """
    return [turn for turn in TURNS if turn.keeps(shape)] if count > 1 else TURNS[:1]


def turned_maps(
    network: Callable[[np.ndarray], np.ndarray], values: np.ndarray, turns: Sequence[Turn], unsided: Sides = ()
) -> np.ndarray:
    """Mean of the maps (n, I, J, K) that a network has of values (I, J, K) in each turn, turned back.

    One copy is shown at a time, so that the memory stays that of one.

    Args:
        network: (1, 1, I, J, K) -> (1, n, I, J, K).
        unsided: pairs of sides whose names the network was not taught. It may name them otherwise in each turn; the
            maps of a pair change places where they fit those before better so.
    """
    total = np.zeros(0, np.float32)
    for turn in turns:
        maps = turn.backward(network(np.ascontiguousarray(turn.forward(values))[None, None])[0])
        total = total + _named_alike(maps, total, unsided) if total.size else maps.astype(np.float32)
    return total / len(turns)


def _named_alike(maps: np.ndarray, others: np.ndarray, unsided: Sides) -> np.ndarray:
    """The maps, with the sides of each pair exchanged where their product with the others is greater so."""
    order = list(range(len(maps)))
    for left, right in unsided:
        both, exchanged = [*left, *right], [*right, *left]
        straight, crossed = (float(np.vdot(others[both], maps[some])) for some in (both, exchanged))
        if crossed > straight:
            for place, channel in zip(both, exchanged, strict=True):
                order[place] = channel
    return maps[order]
