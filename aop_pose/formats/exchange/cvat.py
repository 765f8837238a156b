"""CVAT for images 1.1: ``annotations.xml`` beside ``images/``, a skeleton a reading, its points by the names of labels.

CVAT counts pixels from the picture's edge. An element that is ``outside`` is missing, an ``occluded`` one is hidden.
The order of elements means nothing: CVAT changes it. ``labels.json`` is the skeleton for the label constructor (Raw).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from aop_pose.core.schema import Schema
from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import RowError, number
from aop_pose.formats.exchange import (
    SCORE,
    Marked,
    OneFile,
    Place,
    hidden_of,
    named,
    picture_name,
    stated_size,
    text_of,
)
from aop_pose.formats.label import READER, Label, Skipped, reader_of

LABELS_JSON = "labels.json"
"""The skeleton for the label constructor of a task."""
_YES, _NO = "1", "0"
_AUTO = "auto"
"""Source of a shape that a model made and nobody has changed."""
_COLOURS = ("#2a78d6", "#d6662a", "#2ad678", "#a02ad6")


class Cvat(OneFile):
    """A skeleton with a ``points`` element for each point, or plain ``points`` shapes."""

    name = "cvat"
    looks_for = "annotations.xml of CVAT for images 1.1"
    file = "annotations.xml"
    from_edge = True

    def is_own(self, file: Path) -> bool:
        """True for an XML document whose root is ``annotations``."""
        return "<annotations" in text_of(file, ".xml")[:4096]

    def marked(self, source: Path) -> Iterator[Marked | Skipped]:
        """A reading a skeleton; an image without any is said. UsageError for a document of videos, or none of CVAT."""
        file = self.own_file(source)
        root = _root(file)
        if root.find("track") is not None:
            raise UsageError(
                f"{file}: expected <image> elements, found <track>: export the task as 'CVAT for images 1.1'"
            )
        for image in root.iter("image"):
            name, where = image.get("name", "?"), f"{file}: image {image.get('id', '?')}"
            skeletons = image.findall("skeleton")
            plain = [one for one in image.findall("points") if one.get("label")]
            if not skeletons and not plain:
                yield Skipped(name, "no skeleton in it", where)
            for marks in [*(list(one) for one in skeletons), *([plain] if plain else [])]:
                yield named((name, where), self._marked, image, marks, where)

    def notes(self, source: Path) -> list[str]:
        """That skeletons are as a model left them, where some are."""
        file = self.own_file(source)
        auto = sum(one.get("source") == _AUTO for one in _root(file).iter("skeleton"))
        return [f"{file}: {auto} skeletons are as a model left them (source auto): look at them first"] if auto else []

    def _marked(self, image: ElementTree.Element, marks: Sequence[ElementTree.Element], where: str) -> Marked:
        points: list[tuple[str, Place | None]] = []
        readers = [one.text or "" for one in marks if one.tag == "attribute" and one.get("name") == READER]
        hidden = []
        for one in marks:
            if one.tag != "points":
                continue
            label = one.attrib["label"]
            if one.get("outside", _NO) == _YES:
                points.append((label, None))
                continue
            cells = one.attrib["points"].split(",")
            if len(cells) != 2:
                raise RowError(f"{label}: expected one point x,y, found {one.attrib['points'][:40]!r}")
            points.append((label, self.ours([number(cell.strip(), label) for cell in cells])))
            hidden += [label] if one.get("occluded", _NO) == _YES else []
        size = stated_size(image.get("width"), image.get("height"))
        return Marked(picture_name(image.get("name")), points, where, size, next(iter(readers), ""), hidden)

    def write_marks(self, labels: Sequence[Label], schema: Schema, dst: Path) -> None:
        """``dst/annotations.xml`` and ``dst/labels.json``."""
        root = ElementTree.Element("annotations")
        ElementTree.SubElement(root, "version").text = "1.1"
        task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
        ElementTree.SubElement(task, "name").text = schema.name
        read = any(reader_of(label.extras) for label in labels)
        _declare(ElementTree.SubElement(task, "labels"), schema, read)
        images: dict[str, ElementTree.Element] = {}
        for label in labels:
            if label.name not in images:
                about = {"name": label.name, "width": str(label.width), "height": str(label.height)}
                images[label.name] = ElementTree.SubElement(root, "image", {"id": str(len(images)), **about})
            if np.isfinite(label.points).any():
                self._append(images[label.name], label, schema)
        ElementTree.indent(root)
        tree = ElementTree.ElementTree(root)
        tree.write(dst / self.file, encoding="utf-8", xml_declaration=True)
        text = json.dumps([_constructor(schema, read)], indent=1)
        (dst / LABELS_JSON).write_text(text + "\n", encoding="utf-8")

    def _append(self, image: ElementTree.Element, label: Label, schema: Schema) -> None:
        source = _AUTO if SCORE in label.extras else "manual"
        about = {"label": schema.name, "source": source, "z_order": "0"}
        skeleton, hidden = ElementTree.SubElement(image, "skeleton", about), hidden_of(label)
        for name, point in zip(schema.points, label.points, strict=True):
            here = bool(np.isfinite(point).all())
            x, y = self.theirs(point) if here else (0.0, 0.0)
            ElementTree.SubElement(
                skeleton, "points",
                {
                    "label": name, "source": source, "outside": _NO if here else _YES,
                    "occluded": _YES if name in hidden else _NO, "points": f"{x:.6f},{y:.6f}",
                },
            )  # fmt: skip
        if reader_of(label.extras):
            ElementTree.SubElement(skeleton, "attribute", {"name": READER}).text = reader_of(label.extras)


CVAT = Cvat()


def _root(file: Path) -> ElementTree.Element:
    text = text_of(file, ".xml")
    # CVAT writes none; entities that grow without end stand in one.
    if "<!DOCTYPE" in text:
        raise UsageError(f"{file}: expected XML as CVAT writes it, found a document type; remove it")
    try:
        root = ElementTree.fromstring(text.encode())
    except ElementTree.ParseError as error:
        raise UsageError(f"{file}:{error.position[0]}: expected XML, found {error}") from None
    if root.tag != "annotations":
        raise UsageError(f"{file}: expected <annotations>, found <{root.tag}>")
    return root


def _declare(labels: ElementTree.Element, schema: Schema, read: bool) -> None:
    skeleton = ElementTree.SubElement(labels, "label")
    for tag, text in (("name", schema.name), ("color", _COLOURS[0]), ("type", "skeleton")):
        ElementTree.SubElement(skeleton, tag).text = text
    attributes = ElementTree.SubElement(skeleton, "attributes")
    if read:
        one = ElementTree.SubElement(attributes, "attribute")
        for tag, text in (("name", READER), ("mutable", "False"), ("input_type", "text"), ("default_value", ""),
                          ("values", "")):  # fmt: skip
            ElementTree.SubElement(one, tag).text = text
    ElementTree.SubElement(skeleton, "svg").text = _drawing(schema)
    for i, name in enumerate(schema.points):
        part = ElementTree.SubElement(labels, "label")
        for tag, value in (("name", name), ("color", _COLOURS[i % len(_COLOURS)]), ("type", "points")):
            ElementTree.SubElement(part, tag).text = value
        ElementTree.SubElement(part, "attributes")
        ElementTree.SubElement(part, "parent").text = schema.name


def _constructor(schema: Schema, read: bool) -> dict[str, Any]:
    reader = {"name": READER, "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
    parts = [
        {"name": name, "type": "points", "color": _COLOURS[i % len(_COLOURS)], "attributes": []}
        for i, name in enumerate(schema.points)
    ]
    return {
        "name": schema.name, "type": "skeleton", "color": _COLOURS[0], "attributes": [reader] if read else [],
        "sublabels": parts, "svg": _drawing(schema),
    }  # fmt: skip


def _drawing(schema: Schema) -> str:
    """The skeleton as the constructor draws it, on a square of 100: points on a circle, joined by lines."""
    turns = 2 * np.pi * np.arange(len(schema.points)) / len(schema.points)
    at = np.round(50 + 35 * np.column_stack([np.sin(turns), -np.cos(turns)]), 2)
    lines = [
        f'<line x1="{at[a][0]}" y1="{at[a][1]}" x2="{at[b][0]}" y2="{at[b][1]}" stroke="black" data-type="edge" '
        f'data-node-from="{a + 1}" stroke-width="0.5" data-node-to="{b + 1}"></line>'
        for a, b in (schema.indices(line) for line in schema.lines)
    ]
    nodes = [
        f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{x}" cy="{y}" stroke-width="0.1" data-type="element node" '
        f'data-element-id="{i}" data-node-id="{i}" data-label-name={quoteattr(name)}></circle>'
        for i, (name, (x, y)) in enumerate(zip(schema.points, at, strict=True), start=1)
    ]
    return "".join([*lines, *nodes])
