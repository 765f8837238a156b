"""``aop-pose info``: what is installed here, for a bug report or a methods section."""

from __future__ import annotations

import json
from typing import Any

import typer

from aop_pose.cli.common import RESEARCH_USE


def info(
    as_json: bool = typer.Option(False, "--json", help="Print it as JSON."),
) -> None:
    """Show versions, devices, shipped artefacts, the licence.

    Example: aop-pose info --json
    """
    facts = _facts()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if name != "artefacts":
            typer.echo(f"{name.replace('_', ' '):<16}{_line(value)}")
    for artefact in facts["artefacts"]:
        default = f", default for {artefact['default_for']}" if artefact["default_for"] else ""
        typer.echo(f"{'artefact':<16}{artefact['model_id']} (schema {artefact['schema']}{default})")
        typer.echo(f"{'':<16}card: {artefact['card']}")


def _facts() -> dict[str, Any]:
    import platform

    import onnxruntime

    from aop_pose import __version__

    return {
        "aop_pose": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "training": _training(),
        "licence": "AGPL-3.0-or-later",
        "use": RESEARCH_USE,
        **_artefacts(),
    }


def _artefacts() -> dict[str, Any]:
    """The shipped artefacts; a broken installation is a fact to show, not a reason to show nothing."""
    from aop_pose.artefacts import manifest, shipped_weights
    from aop_pose.errors import UsageError

    try:
        folder = shipped_weights()
        entries = manifest(folder)
    except UsageError as error:
        return {"problem": str(error), "artefacts": []}
    return {
        "artefacts": [
            {**entry.model_dump(by_alias=True), "model_id": entry.model_id, "card": str(folder / entry.card)}
            for entry in entries
        ]
    }


def _training() -> dict[str, str | None]:
    """Versions of what training needs, from the installed records: importing them would take seconds."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for names in (("torch",), ("ultralytics-opencv-headless", "ultralytics")):
        found[names[-1]] = None
        for name in names:
            try:
                found[names[-1]] = version(name)
                break
            except PackageNotFoundError:
                continue
    return found


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version or 'not installed'}" for name, version in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
