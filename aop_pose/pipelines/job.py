"""The job that every training verb of every pipeline is asked with, and how its processes end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import attrs

from aop_pose.errors import UsageError
from aop_pose.formats.label import LABELS
from aop_pose.inference.engine import cuda_numbers


def leads() -> bool:
    """False in a further process that a training on several GPUs has started: it calculates, and writes nothing."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def _silent(*_: object) -> None:
    """Say nothing."""


def _once(given: Callable[..., None]) -> Callable[..., None]:
    """Words to a person, by one process alone."""
    return given if leads() else _silent


def _as_numbers(device: str) -> str:
    """The words of a CUDA device as its number, those of several as numbers with commas; others as they are."""
    numbers = cuda_numbers(device)
    return ",".join(map(str, numbers)) if numbers else device


@attrs.define
class Pace:
    """The cost of a training: samples learned, the time that took, and how much of it data were waited for.

    Called at the begin of an epoch, when a batch has come, and when it is learned; checks and checkpoints between
    epochs do not count. Of a run that was resumed, the last process alone.
    """

    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    _since: float = 0.0
    _came: float = 0.0

    def begin(self) -> None:
        self._since = time.perf_counter()

    def come(self) -> None:
        self._came = time.perf_counter()

    def learned(self, samples: int) -> None:
        """A batch of so many samples; where nobody said that it had come, no waiting is known."""
        now = time.perf_counter()
        self.samples += samples
        self.seconds += now - self._since
        self.waited += max(0.0, self._came - self._since)
        self._since = now

    @property
    def facts(self) -> dict[str, float]:
        """As run.json has it; ``waiting_for_data`` is a share of ``seconds``."""
        return {
            "seconds": round(self.seconds, 2),
            "samples": self.samples,
            "samples_per_second": round(self.samples / self.seconds, 3) if self.seconds else 0.0,
            "waiting_for_data": round(self.waited / self.seconds, 4) if self.seconds else 0.0,
        }


@attrs.frozen
class Step:
    """The progress of a training after a batch."""

    epoch: int
    """From 1."""
    epochs: int
    batch: int
    """From 1, within the epoch."""
    batches: int
    loss: float
    """Of this batch, mean over its frames."""


@attrs.frozen
class Job:
    """One call of ``train`` or ``pretrain``: data in, run folder out."""

    data: Path
    """Folder with the pictures."""
    out: Path
    """Run folder to write."""
    labels: str = LABELS
    """Label file, as given or below ``data``."""
    init: str = "auto"
    """The first weights: auto, scratch, a checkpoint or a run folder."""
    preset: str | None = None
    """Name of a preset or path of a YAML file; None = the pipeline's default."""
    changes: Sequence[str] = ()
    """``key=value`` pairs on top of the preset."""
    seed: int = 0
    device: str = attrs.field(default="cpu", converter=_as_numbers)
    """``cpu``, ``cuda``, ``cuda:N``, the number of a CUDA device, or of several as ``0,1``; kept as ``cpu`` or numbers.

    UsageError where there is none of a number.
    """
    resume: bool = False
    say: Callable[[str], None] = attrs.field(default=_silent, converter=_once, repr=False)
    """Takes a line for a person."""
    on_epoch: Callable[[dict[str, float]], None] = attrs.field(default=_silent, converter=_once, repr=False)
    """Takes each row of metrics.csv."""
    on_batch: Callable[[Step], None] = attrs.field(default=_silent, converter=_once, repr=False)
    """Called after every batch."""
    on_frames: Callable[[int, int], None] = attrs.field(default=_silent, converter=_once, repr=False)
    """Called after every frame that a stage labels: how many so far, and of how many."""

    @property
    def predicts_on(self) -> str:
        """The device as predictors have it: ``cpu`` or ``cuda:N``, of several the first."""
        return self.device if self.device == "cpu" else f"cuda:{first_of(self.device)}"

    @device.validator
    def _check_device(self, attribute: attrs.Attribute, value: str) -> None:
        if value == "cpu":
            return
        import torch

        numbers, devices = cuda_numbers(value), torch.cuda.device_count()
        if not numbers or max(numbers) >= devices:
            raise UsageError(
                f"--device: expected cpu, cuda or the number of a CUDA device ({devices} here), found {value!r}"
            )


def first_of(device: str) -> int:
    """The number of the first CUDA device of ``device`` (as ``Job`` has it)."""
    return int(device.partition(",")[0])


def gpus_of(device: str, count: int) -> list[int]:
    """The CUDA devices that ``device`` (as ``Job`` has it) names, or ``count`` from its one on; none for ``cpu``.

    UsageError where there are too few, or where several are named and ``count`` is another number.
    """
    if device == "cpu":
        if count > 1:
            raise UsageError(f"gpus: expected 1 with --device cpu, found {count}; name the first with --device cuda")
        return []
    import torch

    named = list(cuda_numbers(device) or ())
    if len(named) > 1:
        if count not in (1, len(named)):
            raise UsageError(f"gpus: expected {len(named)}, as many as --device {device} names, found {count}")
        return named
    numbers = [named[0] + number for number in range(count)]
    if numbers[-1] >= torch.cuda.device_count():
        raise UsageError(
            f"gpus: expected at most {torch.cuda.device_count() - named[0]} from --device {device} on, found {count}"
        )
    return numbers


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C leaves as a KeyboardInterrupt: Lightning turns it into ``sys.exit(1)``, and ignores any further one."""
    on_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as left:
        if isinstance(left.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if on_main and before is not None:
            signal.signal(signal.SIGINT, before)


LAST_WORDS = 3.0
"""Seconds that a process has to say why it ends, before the one that started it ends it."""


@contextmanager
def ending_together(launcher: Any) -> Iterator[None]:
    """Processes that this one started end with it where it breaks off: they would wait for it, perhaps in a kernel.

    ``launcher``: Lightning's; one that starts none has no ``procs``.
    """
    try:
        yield
    except BaseException:
        for process in getattr(launcher, "procs", ()):
            with suppress(TimeoutExpired):
                process.wait(LAST_WORDS)
            process.kill()
        raise
