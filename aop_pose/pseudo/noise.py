"""Noise whose effect on points is known: what a prediction has to survive to be trusted.

The noise of "Progressive Semi-supervised Landmark Detection", equation 14, is not described there; this one is ours.
"""

from __future__ import annotations

import attrs
import cv2
import numpy as np

_GRAIN = 1.0
"""Standard deviation in pixels of the blur that gives the speckle its grain."""


def _not_negative(instance: object, attribute: attrs.Attribute, value: float) -> None:
    if not 0 <= value < np.inf:
        raise ValueError(f"{attribute.name}: expected a number from 0 on, found {value}")


@attrs.frozen
class Noise:
    """How strong the noise is. Each draw takes every quantity anew, evenly between minus and plus its bound."""

    shift: float = attrs.field(default=0.04, validator=_not_negative)
    """Along x and along y, as a share of the picture's longer side."""
    rotation: float = attrs.field(default=6.0, validator=_not_negative)
    """Degrees, about the centre of the picture."""
    scale: float = attrs.field(default=0.08, validator=_not_negative)
    """Natural logarithm of the magnification."""
    gamma: float = attrs.field(default=0.3, validator=_not_negative)
    """Natural logarithm of the exponent put on gray values in [0, 1]: the gain knob."""
    speckle: float = attrs.field(default=0.15, validator=_not_negative)
    """Standard deviation of the grain that multiplies the gray values; the same in every draw."""


@attrs.frozen(eq=False)
class Disturbance:
    """One draw for pictures of one shape: a map of places, and what is done to gray values."""

    matrix: np.ndarray
    """(2, 3): a point (x, y) of the picture lies at ``matrix @ (x, y, 1)`` afterwards."""
    exponent: float
    grain: np.ndarray
    """(H, W), multiplies the gray values."""

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """The disturbed picture, uint8 of the same shape (H, W); what comes in from outside is black."""
        height, width = pixels.shape
        moved = cv2.warpAffine(pixels, self.matrix, (width, height), flags=cv2.INTER_LINEAR)
        gray = (moved.astype(np.float32) / 255) ** self.exponent * self.grain
        return np.round(255 * np.clip(gray, 0, 1)).astype(np.uint8)

    def undo(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) on the disturbed picture -> where they lie on the original."""
        return (points - self.matrix[:, 2]) @ np.linalg.inv(self.matrix[:, :2]).T


def draw(noise: Noise, shape: tuple[int, int], rng: np.random.Generator) -> Disturbance:
    """One draw for a picture of ``shape`` (H, W)."""
    height, width = shape
    angle = rng.uniform(-noise.rotation, noise.rotation)
    magnification = np.exp(rng.uniform(-noise.scale, noise.scale))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, magnification)
    matrix[:, 2] = matrix[:, 2] + rng.uniform(-noise.shift, noise.shift, 2) * max(shape)
    exponent = float(np.exp(rng.uniform(-noise.gamma, noise.gamma)))
    grain = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), _GRAIN)
    return Disturbance(matrix, exponent, 1 + noise.speckle * grain / grain.std())
