"""The same budget for every run: epochs as they are, or wall time turned into the epochs that fit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Literal

import attrs

from aop_pose.errors import AopPoseError, UsageError

PACE_EPOCHS = 2
"""Of the short training that finds a method's pace: the first warms up, the last is timed."""

_SECONDS = {"s": 1, "m": 60, "h": 3600}


@attrs.frozen
class Budget:
    """What each run may spend."""

    amount: int
    unit: Literal["e", "s", "m", "h"]

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``20m``, ``90s``, ``2h`` or ``30e``; UsageError for anything else."""
        found = re.fullmatch(r"([1-9][0-9]*)([esmh])", text)
        if found is None:
            raise UsageError(f"--budget: expected wall time (90s, 20m, 2h) or epochs (30e) of a run, found {text!r}")
        return cls(int(found[1]), found[2])  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.amount}{self.unit}"

    @property
    def words(self) -> str:
        unit = {"e": "epoch", "s": "second", "m": "minute", "h": "hour"}[self.unit]
        return f"{self.amount} {unit}{'s' if self.amount > 1 else ''}"

    @property
    def seconds(self) -> int | None:
        """Wall time of a run; None for a budget in epochs."""
        return self.amount * _SECONDS[self.unit] if self.unit in _SECONDS else None


@attrs.frozen
class Pace:
    """How long a method takes on a machine, in seconds."""

    fixed: float
    """Before the first epoch and after the last, and what the first takes longer than others."""
    epoch: float

    def epochs_within(self, seconds: float) -> int:
        """Most epochs that fit; UsageError where not one does."""
        epochs = int((seconds - self.fixed) / self.epoch)
        if epochs < 1:
            raise UsageError(
                f"--budget: expected time for an epoch ({self.fixed + self.epoch:.0f} s with its start-up), "
                f"found {seconds:.0f} s"
            )
        return epochs


def pace_of(train: Callable[[Callable[[], None]], None], clock: Callable[[], float] = time.monotonic) -> Pace:
    """Time a training of ``PACE_EPOCHS`` epochs; ``train`` takes what it has to call after each of them."""
    ends: list[float] = []
    begin = clock()
    train(lambda: ends.append(clock()))
    whole = clock() - begin
    if len(ends) != PACE_EPOCHS:
        raise AopPoseError(f"expected the end of {PACE_EPOCHS} epochs to be told, found {len(ends)}")
    epoch = ends[-1] - ends[-2]
    return Pace(fixed=max(whole - PACE_EPOCHS * epoch, 0.0), epoch=max(epoch, 1e-3))
