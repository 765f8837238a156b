"""What made the numbers of an evaluation: the versions here, and the runs that measured either side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aop_pose.io.document import read_facts
from aop_pose.io.outputs import DOCUMENT, TABLE
from aop_pose.versions import measuring_versions

KEPT = (
    "model", "artefact_sha256", "aop_pose", "python", "onnxruntime", "numpy", "opencv", "device", "started", "schema",
    "image_size", "decode", "threshold", "pixel_size", "calibration", "coverage", "gate",
    "training_run",
)  # fmt: skip
"""Of the facts in ``results.json``; not the sources, which may be anybody's folders."""


def manifest(models: Sequence[str], results: Path, reference: Path) -> dict[str, Any]:
    """The entry ``manifest`` of ``metrics.json``.

    Args:
        models: every model that the scored rows name (``name@first digits of its hash``).
        results: table of the first side; facts are read from the ``results.json`` beside it, where there is one.
        reference: the second side, likewise (a label file has none).
    """
    return {
        "versions": measuring_versions(),
        "models": list(models),
        "results_run": _facts(results),
        "reference_run": _facts(reference),
    }


def _facts(table: Path) -> dict[str, Any] | None:
    facts = read_facts(table.with_name(DOCUMENT)) if table.name == TABLE else None
    return None if facts is None else {key: facts[key] for key in KEPT if key in facts}
