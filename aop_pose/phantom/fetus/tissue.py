"""What each place of a scan sends back and takes away: arrays on the beam grid that the parts of the scene paint."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import numpy as np

from aop_pose.phantom.fetus.beams import BeamGrid, Block
from aop_pose.phantom.fetus.solids import Capsule, Solid
from aop_pose.phantom.fetus.speckle import blurred

FLUID_DB = -72.0
_FAR = np.float32(50.0)


@attrs.frozen(eq=False)
class Tissue:
    """A scene being painted; arrays of the grid's shape, float32, changed in place."""

    grid: BeamGrid
    db: np.ndarray
    """Strength of scattering, 0 is the brightest bone."""
    loss: np.ndarray
    """dB that the pulse loses per mm, there and back, beyond what depth compensation restores."""
    outline: np.ndarray
    """mm to the skin of the fetus, negative inside; 50 is far."""

    @classmethod
    def empty(cls, grid: BeamGrid) -> Tissue:
        zero = np.zeros(grid.shape, np.float32)
        return cls(grid, np.full_like(zero, FLUID_DB), zero, np.full_like(zero, _FAR))

    def block(self, solid: Solid, beyond: float = 0.0) -> Block | None:
        """The part of the grid where a solid and ``beyond`` mm around it lie; None where it is not seen."""
        return self.grid.around(solid.middle, solid.reach + beyond + self.grid.step)

    def join(self, solids: Iterable[Solid], softness: float) -> None:
        """Add solids to the outline of the fetus; where two meet, the crease is filled over ``softness`` mm."""
        for solid in solids:
            block = self.block(solid, 6.0)
            if block is not None:
                near, new = self.outline[block], solid.distance(*self.grid.at(block))
                crease = np.maximum(softness - np.abs(near - new), 0) / softness
                self.outline[block] = np.minimum(near, new) - np.square(crease) * np.float32(softness / 4)

    def fill(self, solid: Solid, db: float, soft: float = 0.6, texture: np.ndarray | None = None) -> None:
        """Replace the tissue within a solid, over a border of ``soft`` mm."""
        block = self.block(solid)
        if block is None:
            return
        inside = np.clip(0.5 - solid.distance(*self.grid.at(block)) / max(soft, self.grid.step / 2), 0, 1)
        level = np.float32(db) if texture is None else db + texture[block]
        self.db[block] += inside * (level - self.db[block])

    def shell(self, solid: Solid, thickness: float, db: float, loss: float, part: np.ndarray | None = None) -> None:
        """A bright layer under the surface of a solid that takes ``loss`` dB per mm; ``part`` (grid) weakens it."""
        block = self.block(solid)
        if block is None:
            return
        wide = max(thickness, 0.55 * self.grid.step)
        layer = bump(solid.distance(*self.grid.at(block)) + thickness / 2, wide)
        if part is not None:
            layer = layer * part[block]
        self._harden(block, layer, db, loss * thickness / wide)

    def bone(self, solid: Solid, db: float, loss: float) -> None:
        """A solid bone."""
        block = self.block(solid)
        if block is None:
            return
        size = min(solid.first, solid.last) if isinstance(solid, Capsule) else min(solid.half)
        blur = max(0.3, 0.5 * self.grid.step)
        depth = np.clip(0.5 - solid.distance(*self.grid.at(block)) / blur / 2, 0, 1)
        # A bar thinner than a sample is widened by the grid: it must not cast a deeper shadow for that.
        self._harden(block, depth, db, loss * min(1.0, size / blur))

    def _harden(self, block: Block, layer: np.ndarray, db: float, loss: float) -> None:
        self.db[block] += layer * np.maximum(db - self.db[block], 0)
        self.loss[block] = np.maximum(self.loss[block], layer * np.float32(loss))

    def facing(self) -> np.ndarray:
        """Cosine between beam and skin's normal: -1 where the beam enters the fetus squarely, 1 where it leaves."""
        return np.clip(np.gradient(self.outline, self.grid.step, axis=0), -1, 1).astype(np.float32)

    def lost(self) -> np.ndarray:
        """dB lost on the way to each place and back, behind it: shadows with soft sides."""
        total = np.cumsum(self.loss, axis=0, dtype=np.float32) * np.float32(self.grid.step)
        total -= self.loss * np.float32(self.grid.step)
        return blurred(total, (0.4, 0.8, 0.8))


def bump(distance: np.ndarray, width: float) -> np.ndarray:
    """exp(-(distance / width)^2)."""
    return np.exp(-np.square(distance / np.float32(width)))
