"""LabelMe: a JSON file beside each picture, ``images/NAME.json``, with a shape of type ``point`` for each point.

Coordinates are pixels counted from the picture's edge. ``imagePath`` names the picture from the folder of the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.errors import UnreadableError
from aop_pose.formats.csv_rows import RowError
from aop_pose.formats.exchange import (
    IMAGES,
    FileEach,
    Marked,
    Place,
    document,
    named,
    numbers,
    picture_name,
    stated_size,
)
from aop_pose.formats.label import Label, Skipped

VERSION = "5.5.0"
"""The version of LabelMe whose form is written; later ones read it."""


class LabelMe(FileEach):
    """A JSON file for each picture."""

    name = "labelme"
    looks_for = "NAME.json with shapes and imagePath beside each picture"
    suffix = ".json"
    from_edge = True

    def is_own(self, file: Path) -> bool:
        """True for a document with shapes of a picture."""
        said = document(file)
        return isinstance(said, dict) and isinstance(said.get("shapes"), list) and "imagePath" in said

    def marked(self, source: Path) -> Iterator[Marked | Skipped]:
        """A reading a file."""
        base = source if source.is_dir() else source.parent
        for file in self.own_files(source):
            yield named((file.name, str(file)), self._marked, file, base)

    def _marked(self, file: Path, base: Path) -> Marked:
        said = document(file)
        points: list[tuple[str, Place | None]] = []
        for shape in said["shapes"]:
            if shape.get("shape_type", "polygon") == "point":
                (place,) = shape["points"]
                points.append((shape["label"], self.ours(numbers(place, 2, shape["label"]))))
        if not points:
            raise RowError("no shape of type point in it")
        return Marked(
            _name_from(file, base, picture_name(said["imagePath"])), points, str(file),
            stated_size(said.get("imageWidth"), said.get("imageHeight")),
        )  # fmt: skip

    def place(self, label: Label, dst: Path, taken: set[str]) -> str:
        """As for every tool; UnreadableError where another picture has the same name but for its ending."""
        stem = PurePosixPath(label.name).with_suffix("").as_posix().casefold()
        if any(PurePosixPath(name).with_suffix("").as_posix() == stem for name in taken):
            raise UnreadableError(
                f"expected a name of its own for LabelMe, found that {stem}.json is another picture's"
            )
        return super().place(label, dst, taken)

    def write_marks(self, labels: Sequence[Label], schema: Schema, dst: Path) -> None:
        """``dst/images/NAME.json``."""
        for label in labels:
            shapes: list[dict[str, Any]] = [
                {
                    "label": name, "points": [[round(value, 6) for value in self.theirs(point)]], "group_id": None,
                    "description": "", "shape_type": "point", "flags": {}, "mask": None,
                }
                for name, point in zip(schema.points, label.points, strict=True)
                if np.isfinite(point).all()
            ]  # fmt: skip
            picture = dst / IMAGES / label.name
            said: dict[str, Any] = {
                "version": VERSION, "flags": {}, "shapes": shapes, "imagePath": picture.name, "imageData": None,
                "imageHeight": label.height, "imageWidth": label.width,
            }  # fmt: skip
            text = json.dumps(said, ensure_ascii=False, indent=2)
            picture.with_suffix(self.suffix).write_text(text + "\n", encoding="utf-8")


LABELME = LabelMe()


def _name_from(file: Path, base: Path, path: str) -> str:
    """The picture's name below ``base``; RowError where it would lie elsewhere."""
    parts = list(file.parent.relative_to(base).parts)
    for part in PurePosixPath(path).parts:
        if part == ".." and parts:
            parts.pop()
        elif part in ("..", "/") or ":" in part:
            raise RowError(f"imagePath: expected a picture below {base}, found {path}, which leads out of it")
        else:
            parts.append(part)
    return "/".join(parts[1:] if parts[0] == IMAGES and len(parts) > 1 else parts)
