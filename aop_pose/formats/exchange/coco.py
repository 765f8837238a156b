"""COCO key points: ``annotations.json`` beside ``images/``, as pycocotools reads it.

A point is x, y, v in pixels: v 2 = seen, 1 = marked but hidden, 0 = missing, with 0, 0 as its place. The category says
the names of the points in its order, and ``skeleton`` joins them, counted from 1. Coordinates stand as they are, as in
YOLO folders; boxes count from the picture's edge. ``attributes`` may hold ``reader``, as CVAT writes attributes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aop_pose.core.keypoints import to_edges
from aop_pose.core.schema import Schema
from aop_pose.formats.csv_rows import RowError, number
from aop_pose.formats.exchange import (
    SCORE,
    Marked,
    OneFile,
    Place,
    document,
    hidden_of,
    named,
    numbers,
    picture_name,
    stated_size,
)
from aop_pose.formats.label import READER, Label, Skipped, reader_of

_SEEN, _HIDDEN, _MISSING = 2, 1, 0


class Coco(OneFile):
    """One annotation of a category with key points for each reading of a picture."""

    name = "coco"
    looks_for = "annotations.json with images, categories with keypoints, and annotations"
    file = "annotations.json"

    def is_own(self, file: Path) -> bool:
        """True for a document with the three lists of COCO and a category that has key points."""
        said = document(file)
        lists = isinstance(said, dict) and all(
            isinstance(said.get(name), list) for name in ("images", "categories", "annotations")
        )
        return lists and any(isinstance(one, dict) and one.get("keypoints") for one in said["categories"])

    def marked(self, source: Path) -> Iterator[Marked | Skipped]:
        """A reading an annotation; a picture without any, or a reading of a picture that is not listed, is said."""
        file = self.own_file(source)
        said = document(file)
        images = {one.get("id"): one for one in said["images"] if isinstance(one, dict)}
        names = {one.get("id"): one.get("keypoints") for one in said["categories"] if isinstance(one, dict)}
        annotated = set()
        for place, one in enumerate(said["annotations"], start=1):
            where = f"{file}: annotation {one.get('id', place) if isinstance(one, dict) else place}"
            image = images.get(one.get("image_id"), {}) if isinstance(one, dict) else {}
            called = str(image.get("file_name", where))
            if isinstance(one, dict) and "keypoints" not in one and names.get(one.get("category_id")) is None:
                continue
            annotated.add(image.get("id"))
            yield named((called, where), _marked, one, images, names, where, self)
        for key, image in images.items():
            if key not in annotated:
                yield Skipped(str(image.get("file_name")), "no annotation with key points", str(file))

    def write_marks(self, labels: Sequence[Label], schema: Schema, dst: Path) -> None:
        """``dst/annotations.json``."""
        ids = {name: i for i, name in enumerate(dict.fromkeys(label.name for label in labels), start=1)}
        sizes = {label.name: (label.width, label.height) for label in labels}
        # A picture that nobody has marked is listed without an annotation.
        marked = [label for label in labels if np.isfinite(label.points).any()]
        joined = [[schema.index(first) + 1, schema.index(second) + 1] for first, second in schema.lines]
        category = {"id": 1, "name": schema.name, "supercategory": "", "keypoints": list(schema.points)}
        said = {
            "info": {"description": f"{schema.name} key points", "version": "1.0"},
            "licenses": [],
            "categories": [{**category, "skeleton": joined}],
            "images": [
                {"id": key, "file_name": name, "width": sizes[name][0], "height": sizes[name][1]}
                for name, key in ids.items()
            ],
            "annotations": [_annotation(key, ids[label.name], label) for key, label in enumerate(marked, start=1)],
        }
        (dst / self.file).write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


COCO = Coco()


def _marked(one: Any, images: Mapping[Any, Any], names: Mapping[Any, Any], where: str, coco: Coco) -> Marked:
    if one["image_id"] not in images:
        raise RowError(f"image_id: expected the id of one of the {len(images)} images, found {one['image_id']!r}")
    points = names.get(one["category_id"])
    if not points:
        raise RowError(f"category_id: expected that of a category with keypoints, found {one['category_id']!r}")
    image, values = images[one["image_id"]], numbers(one["keypoints"], 3 * len(points), "keypoints")
    found: list[tuple[str, Place | None]] = []
    hidden = []
    for name, (x, y, seen) in zip(points, np.reshape(values, (-1, 3)).tolist(), strict=True):
        if seen not in (_SEEN, _HIDDEN, _MISSING):
            raise RowError(f"{name}: expected visibility 0, 1 or 2, found {seen:g}")
        found.append((name, None if seen == _MISSING else coco.ours((x, y))))
        hidden += [name] if seen == _HIDDEN else []
    attributes = one.get("attributes")
    reader = attributes.get(READER, "") if isinstance(attributes, dict) else ""
    size = stated_size(image.get("width"), image.get("height"))
    return Marked(picture_name(image["file_name"]), found, where, size, str(reader), hidden)


def _annotation(key: int, image: int, label: Label) -> dict[str, Any]:
    hidden, known = hidden_of(label), np.isfinite(label.points).all(axis=1)
    values: list[float] = []
    for name, (x, y), here in zip(label.schema.points, label.points.tolist(), known, strict=True):
        values += [round(x, 6), round(y, 6), _HIDDEN if name in hidden else _SEEN] if here else [0, 0, _MISSING]
    low, extent = np.zeros(2), np.zeros(2)
    if known.any():
        # Around the pixels of the outermost points, by their outer edges.
        size, corners = np.array([label.width, label.height]), to_edges(label.points[known])
        low = np.clip(corners.min(axis=0) - 0.5, 0, size)
        extent = np.clip(corners.max(axis=0) + 0.5, 0, size) - low
    said: dict[str, Any] = {
        "id": key, "image_id": image, "category_id": 1, "keypoints": values, "num_keypoints": int(known.sum()),
        "bbox": np.round([*low, *extent], 6).tolist(), "area": round(float(extent.prod()), 6), "iscrowd": 0,
        "segmentation": [],
    }  # fmt: skip
    if SCORE in label.extras:
        said["score"] = number(label.extras[SCORE], SCORE)
    reader = reader_of(label.extras)
    return {**said, "attributes": {READER: reader}} if reader else said
