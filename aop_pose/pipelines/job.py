"""What every training verb of every pipeline is asked with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs


def _silent(*_: object) -> None:
    """Say nothing."""


@attrs.frozen
class Job:
    """One call of ``train`` or ``pretrain``: data in, run folder out."""

    data: Path
    """Folder with the pictures."""
    out: Path
    """Run folder to write."""
    labels: str = "labels.csv"
    """Label file, as given or below ``data``."""
    init: str = "auto"
    """Where the first weights come from: auto, scratch, a checkpoint or a run folder."""
    preset: str | None = None
    """Name of a preset or path of a YAML file; None = the pipeline's default."""
    changes: Sequence[str] = ()
    """``key=value`` pairs on top of the preset."""
    seed: int = 0
    device: str = "cpu"
    resume: bool = False
    say: Callable[[str], None] = attrs.field(default=_silent, repr=False)
    """Takes a line for a person."""
    on_epoch: Callable[[dict[str, float]], None] = attrs.field(default=_silent, repr=False)
    """Takes each row of metrics.csv."""
    on_batch: Callable[[int, int, int, float], None] = attrs.field(default=_silent, repr=False)
    """Takes epoch, batch, batches and loss after every batch."""
