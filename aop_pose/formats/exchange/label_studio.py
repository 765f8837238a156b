"""Label Studio: ``tasks.json`` beside ``images/``, with ``labeling.xml`` for the settings of its project.

A point is x and y in percent of the picture's width and height, counted from its edge, beside ``original_width`` and
``original_height``. Annotations are labels, each with the reader who ``completed_by`` it. Predictions are none: what a
model found is written as a prediction with its score, as which Label Studio shows it before anybody has annotated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.formats.csv_rows import RowError, number
from aop_pose.formats.exchange import (
    IMAGES,
    MODEL,
    SCORE,
    Marked,
    OneFile,
    Place,
    document,
    named,
    numbers,
    picture_name,
)
from aop_pose.formats.label import Label, Skipped, reader_of

CONFIG = "labeling.xml"
"""The labelling configuration that a project needs: labels named as the points."""
_FROM, _TO, _IMAGE, _NAME = "points", "image", "image", "name"
_LOCAL = "/data/local-files/?d="
_WIDTH = 0.5
"""Percent of the picture's width that a mark is wide on the screen."""
# Label Studio puts eight digits in front of the name of an upload.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")


class LabelStudio(OneFile):
    """A task a picture, an annotation a reader."""

    name = "label-studio"
    looks_for = "tasks.json, a list of tasks with data"
    file = "tasks.json"
    from_edge = True

    def is_own(self, file: Path) -> bool:
        """True for a list of tasks."""
        said = document(file)
        return isinstance(said, list) and bool(said) and all(isinstance(one, dict) and "data" in one for one in said)

    def marked(self, source: Path) -> Iterator[Marked | Skipped]:
        """A reading an annotation; a task without any is said."""
        file = self.own_file(source)
        for place, task in enumerate(document(file), start=1):
            where = f"{file}: task {task.get('id', place)}"
            called = str(task["data"])[:80]
            names = named((called, where), _unmarked, task)
            if isinstance(names, Skipped):
                yield names
                continue
            kept = [one for one in task.get("annotations") or [] if not _is_cancelled(one)]
            if not kept:
                proposed = "; predictions are proposals, not labels" if task.get("predictions") else ""
                yield Skipped(names.name, f"nobody has annotated it yet{proposed}", where)
            for one in kept:
                yield named((names.name, where), _marked, task, one, where, self)

    def write_marks(self, labels: Sequence[Label], schema: Schema, dst: Path) -> None:
        """``dst/tasks.json`` and ``dst/labeling.xml``."""
        tasks: dict[str, dict[str, Any]] = {}
        for label in labels:
            where = f"{_LOCAL}{quote(f'{IMAGES}/{label.name}')}"
            new = {
                "id": len(tasks) + 1,
                "data": {_IMAGE: where, _NAME: label.name},
                "annotations": [],
                "predictions": [],
            }
            task = tasks.setdefault(label.name, new)
            result = [
                _result(label, name, point, self)
                for name, point in zip(schema.points, label.points, strict=True)
                if np.isfinite(point).all()
            ]
            if not result:
                continue
            if SCORE in label.extras:
                model = label.extras.get(MODEL, "")
                score = number(label.extras[SCORE], SCORE)
                task["predictions"].append({"model_version": model, "score": score, "result": result})
            else:
                reader = reader_of(label.extras)
                by = {"completed_by": {"email": reader}} if reader else {}
                task["annotations"].append({"result": result, "was_cancelled": False, **by})
        text = json.dumps(list(tasks.values()), ensure_ascii=False, indent=1)
        (dst / self.file).write_text(text + "\n", encoding="utf-8")
        (dst / CONFIG).write_text(labeling(schema), encoding="utf-8")


LABEL_STUDIO = LabelStudio()


def labeling(schema: Schema) -> str:
    """The labelling configuration of a project for the points of a schema."""
    named = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in schema.points)
    return (
        f'<View>\n  <Image name="{_TO}" value="${_IMAGE}" zoom="true" contrastControl="true"/>\n'
        f'  <KeyPointLabels name="{_FROM}" toName="{_TO}" strokeWidth="2">\n{named}\n  </KeyPointLabels>\n</View>\n'
    )


def _result(label: Label, name: str, point: np.ndarray, tool: LabelStudio) -> dict[str, Any]:
    x, y = tool.theirs(point)
    return {
        "id": f"{name}", "type": "keypointlabels", "from_name": _FROM, "to_name": _TO, "image_rotation": 0,
        "original_width": label.width, "original_height": label.height,
        "value": {
            "x": round(100 * x / label.width, 9), "y": round(100 * y / label.height, 9), "width": _WIDTH,
            "keypointlabels": [name],
        },
    }  # fmt: skip


def _unmarked(task: Mapping[str, Any]) -> Marked:
    return Marked(_names_of(task["data"])[0], (), "")


def _marked(task: Mapping[str, Any], one: Mapping[str, Any], where: str, tool: LabelStudio) -> Marked:
    names = _names_of(task["data"])
    points: list[tuple[str, Place | None]] = []
    sizes = set()
    for mark in one["result"]:
        if mark.get("type") != "keypointlabels":
            continue
        turned = mark.get("image_rotation") or 0
        if turned % 360:
            raise RowError(
                f"expected a picture that is not turned, found image_rotation {turned}; turn it back in the tool, or "
                "turn the file before it is annotated"
            )
        width, height = numbers([mark["original_width"], mark["original_height"]], 2, "original_width, original_height")
        x, y = numbers([mark["value"]["x"], mark["value"]["y"]], 2, "x, y")
        (label,) = mark["value"]["keypointlabels"]
        sizes.add((round(width), round(height)))
        points.append((label, tool.ours((x / 100 * width, y / 100 * height))))
    if not points:
        raise RowError("no key points in its annotation")
    if len(sizes) > 1:
        raise RowError(f"expected one original_width and original_height, found {sorted(sizes)}")
    return Marked(names[0], points, where, sizes.pop(), _reader_of(one), other_names=names[1:])


def _names_of(data: Mapping[str, Any]) -> list[str]:
    """The likeliest names of a task's picture: what we wrote, else by what it was uploaded as or where it is served."""
    if isinstance(data.get(_NAME), str):
        return [picture_name(data[_NAME])]
    texts = [text for key, text in data.items() if isinstance(text, str) and (key == _IMAGE or "/" in text)]
    if not texts:
        raise RowError(f"data: expected {_IMAGE}, found {', '.join(map(str, data)) or 'nothing'}")
    # A key called image goes before others.
    where = urlsplit(str(data.get(_IMAGE, texts[0])))
    inner = parse_qs(where.query).get("d")
    path = unquote(inner[0] if inner else where.path).lstrip("/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise RowError(f"expected a picture below the data folder, found {path}")
    if parts[:2] == ["data", "upload"]:
        return [picture_name(_UPLOADED.sub("", parts[-1])), picture_name(parts[-1])]
    # What is served may lie below folders that the data folder does not have.
    first = 1 if parts[0] == IMAGES and len(parts) > 1 else 0
    return [picture_name("/".join(parts[start:])) for start in range(first, len(parts))]


def _reader_of(one: Mapping[str, Any]) -> str:
    by = one.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("username") or by.get("id")
    return "" if by is None else str(by)


def _is_cancelled(one: Any) -> bool:
    return isinstance(one, dict) and bool(one.get("was_cancelled"))
