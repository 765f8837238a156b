"""Prompted segmenters behind one interface: a picture and strokes in, a probability per pixel out.

By name; ``auto`` takes the best that is available.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import attrs

from aop_pose.errors import UsageError
from aop_pose.inference.fetch import SCRIBBLEPROMPT, cached
from aop_pose.scribbles.segmenters.base import Segmenter
from aop_pose.scribbles.segmenters.networks import SCRIBBLEPROMPT_NAME, STAND_IN, load_scribbleprompt, load_stand_in
from aop_pose.scribbles.segmenters.rules import CLASSICAL, GEOMETRY, Classical, Geometric

AUTO = "auto"
NAMES = (SCRIBBLEPROMPT_NAME, STAND_IN, CLASSICAL, GEOMETRY)
"""Best first; ``auto`` goes no further than the first two."""
NOT_AT_HAND = "official weights not at hand"


@attrs.frozen(eq=False)
class Choice:
    """A segmenter and why it was taken."""

    segmenter: Segmenter
    why: str
    """One line for a person: name, origin and, for ``auto``, what was passed over."""


def choose(name: str, stand_in: Path | None) -> Choice:
    """The segmenter of a name.

    Args:
        name: one of ``NAMES`` or ``auto``.
        stand_in: the verified ``scribble-unet.onnx`` (``weights.resolve("scribble-unet")``), None where absent.

    Raises:
        UsageError: an unknown name, weights that are not at hand, or a checkpoint with another hash.
    """
    if name == AUTO:
        return _best(stand_in)
    segmenter = _segmenter(name, stand_in)
    return Choice(segmenter, f"segmenter: {segmenter.name} ({segmenter.origin})")


def why_not_scribbleprompt() -> str:
    """The reason that the official network cannot be used here; empty where it can."""
    if cached(SCRIBBLEPROMPT) is None:
        return NOT_AT_HAND
    return "" if find_spec("torch") is not None else "torch is not installed"


def _best(stand_in: Path | None) -> Choice:
    missing = why_not_scribbleprompt()
    segmenter = _segmenter(STAND_IN if missing else SCRIBBLEPROMPT_NAME, stand_in)
    passed_over = f"; {SCRIBBLEPROMPT_NAME} passed over: {missing}" if missing else ""
    return Choice(segmenter, f"segmenter: {segmenter.name} ({segmenter.origin}){passed_over}")


def _segmenter(name: str, stand_in: Path | None) -> Segmenter:
    if name == SCRIBBLEPROMPT_NAME:
        checkpoint = cached(SCRIBBLEPROMPT)
        if checkpoint is None:
            raise UsageError(
                f"segmenter {name}: {NOT_AT_HAND}; run aop-pose weights fetch {name}, or aop-pose weights add "
                f"{name} FILE, or take --segmenter {STAND_IN}"
            )
        return load_scribbleprompt(checkpoint)
    if name == STAND_IN:
        if stand_in is None:
            raise UsageError(f"segmenter {name}: expected the shipped artefact, found none; install aop-pose again")
        return load_stand_in(stand_in)
    if name == CLASSICAL:
        return Classical()
    if name == GEOMETRY:
        return Geometric()
    raise UsageError(f"segmenter: expected {AUTO} or one of {', '.join(NAMES)}; found {name!r}")
