"""Kinds of frames as people have them, each made of a bare frame with known points: one registry for all tables."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

import attrs
import cv2
import numpy as np

from aop_pose.core.region import Region
from aop_pose.core.stances import STANCES, UPRIGHT, Stance
from aop_pose.phantom import screen
from aop_pose.phantom.burnt_in import BURNT_IN, UNSEEN_BURNT_IN
from aop_pose.phantom.burnt_in import Kind as Mark
from aop_pose.phantom.looks import LOOKS, Look, cut

Wanted = Literal["measured", "withheld", "either"]
"""A good answer: a number like that of the bare frame; no number; or one of the two."""


@attrs.frozen(eq=False)
class Bare:
    """A frame as the data set has it."""

    name: str
    pixels: np.ndarray
    """uint8 (H, W)."""
    points: np.ndarray
    """PS1, PS2, FH1, shape (3, 2), in pixels."""


@attrs.frozen(eq=False)
class Made:
    """A frame of a kind, and its points (3, 2) in its pixels."""

    pixels: np.ndarray
    points: np.ndarray


@attrs.frozen
class Kind:
    """One way in which frames come."""

    name: str
    make: Callable[[Bare, np.random.Generator], Made]
    wanted: Wanted = "measured"
    kept: bool = False
    """For testing alone: nothing is chosen or trained on it."""

    def of(self, bare: Bare, seed: int) -> Made:
        """The same frame, kind and seed give the same pixels."""
        return self.make(bare, np.random.default_rng([seed, zlib.crc32(f"{self.name} {bare.name}".encode())]))


KINDS: dict[str, Kind] = {}
"""By name, in the order of the rows."""


def register(kind: Kind) -> None:
    """A further kind; ValueError where the name is taken."""
    if kind.name in KINDS:
        raise ValueError(f"kinds: expected a name that is free, found {kind.name!r} twice")
    KINDS[kind.name] = kind


AS_GIVEN = "as given"
"""The kind that every other is compared with."""
register(Kind(AS_GIVEN, lambda bare, rng: Made(bare.pixels, bare.points)))


def _resized(side: int) -> Callable[[Bare, np.random.Generator], Made]:
    def make(bare: Bare, rng: np.random.Generator) -> Made:
        scale = side / max(bare.pixels.shape)
        size = (round(bare.pixels.shape[1] * scale), round(bare.pixels.shape[0] * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return Made(cv2.resize(bare.pixels, size, interpolation=method), (bare.points + 0.5) * scale - 0.5)

    return make


for side in (300, 1000):
    register(Kind(f"bare, {side} pixels", _resized(side)))


def _on_screen(
    layout: str, look: str | None = None, size: tuple[int, int] | None = None
) -> Callable[[Bare, np.random.Generator], Made]:
    def make(bare: Bare, rng: np.random.Generator) -> Made:
        height, width = bare.pixels.shape
        made = screen.make_screen(bare.pixels, Region.whole(width, height), rng, layout, look, size)
        return Made(made.pixels, made.to_screen(bare.points))

    return make


for look in screen.LOOKS:
    tall = (1080, 1920) if look == "phone" else None
    register(Kind(f"screen, {look}", _on_screen("one", look, tall), kept=look in screen.KEPT_LOOKS))
register(Kind("screen, 1920 x 1080", _on_screen("one", None, (1920, 1080))))
for layout in screen.LAYOUTS[1:]:
    expected: Wanted = "either" if layout in screen.SEVERAL else "measured"
    register(Kind(layout, _on_screen(layout), expected, layout in screen.KEPT_LAYOUTS))


def _marked(mark: Mark) -> Callable[[Bare, np.random.Generator], Made]:
    return lambda bare, rng: Made(mark(bare.pixels, bare.points, rng), bare.points)


def _looked(look: Look) -> Callable[[Bare, np.random.Generator], Made]:
    return lambda bare, rng: Made(*look(bare.pixels, bare.points, rng))


def _stood(stance: Stance) -> Callable[[Bare, np.random.Generator], Made]:
    def make(bare: Bare, rng: np.random.Generator) -> Made:
        pixels = stance.apply(bare.pixels)
        return Made(pixels, stance.points_back(bare.points, pixels.shape))

    return make


for name, mark in {**BURNT_IN, **UNSEEN_BURNT_IN}.items():
    register(Kind(f"burnt in: {name}", _marked(mark), kept=name in UNSEEN_BURNT_IN))
for name, look in {**LOOKS, "cut": cut}.items():
    register(Kind(f"look: {name}", _looked(look)))
for stance in STANCES:
    if stance is not UPRIGHT:
        register(Kind(stance.words, _stood(stance), "either"))
