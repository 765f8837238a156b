"""``aop-pose info``: what is installed here, for a bug report or a methods section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE


def info(
    as_json: bool = typer.Option(False, "--json", help="Print it as JSON."),
) -> None:
    """Show versions, devices, pipelines, shipped artefacts with their cards, the licence.

    Example: aop-pose info --json
    """
    facts = _facts()
    if as_json:
        speech.answer(facts, indent=2)
        return
    for name, text in _lines(facts):
        speech.say(f"{name.replace('_', ' '):<16}{text}")


def _facts() -> dict[str, Any]:
    import platform

    from aop_pose.inference.engine import devices, usable_cores
    from aop_pose.pipelines import described
    from aop_pose.provenance import TRAINING, installed, measuring_versions

    return {
        **measuring_versions(),
        "platform": platform.platform(),
        "cores": usable_cores(),
        "devices": devices(),
        "training": installed(TRAINING),
        "pipelines": described(),
        "licence": "AGPL-3.0-or-later",
        "use": RESEARCH_USE,
        **_artefacts(),
    }


def _artefacts() -> dict[str, Any]:
    """The shipped artefacts; a broken installation is a fact to show, not a reason to show nothing."""
    from aop_pose.errors import UsageError
    from aop_pose.inference.weights import manifest, problem, shipped_weights

    try:
        folder = shipped_weights()
        entries = manifest(folder)
    except UsageError as error:
        return {"problem": str(error), "artefacts": []}
    return {
        "artefacts": [
            {
                **entry.model_dump(by_alias=True),
                "model_id": entry.model_id,
                "card": str(folder / entry.card),
                "problem": problem(entry, folder) or None,
            }
            for entry in entries
        ]
    }


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if name == "pipelines":
            for method, about in value.items():
                needs = f"; not installed: {', '.join(about['not_installed'])}" if about["not_installed"] else ""
                yield "pipeline", f"{method} (presets {', '.join(about['presets'])}{needs})"
        elif name == "artefacts":
            for artefact in value:
                default = f", default for {artefact['default_for']}" if artefact["default_for"] else ""
                yield "artefact", f"{artefact['model_id']} (schema {artefact['schema']}{default})"
                yield "", f"card: {artefact['card']}"
                if artefact["problem"]:
                    yield "", f"problem: {artefact['problem']}"
        elif isinstance(value, dict):
            yield name, ", ".join(f"{package} {version or 'not installed'}" for package, version in value.items())
        else:
            yield name, ", ".join(value) if isinstance(value, list) else str(value or "not installed")
