"""The protocol of every prompted segmenter, and the input of the two networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

SIDE = 128
"""Height and width of a network's input, in pixels."""
CHANNELS = ("picture", "box", "positive", "negative", "previous logits")
"""Order of a network's input channels, as in ScribblePrompt (Wong et al., ECCV 2024)."""

Network = Callable[[np.ndarray], np.ndarray]
"""Inputs (B, 5, 128, 128) float32 -> logits (B, 1, 128, 128) float32."""


class Segmenter(Protocol):
    """A frozen segmenter. It never learns from the frames it is given."""

    @property
    def name(self) -> str:
        """One of ``choose.NAMES``."""

    @property
    def origin(self) -> str:
        """The weights or rules behind it, for a person and for ``run.json``."""

    def __call__(
        self,
        picture: np.ndarray,
        positive: np.ndarray,
        negative: np.ndarray,
        *,
        structure: str,
        points: np.ndarray,
    ) -> np.ndarray:
        """Probability of belonging to the structure.

        Args:
            picture: uint8 (H, W) gray values.
            positive, negative: uint8 (H, W), 1 on strokes inside the structure and on strokes outside it.
            structure: ``PS`` or ``FH``; only ``geometry`` asks for it.
            points: (3, 2) PS1, PS2, FH1 in pixels of ``picture``; only ``geometry`` asks for them.

        Returns:
            float32 (H, W) in [0, 1].
        """


def network_inputs(picture: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """The five channels of one frame, float32 (1, 5, 128, 128), as ScribblePrompt's published demo makes them.

    The picture is stretched to [0, 1] by its minimum and maximum; picture and strokes are resized by plain bilinear
    interpolation (half-pixel centres, no smoothing before shrinking). There is no box and no previous prediction.
    """
    gray = picture.astype(np.float32)
    low, high = float(gray.min()), float(gray.max())
    gray = (gray - low) / max(high - low, 1.0)
    inputs = np.zeros((1, len(CHANNELS), SIDE, SIDE), np.float32)
    for channel, plane in (("picture", gray), ("positive", positive), ("negative", negative)):
        inputs[0, CHANNELS.index(channel)] = _resized(np.asarray(plane, np.float32), SIDE, SIDE)
    return inputs


def probabilities(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Logits (1, 1, 128, 128) -> probabilities float32 (height, width): sigmoid first, then bilinear."""
    # Clipped, since exp overflows float32 where a network is very sure.
    small = 1 / (1 + np.exp(-np.clip(logits[0, 0].astype(np.float32), -80, 80)))
    return _resized(small, height, width)


def segment(network: Network, picture: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """A frame through either network: see :meth:`Segmenter.__call__`."""
    return probabilities(network(network_inputs(picture, positive, negative)), *picture.shape)


def _resized(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(_along(_along(plane.astype(np.float32), height).T, width).T)


def _along(plane: np.ndarray, after: int) -> np.ndarray:
    """Bilinear resize of the rows of float32 (rows, columns), half-pixel centres.

    Places are computed in float32, as torch's ``interpolate`` does: a network multiplies what differs.
    """
    before = plane.shape[0]
    place = np.float32(before / after) * (np.arange(after, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    place = np.maximum(place, 0)
    low = np.minimum(place.astype(int), before - 1)
    share = (place - low.astype(np.float32))[:, None]
    return (1 - share) * plane[low] + share * plane[np.minimum(low + 1, before - 1)]
