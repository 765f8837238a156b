"""Progress bars on standard error; where that is no terminal, a few plain lines instead."""

from __future__ import annotations

import math
import shutil
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from aop_pose.cli.terminal import speech

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from aop_pose.pipelines.job import Step

_ROOM_FOR_A_BAR = 60
"""Columns of a terminal."""


def is_shown() -> bool:
    """True where a bar would be seen: standard error is a terminal, and nobody asked for silence."""
    return sys.stderr.isatty() and not speech.is_quiet()


class _Bar:
    """rich is imported where a bar is made: a start without one is a tenth shorter."""

    def __init__(self, *columns: ProgressColumn, shown: bool | None = None) -> None:
        from rich.console import Console
        from rich.progress import Progress

        shown = is_shown() if shown is None else shown
        self.console = Console(stderr=True)
        self.bar = Progress(*columns, console=self.console, disable=not shown, transient=True)

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()


class FrameProgress:
    """For ``predict`` and ``pseudo-label``: files done, frames per second, time left. Silent on no terminal."""

    def __init__(self, word: str = "measuring", shown: bool | None = None) -> None:
        self._bar = _frame_bar(word) if (is_shown() if shown is None else shown) else None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, at)

    def start(self, files: int) -> None:
        self.rows = 0
        if self._bar is not None:
            self.task = self._bar.bar.add_task("", total=files, rate="")

    def row(self, result: object, files_done: int) -> None:
        self.rows += 1
        if self._bar is None:
            return
        bar = self._bar.bar
        if self.rows == 1:
            # What an earlier run had done is no speed of this one.
            total = bar.tasks[0].total
            bar.remove_task(self.task)
            self.task = bar.add_task("", total=total, completed=files_done - 1, rate="")
        elapsed = bar.tasks[0].elapsed or 0.0
        rate = f"{self.rows / elapsed:.1f} frames/s" if elapsed > 0.2 else ""
        bar.update(self.task, completed=files_done, rate=rate)


def _frame_bar(word: str) -> _Bar:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    counts = (MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    # The numbers say more than the bar: they stand alone where both have no room.
    drawn = (TextColumn(word), BarColumn()) if shutil.get_terminal_size().columns >= _ROOM_FOR_A_BAR else ()
    return _Bar(*drawn, *counts, shown=True)


class EpochProgress(_Bar):
    """For ``train``: a bar within the terminal, and a line an epoch."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        super().__init__(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn(),
        )  # fmt: skip
        self.best = math.inf

    def __enter__(self) -> Self:
        super().__enter__()
        # Importing what trains takes seconds, in which nothing else would be seen.
        self._show("loading", 0, None, "")
        return self

    def say(self, line: str) -> None:
        speech.log(line)
        if not speech.is_quiet():
            self.console.print(line, highlight=False, soft_wrap=True)

    def batch(self, step: Step) -> None:
        done = (step.epoch - 1) * step.batches + step.batch
        words = f"epoch {step.epoch} of {step.epochs}"
        self._show(words, done, step.epochs * step.batches, f"loss {step.loss:.3f}")
        if done == step.epochs * step.batches:
            # Checking and writing take seconds more: a full bar that stands still looks like one that hangs.
            self._show("finishing", 0, None, "")

    def frames(self, done: int, total: int) -> None:
        self._show("labelling", done, total, f"{done} of {total} frames")

    def _show(self, words: str, done: int, total: int | None, beside: str) -> None:
        task = self.bar.tasks[0] if self.bar.tasks else None
        # Less than before, or a work of unknown length before: the time left is told by the new work's own speed.
        if task is not None and (done < task.completed or (task.total is None and total is not None)):
            self.bar.remove_task(task.id)
            task = None
        number = self.bar.add_task(words, total=total, loss="") if task is None else task.id
        self.bar.update(number, description=words, completed=done, total=total, loss=beside)

    def epoch(self, row: dict[str, float]) -> None:
        loss = sum(value for key, value in row.items() if key.startswith("train/"))
        checked = {name: value for name, value in row.items() if name.startswith("val/") and math.isfinite(value)}
        from aop_pose.pipelines.run import in_words

        words = [f"epoch {row['epoch']:.0f}", f"loss {loss:.3f}", *in_words(checked), f"{row['seconds']:.0f} s"]
        if checked and self._is_best(*next(iter(checked.items()))):
            words.append("best so far")
        self.say("  ".join(words))

    def _is_best(self, name: str, value: float) -> bool:
        """The rule of ``pipelines.run.best_row``; the first epoch of a new stage begins anew with another number."""
        value = -value if name.endswith("iou") else value
        if value > self.best:
            return False
        self.best = value
        return True
