"""The voice of a command: results on standard output, the rest on standard error, all of it in a log if one is kept.

``--quiet`` leaves results of ``--json`` and errors, ``--verbose`` adds what a bug report needs.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from aop_pose.errors import UsageError, printable

if TYPE_CHECKING:
    from rich.table import Table


class _Speech:
    quiet = False
    verbose = False
    log: Path | None = None


_speech = _Speech()


def reset() -> None:
    """Forget what an earlier command of this process asked for."""
    global _speech
    _speech = _Speech()


def is_quiet() -> bool:
    """True where only errors are wanted, so that no progress is shown."""
    return _speech.quiet


def say(line: str) -> None:
    """A result for a person, on standard output."""
    log(line)
    if not _speech.quiet:
        typer.echo(line)


def answer(document: Mapping[str, Any], indent: int | None = None) -> None:
    """A result for a program: JSON on standard output, whatever was asked for."""
    log(json.dumps(document, allow_nan=False))
    typer.echo(json.dumps(document, indent=indent, allow_nan=False))


def show(table: Table) -> None:
    """A table for a person, on standard output; a line a cell where the terminal is too narrow for its words."""
    from rich.console import Console
    from rich.measure import Measurement

    if _speech.log is not None:
        plain = Console(file=io.StringIO(), width=200, color_system=None)
        with plain.capture() as text:
            plain.print(table)
        for line in text.get().splitlines():
            log(line.rstrip())
    if _speech.quiet:
        return
    console = Console()
    # Asked with room without end: else the least that is told is no more than there is.
    if Measurement.get(console, console.options.update(width=9999), table).minimum <= console.width:
        console.print(table)
        return
    lines = [table.title]
    for first, *others in zip(*(column.cells for column in table.columns), strict=True):
        named = zip(table.columns[1:], others, strict=True)
        lines += [first, *(f"  {column.header}: {cell}" for column, cell in named)]
    for said in filter(None, [*lines, table.caption]):
        console.print(said, highlight=False, soft_wrap=True)


def tell(line: str) -> None:
    """The progress of a long work, on standard error."""
    log(line)
    if not _speech.quiet:
        typer.echo(line, err=True)


def note(line: str) -> None:
    """Something the reader of a result should know, on standard error."""
    log(f"note: {line}")
    if not _speech.quiet:
        typer.echo(f"aop-pose: note: {line}", err=True)


def detail(line: str) -> None:
    """Something for a bug report, on standard error where ``--verbose`` asks for it."""
    log(line)
    if _speech.verbose:
        typer.echo(f"aop-pose: {line}", err=True)


def trace(error: BaseException) -> None:
    """The place in the code where an error arose, for a bug report."""
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        detail(line)


def fail(line: str) -> None:
    """An error, on standard error whatever was asked for."""
    log(f"error: {line}")
    typer.echo(f"aop-pose: error: {line}", err=True)


def log(line: str) -> None:
    """Add a line to the log, where one is kept."""
    if _speech.log is None:
        return
    try:
        with open(_speech.log, "a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {printable(line)}\n")
    except OSError as error:
        path, _speech.log = _speech.log, None
        raise UsageError(f"--log: {path} cannot be written: {error.strerror}; give another file") from None


def _quiet(asked: bool) -> None:
    _speech.quiet = _speech.quiet or asked
    _refuse_both()


def _verbose(asked: bool) -> None:
    _speech.verbose = _speech.verbose or asked
    _refuse_both()


def _refuse_both() -> None:
    if _speech.quiet and _speech.verbose:
        raise UsageError("--quiet and --verbose exclude each other; leave one out")


def _keep_log(file: Path | None) -> None:
    _speech.log = file or _speech.log


def _shared(
    quiet: bool = typer.Option(
        False, "--quiet", "-q", callback=_quiet, expose_value=False, help="Say nothing but errors."
    ),
    verbose: bool = typer.Option(
        False, "--verbose", "-v", callback=_verbose, expose_value=False, help="Say more, for a bug report."
    ),
    kept: Path | None = typer.Option(
        None, "--log", callback=_keep_log, expose_value=False, help="Add what is said, with the time, to this file."
    ),
) -> None: ...


def options() -> list[Any]:
    """The options that every command takes, as typer makes them: its own classes change between versions."""
    app = typer.Typer(add_completion=False)
    app.command()(_shared)
    return list(typer.main.get_command(app).params)
