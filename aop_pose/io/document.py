"""``results.json``: the rows of ``results.csv`` with typed numbers, and the facts of a run, which it marks finished."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aop_pose.errors import AopPoseError
from aop_pose.io.atomic import replacing
from aop_pose.io.table import iter_results

_TEXT = frozenset({"source", "status", "reason", "model"})
_WHOLE = frozenset({"index", "width", "height"})


def write_document(path: str | Path, table: str | Path, facts: Mapping[str, object]) -> None:
    """Write ``{"run": facts, "results": [row, ...]}`` from a finished table; it appears only when complete.

    One row per line, read and written one at a time. Numbers are numbers, an empty field is null.

    Raises UsageError for a table that cannot be read, AopPoseError where the disk does not take the file.
    """
    try:
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            # ASCII, since a path among the facts may hold bytes that are no UTF-8.
            run = json.dumps(facts, allow_nan=False)
            stream.write(f'{{"run": {run},\n"results": [')
            separator = "\n"
            for row in iter_results(table):
                typed = {column: _typed(column, text) for column, text in row.items()}
                stream.write(separator + json.dumps(typed, ensure_ascii=False, allow_nan=False))
                separator = ",\n"
            stream.write("\n]}\n")
    except OSError as error:
        raise AopPoseError(f"{path} cannot be written: {error.strerror}; run again to continue") from None


def read_facts(path: str | Path) -> dict[str, Any] | None:
    """The facts of a document that ``write_document`` wrote, without reading its rows; None where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            # They stand on the first line, before the rows.
            first = json.loads(stream.readline().rstrip().rstrip(",") + "}")
    except (OSError, ValueError):
        return None
    facts = first.get("run") if isinstance(first, dict) else None
    return facts if isinstance(facts, dict) else None


def _typed(column: str, text: str) -> str | int | float | None:
    if text == "":
        return None
    if column in _TEXT:
        return text
    try:
        number = int(text) if column in _WHOLE else float(text)
    except ValueError:
        # A column that was added at the end may hold words.
        return text
    return number if math.isfinite(number) else None
