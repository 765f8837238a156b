"""``aop-pose weights``: what is shipped and whether it is whole; weights that others publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aop_pose.cli.common import offering, sub_app, sub_command
from aop_pose.cli.terminal import speech

app = sub_app(
    help="The artefacts that come with aop-pose, and weights that others publish.",
    epilog="Example: aop-pose weights list",
)


@sub_command(app, "list")
def list_() -> None:
    """Show the shipped artefacts.

    Example: aop-pose weights list
    """
    from rich.table import Column, Table

    from aop_pose.inference.weights import manifest, shipped_weights

    # Narrow enough for a terminal of 80 columns; info --json has the rest.
    rest = (Column(name, overflow="fold") for name in ("schema", "size", "sha256", "licence"))
    table = Table(Column("name", no_wrap=True), *rest)
    folder = shipped_weights()
    for entry in manifest(folder):
        default = " (default)" if entry.default_for == entry.schema_name else ""
        size = f"{entry.bytes / 1e6:.1f} MB"
        table.add_row(entry.name, f"{entry.schema_name}{default}", size, f"{entry.sha256[:8]}…", entry.licence)
    speech.show(table)
    speech.say(f"with their cards (NAME.md) and training runs in {folder}")


@sub_command(app, "verify")
def verify() -> None:
    """Compare every artefact with its hash.

    The hashes (SHA-256) stand in the manifest; the exit code is 1 where one differs.

    Example: aop-pose weights verify
    """
    from aop_pose.inference.weights import manifest, problem, shipped_weights

    folder = shipped_weights()
    problems = {entry.name: problem(entry, folder) for entry in manifest(folder)}
    for name, wrong in problems.items():
        speech.say(f"{name}: {wrong or 'ok'}")
    if any(problems.values()):
        raise typer.Exit(1)


@sub_command(app, "fetch")
def fetch(
    name: Annotated[
        str, typer.Argument(help="what to fetch: scribbleprompt", autocompletion=offering("inference.fetch:PUBLISHED"))
    ],
) -> None:
    """Download weights that others publish.

    The file goes to the user's cache (AOP_POSE_CACHE moves it) and is used only if its SHA-256 is the published one.
    A download that broke off goes on where it stopped; https_proxy is honoured; AOP_POSE_SCRIBBLEPROMPT_URL names a
    mirror.

    Example: aop-pose weights fetch scribbleprompt
    """
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress

    from aop_pose.inference.fetch import fetch as fetch_published
    from aop_pose.inference.fetch import published

    item = published(name)
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), DownloadColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal or speech.is_quiet(), transient=True
    ) as bar:
        task = bar.add_task(item.file, total=item.bytes)
        path = fetch_published(item, lambda have, total: bar.update(task, completed=have, total=total))
        bar.update(task, completed=item.bytes)
    speech.say(f"{name}: {path} ({item.licence}), sha256 as published")


@sub_command(app, "add")
def add(
    name: Annotated[
        str,
        typer.Argument(help="what the file is: scribbleprompt", autocompletion=offering("inference.fetch:PUBLISHED")),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the checkpoint as published")],
) -> None:
    """Put a downloaded file into the cache of a machine without internet.

    Example: aop-pose weights add scribbleprompt ScribblePrompt_unet_v1_nf192_res128.pt
    """
    from aop_pose.inference.fetch import add as add_published
    from aop_pose.inference.fetch import published

    item = published(name)
    speech.say(f"{name}: {add_published(item, file)} ({item.licence}), sha256 as published")
