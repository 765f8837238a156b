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


def outside(coords: np.ndarray, names: Sequence[str], size: Sequence[int] | None) -> Iterator[str]:
    """A message per point (n, axes) beyond the edges, half a pixel outside the outer centres."""
    if size is None:
        return
    for name, point in zip(names, coords, strict=True):
        if np.isfinite(point).all() and not ((point >= -0.5) & (point <= np.array(size) - 0.5)).all():
            found = ", ".join(f"{value:g}" for value in point)
            yield f"{name}: expected a point inside {'x'.join(map(str, size))}, found ({found})"
