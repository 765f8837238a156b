"""The command ``aop-pose``: which commands there are, and how their errors reach a person.

A command's module is imported when that command (or the list of all) is asked for, so that starting is quick;
what needs seconds to import is imported inside the command's function.
"""

from __future__ import annotations

import gc
import io
import os
import shutil
import sys
from importlib import import_module
from typing import Any

import typer

from aop_pose import __version__
from aop_pose.cli.common import Group, command_from, finish_interrupted, load_additions, outlined
from aop_pose.cli.terminal import speech
from aop_pose.errors import AopPoseError

# Command -> "module:attribute" below aop_pose.cli: a function, or a typer app with commands of its own; behind it the
# class of the command, where it has one of its own.
COMMANDS = {
    "predict": "predict:predict",
    "evaluate": "evaluate:evaluate",
    "demo": "predict:demo",
    "pretrain": "train:pretrain:Trains",
    "train": "train:train:Trains",
    "pseudo-label": "annotate:pseudo_label",
    "export": "train:export",
    "benchmark": "train:benchmark",
    "dataset": "dataset:app",
    "scribbles": "annotate:scribbles",
    "weights": "weights:app",
    "review": "annotate:review",
    "report": "clinic:report",
    "deidentify": "clinic:deidentify",
    "watch": "clinic:watch",
    "listen": "clinic:listen",
    "info": "info:info",
}


class LazyGroup(Group):
    """A group whose commands are imported on demand."""

    listed = False
    """Commands are asked for to be listed: their parameters, which cost half of a start, are not needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self.listed = True
        super().format_commands(ctx, formatter)
        self.listed = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            place, *attributes = COMMANDS[cmd_name].split(":")
            module = import_module(f"aop_pose.cli.{place}")
            target, *kind = (getattr(module, attribute) for attribute in attributes)
            return outlined(target, cmd_name) if self.listed else command_from(target, cmd_name, *kind)
        import difflib

        near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(COMMANDS)}"
        ctx.fail(f"no command {cmd_name!r}; {meant}")


app = typer.Typer(
    cls=LazyGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: aop-pose predict frames/ --out results/",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"aop-pose {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Measure the angle of progression in ultrasound frames. Not a medical device; research use only."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
    load_additions()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: every expected error is one line on stderr."""
    if arguments is None:
        _read_names_as_utf8()
    # What is imported stays: looking for garbage in it, as often as a program that makes some, is a tenth of a start.
    gc.set_threshold(50_000)
    # Pydantic would read the records of every installed package for plugins.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows no degree sign shows another one; it does not end the command.
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _read_names_as_utf8() -> None:
    """Begin anew where names of files are not read as UTF-8: tables hold them in UTF-8, and labels name them so.

    What is printed keeps the alphabet of the terminal.
    """
    if os.name == "posix" and sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding or "utf-8")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def run(arguments: list[str]) -> int:
    """Run the command line and return the exit code."""
    speech.reset()
    try:
        # A finished command gives its own return value, which says nothing; an Exit gives its code.
        code = app(args=arguments, prog_name="aop-pose", standalone_mode=False, terminal_width=_help_width())
    except AopPoseError as error:
        speech.trace(error)
        return _say(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return finish_interrupted(arguments)
    except OSError as error:
        return _say(f"{error.strerror or error}: {error.filename or 'while reading or writing'}", 1)
    except Exception as error:
        if _was_interrupted(error):
            return finish_interrupted(arguments)
        if not hasattr(error, "format_message"):
            raise
        return _usage(error)
    if code == 130:
        return finish_interrupted(arguments)
    return code if isinstance(code, int) else 0


def _help_width() -> int:
    """Columns of a help text: those of the terminal, and no more than are read with ease."""
    return min(shutil.get_terminal_size().columns, 120) - 2


def _was_interrupted(error: BaseException | None) -> bool:
    """Packages of compiled code turn a Ctrl-C that comes while they load into an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _usage(error: Any) -> int:
    """A wrong option or argument. Typer's classes for it moved between versions: it is known by its shape."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    return _say(f"{error.format_message().rstrip('.')}{hint}", error.exit_code)


def _say(message: str, code: int) -> int:
    speech.fail(" ".join(message.split()))
    return code
