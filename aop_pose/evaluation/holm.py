"""Many tests in one table: p-values corrected so that the chance of any false finding stays at the stated level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given.

    The i-th smallest of m is multiplied by m - i + 1; none gets smaller than one before it, none above 1. Source:
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70. ValueError for a value outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected p-values in [0, 1], found {values}")
    order = np.argsort(values, kind="stable")
    raised = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return adjusted.tolist()
