"""3D Slicer: a Markups file for each image, ``markups/NAME.mrk.json``, beside ``images/`` or ``volumes/``.

Positions are written in LPS millimetres (x to the patient's left, y to the back, z to the head), which is what Slicer
saves; files in RAS (both turned round) are read too. Slicer opens a PNG or JPEG as a slice of 1 mm pixels from 0, 0 on:
there x and y in LPS are our pixels. In a volume they follow from the place of its voxels. A control point that is
not ``defined`` is missing. ``NAME.tN.mrk.json`` is time point N of a 4-D file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from aop_pose.core.schema import Schema, of_frames
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.csv_rows import RowError
from aop_pose.formats.exchange import FileEach, Marked, Place, document, named, numbers, picture_name
from aop_pose.formats.format import Reading
from aop_pose.formats.label import Label, Skipped, find_picture, spacing_of
from aop_pose.formats.pictures import volume_shape
from aop_pose.formats.points3d import points_schema, schema_of
from aop_pose.geometry import from_mm, to_mm
from aop_pose.io.volumes import VOLUME_SUFFIXES, open_volume

MARKUPS = "markups"
VERSION = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
SCHEMA = f"{VERSION}markups-schema-v1.0.3.json#"
"""The schema of what is written, as Slicer names it."""
_VOLUMES = "volumes"
_OPENED = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
"""Volumes that Slicer opens."""
_TIME = re.compile(r"\.t(\d+)$")
_TO_LPS = {"LPS": np.ones(3), "1": np.ones(3), "RAS": np.array([-1.0, -1.0, 1.0]), "0": np.array([-1.0, -1.0, 1.0])}
_UNPLACED = ("undefined", "missing", "preview")


class Slicer(FileEach):
    """A Markups file for each frame or volume."""

    name = "slicer"
    looks_for = "markups/NAME.mrk.json of 3D Slicer"
    suffix = ".mrk.json"

    def takes(self, kind: str) -> bool:
        """True for points in pictures and in volumes."""
        return super().takes(kind) or kind == _VOLUMES

    def is_own(self, file: Path) -> bool:
        """True for a document of markups."""
        said = document(file)
        return isinstance(said, dict) and isinstance(said.get(MARKUPS), list)

    def named_schema(self, source: Path, names: Sequence[str]) -> Schema:
        """The schema of pictures or volumes whose points these are; of volumes any other names, too."""
        if any(set(names) & set(schema.points) for schema in of_frames().values()) or not names:
            return super().named_schema(source, names)
        try:
            return schema_of(names)
        except UsageError:
            return points_schema(names)

    def marked(self, source: Path) -> Iterator[Marked | Skipped]:
        """A reading a file, in millimetres LPS: ``label`` makes pixels or voxels of them."""
        base = source if source.is_dir() else source.parent
        base = base / MARKUPS if (base / MARKUPS).is_dir() else base
        for file in self.own_files(source):
            name = (file.relative_to(base).as_posix() if file.is_relative_to(base) else file.name)[: -len(self.suffix)]
            yield named((name, str(file)), _marked, name, file)

    def label(self, item: Marked, schema: Schema, how: Reading, data: Path) -> Label:
        """The label of a reading, in pixels or voxels. RowError, AopPoseError."""
        volumes = schema.dimensions == 3
        if not volumes:
            flat = [(name, None if place is None else place[:2]) for name, place in item.points]
            still = attrs.evolve(item, points=flat, index=item.index or 0)
            return super().label(_with_ending(still, data) if how.pictures != "none" else still, schema, how, data)
        # Without its volume nobody knows which voxel a place in millimetres is.
        affine = open_volume(find_picture(data, item.name, _VOLUMES)).affine(None)
        places = [
            (name, None if place is None else from_mm(affine, np.array(place) * _TO_LPS["RAS"]).tolist())
            for name, place in item.points
        ]
        item = attrs.evolve(item, points=places)
        path = find_picture(data, item.name, _VOLUMES)
        made = super().label(item, schema, Reading(pictures="none"), data)
        return attrs.evolve(made, path=path, size=volume_shape(path))

    def place(self, label: Label, dst: Path, taken: set[str]) -> str:
        """A volume is copied under its name; UnreadableError for one that Slicer does not open."""
        if label.schema.dimensions == 2:
            return super().place(label, dst, taken)
        ending = next((one for one in VOLUME_SUFFIXES if label.name.lower().endswith(one)), "")
        if ending not in _OPENED or ending == ".mhd":
            raise UnreadableError(
                f"expected a volume that Slicer opens in one file, found {ending}; store it as .nii.gz"
            )
        target = dst / _VOLUMES / label.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(label.path, target)
        return label.name

    def write_marks(self, labels: Sequence[Label], schema: Schema, dst: Path) -> None:
        """``dst/markups/NAME.mrk.json``."""
        for label in labels:
            time = f".t{label.index}" if schema.dimensions == 3 and label.index is not None else ""
            file = dst / MARKUPS / f"{label.name}{time}{self.suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            known = np.isfinite(label.points).all(axis=1)
            places = _positions(label)
            points = [
                _control_point(i, name, place if here else None)
                for i, (name, place, here) in enumerate(zip(schema.points, places, known, strict=True), start=1)
            ]
            text = json.dumps({"@schema": SCHEMA, MARKUPS: [{**_FIDUCIALS, "controlPoints": points}]}, indent=1)
            file.write_text(text + "\n", encoding="utf-8")


SLICER = Slicer()

_FIDUCIALS: Mapping[str, Any] = {
    "type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": False,
    "fixedNumberOfControlPoints": False, "labelFormat": "%N-%d",
}  # fmt: skip
_ORIENTATION = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def _control_point(number: int, name: str, place: np.ndarray | None) -> dict[str, Any]:
    position = [0.0, 0.0, 0.0] if place is None else np.round(place, 6).tolist()
    return {
        "id": str(number), "label": name, "description": "", "associatedNodeID": "", "position": position,
        "orientation": list(_ORIENTATION), "selected": True, "locked": False, "visibility": True,
        "positionStatus": "undefined" if place is None else "defined",
    }  # fmt: skip


def _positions(label: Label) -> np.ndarray:
    """(points, 3) LPS millimetres."""
    if label.schema.dimensions == 2:
        return np.column_stack([label.points, np.zeros(len(label.points))])
    affine = open_volume(label.path).affine(spacing_of(label.extras))
    return to_mm(affine, label.points) * _TO_LPS["RAS"]


def _marked(name: str, file: Path) -> Marked:
    points: list[tuple[str, Place | None]] = []
    for one in document(file)[MARKUPS]:
        if one.get("type", "Fiducial") not in ("Fiducial", "Line", "Angle", "Curve"):
            continue
        system = str(one.get("coordinateSystem", "LPS"))
        if system not in _TO_LPS:
            raise RowError(f"coordinateSystem: expected LPS or RAS, found {system}")
        if one.get("coordinateUnits", "mm") != "mm":
            raise RowError(f"coordinateUnits: expected mm, found {one['coordinateUnits']}")
        for point in one["controlPoints"]:
            if point.get("positionStatus", "defined") in _UNPLACED:
                points.append((point["label"], None))
            else:
                at = np.array(numbers(point["position"], 3, point["label"])) * _TO_LPS[system]
                points.append((point["label"], tuple(at.tolist())))
    if not points:
        raise RowError("no control points in it")
    time = _TIME.search(name)
    return Marked(
        picture_name(name[: time.start()] if time else name), points, str(file), index=int(time[1]) if time else None
    )


def _with_ending(item: Marked, data: Path) -> Marked:
    """The same with other names: Slicer's own files have the name of a picture without its ending."""
    if Path(item.name).suffix:
        return item
    return attrs.evolve(
        item, other_names=[f"{item.name}{ending}" for ending in (".png", ".jpg", ".jpeg", ".bmp", ".tif")]
    )
