"""The typer form of a command, and the words after Ctrl-C."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from aop_pose.cli.terminal import speech
from aop_pose.errors import UsageError

if TYPE_CHECKING:
    from aop_pose.core.region import Region

# What has to be typed to go on after Ctrl-C, for the commands that can go on.
_RESUME = {
    "predict": "the same command again continues where this one stopped",
    "review": "every decision is kept; the same command again goes on where this one stopped",
    "watch": "the same command again continues where this one stopped",
    "listen": "the same command again continues where this one stopped",
    "pseudo-label": "the same command again continues where this one stopped",
    "train": "the same command with --resume continues from the last finished epoch",
    "pretrain": "the same command with --resume continues from the last finished epoch",
    "benchmark": "the same command with --resume continues with the run that was broken off",
}


ADDITIONS = "aop_pose"
"""Group of entry points: modules that add quantities, schemas, formats or pipelines by ``register`` when imported."""


def load_additions() -> None:
    """Import what other packages add; UsageError names one that cannot be imported."""
    from importlib.metadata import entry_points

    for addition in entry_points(group=ADDITIONS):
        try:
            addition.load()
        except Exception as error:
            raise UsageError(
                f"the addition {addition.name} ({addition.value}) cannot be imported "
                f"({type(error).__name__}: {error}); repair or uninstall it"
            ) from error


def offering(*values: str) -> Callable[[], Iterator[str]]:
    """For ``autocompletion``: words, and tables or functions (``module:NAME``) that are read when a shell asks."""

    def offered() -> Iterator[str]:
        for value in values:
            module, _, name = value.partition(":")
            found = getattr(import_module(f"aop_pose.{module}"), name) if name else [value]
            yield from found() if callable(found) else found

    return offered


NETWORKS = offering("inference.weights:shipped_names")
"""For ``--weights``; where none of the names fits, the shell offers files."""
DEVICES = offering("cpu", "cuda")
SEGMENTERS = offering("auto", "scribbleprompt", "scribble-unet", "classical", "geometry")
CONFIDENCES = offering("pseudo.signals:CONFIDENCES")


def sub_app(**settings: Any) -> typer.Typer:
    """A typer app for a command with commands of its own (``weights list``), set up like the others."""
    return typer.Typer(cls=Group, add_completion=False, rich_markup_mode=None, no_args_is_help=True, **settings)


_CONTEXT: Any = TyperCommand.context_class


class _Formatter(_CONTEXT.formatter_class):
    """Help texts: what an option means stands below its name where two columns have no room."""

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, col_max if self.width > _ROOM_FOR_COLUMNS else _INDENT, col_spacing)


_ROOM_FOR_COLUMNS, _INDENT = 48, 2


class _Context(_CONTEXT):
    formatter_class = _Formatter


class Group(TyperGroup):
    """Commands that are listed with their whole first sentence, wrapped and not cut."""

    context_class = _Context

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=1000)) for name, one in commands if one])


def sub_command(app: typer.Typer, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a function becomes the command ``name`` of a sub-app, with help as in ``command_from``."""
    return lambda function: app.command(name, cls=_SubCommand, **help_of(function))(function)


class _SubCommand(TyperCommand):
    """A command of a command, with the options that every command takes."""

    context_class = _Context

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params.extend(speech.options())


def command_from(target: Any, name: str, kind: type[TyperCommand] | None = None) -> Any:
    """The click command of a typer app or of a function, of a class of its own where one is given.

    The last paragraph of a function's docstring, ``Example: …``, closes its ``--help``.
    """
    if isinstance(target, typer.Typer):
        command = typer.main.get_command(target)
    else:
        wrapper = typer.Typer(add_completion=False, rich_markup_mode=None)
        wrapper.command(name, cls=kind, **help_of(target))(target)
        command = typer.main.get_command(wrapper)
    command.name = name
    if not isinstance(target, typer.Typer):
        command.params.extend(speech.options())
        command.context_class = _Context
    return command


def outlined(target: Any, name: str) -> TyperCommand:
    """A command with its name and help alone, for a list of commands."""
    told = target.info.help if isinstance(target, typer.Typer) else help_of(target)["help"]
    return TyperCommand(name, help=told)


def help_of(function: Callable[..., Any]) -> dict[str, Any]:
    """``help`` and ``epilog`` for typer, from a docstring that ends with an ``Example: …`` paragraph."""
    text, mark, example = (inspect.getdoc(function) or "").rpartition("\n\nExample: ")
    # \b keeps the line breaks of the example as they were written.
    return {"help": text, "epilog": f"\b\n{mark.strip()} {example}"} if mark else {"help": example}


def finish_interrupted(arguments: list[str]) -> int:
    """Say how to go on after Ctrl-C; returns the exit code."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    how = _RESUME.get(command, "nothing half-written was left; run the command again")
    typer.echo(f"aop-pose: interrupted; {how}", err=True)
    # Python remembers a Ctrl-C that came out of code in a string, as libraries run while they load, and `python -m`
    # would end by that signal. The next such code makes it forget.
    exec("")
    return 130


def box_of(region: str | None) -> Region | None:
    """The box of ``--region X,Y,W,H``, None where it was not given; UsageError for anything else."""
    from aop_pose.core.region import wanted_region

    if region is None:
        return None
    box = wanted_region(region)
    if isinstance(box, str):
        raise UsageError(f"--region: expected X,Y,W,H, found {region!r}")
    return box
