"""The eight ways a picture can stand: as it should, mirrored, and each turned by quarter turns."""

from __future__ import annotations

import attrs
import numpy as np


@attrs.frozen
class Stance:
    """A picture that stands as it should is mirrored left to right where ``mirrored``, then turned by quarters."""

    quarters: int
    """Quarter turns against the clock, 0 to 3."""
    mirrored: bool

    @property
    def linear(self) -> np.ndarray:
        """(2, 2): a direction (x, y) in the picture as it should stand -> the same in the turned one."""
        quarter = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), self.quarters)
        return np.asarray(quarter @ np.diag([-1 if self.mirrored else 1, 1]))

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """A picture (H, W) that stands as it should -> the turned one, contiguous."""
        return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if self.mirrored else pixels, self.quarters))

    def undo(self, pixels: np.ndarray) -> np.ndarray:
        """A turned picture (H, W) -> as it should stand, contiguous."""
        upright = np.rot90(pixels, -self.quarters)
        return np.ascontiguousarray(upright[:, ::-1] if self.mirrored else upright)

    def points_back(self, points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Points (n, 2) on the picture as it should stand -> the same on the turned one, whose shape is (H, W)."""
        given = np.array(shape[::-1], np.float64)
        upright = given[::-1] if self.quarters % 2 else given
        return (np.asarray(points, np.float64) - (upright - 1) / 2) @ self.linear.T + (given - 1) / 2

    @property
    def words(self) -> str:
        """For a person: ``mirrored and turned by 90 degrees``; empty for a picture that stands as it should."""
        turned = f"turned by {90 * self.quarters} degrees" if self.quarters else ""
        return " and ".join(filter(None, ["mirrored" if self.mirrored else "", turned]))


STANCES = tuple(Stance(quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
"""In the order in which a network tells them; the first is no turn."""
UPRIGHT = STANCES[0]
