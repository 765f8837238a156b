"""``aop-pose weights``: what is shipped, and whether it is whole."""

from __future__ import annotations

import typer

from aop_pose.cli.common import sub_app, sub_command

app = sub_app(
    help="The artefacts that come with aop-pose.",
    epilog="Example: aop-pose weights list",
)


@sub_command(app, "list")
def list_() -> None:
    """Show the shipped artefacts.

    Example: aop-pose weights list
    """
    from rich.console import Console
    from rich.table import Table

    from aop_pose.artefacts import manifest, shipped_weights

    table = Table()
    for heading in ("name", "schema", "size", "model id", "licence", "training run", "card"):
        table.add_column(heading, overflow="fold")
    folder = shipped_weights()
    for entry in manifest(folder):
        default = f" (default for {entry.default_for})" if entry.default_for else ""
        table.add_row(
            f"{entry.name}{default}",
            entry.schema_name,
            f"{entry.bytes / 1e6:.1f} MB",
            entry.model_id,
            entry.licence,
            entry.training_run,
            entry.card,
        )
    Console().print(table)
    typer.echo(f"in {folder}; predict takes a name: aop-pose predict frames/ --weights NAME --out results/")


@sub_command(app, "verify")
def verify() -> None:
    """Compare every artefact with its hash.

    The hashes (SHA-256) stand in the manifest; the exit code is 1 where one differs.

    Example: aop-pose weights verify
    """
    from aop_pose.artefacts import manifest, problem, shipped_weights

    folder = shipped_weights()
    problems = {entry.name: problem(entry, folder) for entry in manifest(folder)}
    for name, wrong in problems.items():
        typer.echo(f"{name}: {wrong or 'ok'}")
    if any(problems.values()):
        raise typer.Exit(1)
