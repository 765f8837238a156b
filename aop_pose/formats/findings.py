"""What a check says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np


@attrs.frozen
class Finding:
    """One thing that is wrong."""

    where: str
    """``file:line``, or a file; empty where the message begins with it."""
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@attrs.frozen
class Report:
    """Everything that is wrong with a data set."""

    checked: int
    unit: str
    findings: list[Finding]

    @property
    def summary(self) -> str:
        count = len(self.findings)
        return f"{self.checked} {self.unit}, {count or 'no'} finding{'' if count == 1 else 's'}"


def outside(coords: np.ndarray, names: Sequence[str], size: tuple[int, int]) -> Iterator[str]:
    """A message per point beyond the picture's edges, half a pixel outside the outer centres."""
    width, height = size
    for name, (x, y) in zip(names, coords, strict=True):
        if np.isfinite([x, y]).all() and not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            yield f"{name}: expected a point inside the {width}x{height} picture, found ({x:g}, {y:g})"
