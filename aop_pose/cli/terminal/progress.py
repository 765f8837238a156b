"""Progress bars on standard error; where that is no terminal, a few plain lines instead."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typing_extensions import Self

from aop_pose.cli.terminal import speech

if TYPE_CHECKING:
    from aop_pose.pipelines.job import Step


class RateColumn(ProgressColumn):
    """Frames per second since the bar began."""

    def render(self, task: Any) -> Text:
        rows, elapsed = task.fields["rows"], task.elapsed or 0.0
        return Text(f"{rows / elapsed:.1f} frames/s" if elapsed > 0.2 else "")


class _Bar:
    def __init__(self, *columns: ProgressColumn) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            *columns, console=self.console, disable=not sys.stderr.isatty() or speech.is_quiet(), transient=True
        )

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()


class FrameProgress(_Bar):
    """For ``predict`` and ``pseudo-label``: files done, frames per second, time left. Silent on no terminal."""

    def __init__(self, word: str = "measuring") -> None:
        super().__init__(TextColumn(word), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())

    def start(self, files: int) -> None:
        self.task = self.bar.add_task("measuring", total=files, rows=0)

    def row(self, result: object, files_done: int) -> None:
        self.bar.update(self.task, completed=files_done, rows=self.bar.tasks[0].fields["rows"] + 1)


class EpochProgress(_Bar):
    """For ``train``: a bar within the terminal, and a line an epoch."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"), TimeRemainingColumn(),
        )  # fmt: skip

    def say(self, line: str) -> None:
        speech.log(line)
        if not speech.is_quiet():
            self.console.print(line, highlight=False, soft_wrap=True)

    def batch(self, step: Step) -> None:
        done = (step.epoch - 1) * step.batches + step.batch
        words = f"epoch {step.epoch} of {step.epochs}"
        self._show(words, done, step.epochs * step.batches, f"loss {step.loss:.3f}")

    def frames(self, done: int, total: int) -> None:
        self._show("labelling", done, total, f"{done} of {total} frames")

    def _show(self, words: str, done: int, total: int, beside: str) -> None:
        task = self.bar.tasks[0] if self.bar.tasks else None
        # Less than before: another stage has begun, and the time left is told by its own speed.
        if task is not None and done < task.completed:
            self.bar.remove_task(task.id)
            task = None
        number = self.bar.add_task(words, total=total, loss="") if task is None else task.id
        self.bar.update(number, description=words, completed=done, total=total, loss=beside)

    def epoch(self, row: dict[str, float]) -> None:
        checked = "".join(
            f"  {'val loss' if name == 'val/loss' else name.removeprefix('val/')} {value:.3g}"
            for name, value in row.items()
            if name.startswith("val/") and math.isfinite(value)
        )
        loss = sum(value for key, value in row.items() if key.startswith("train/"))
        self.say(f"epoch {row['epoch']:.0f}  loss {loss:.3f}{checked}  {row['seconds']:.0f} s")
