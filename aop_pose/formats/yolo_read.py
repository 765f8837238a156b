"""YOLO folders in: the label lines of ``data.yaml``'s splits, back in pixels of the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.labels import CLASSES, BoxedFrame, LabelledFrame
from aop_pose.formats.pictures import picture_size
from aop_pose.formats.rows import RowError, number
from aop_pose.io.discover import KNOWN_SUFFIXES
from aop_pose.keypoints import Keypoints, to_centres
from aop_pose.schemas import AOP


class DataYaml(BaseModel):
    """The keys of ``data.yaml`` that matter here; Ultralytics allows more."""

    model_config = ConfigDict(extra="ignore")

    train: str | list[str]
    val: str | list[str]
    path: str = ""
    names: dict[int, str] | list[str]
    kpt_shape: tuple[int, int] | None = None

    @property
    def class_names(self) -> list[str]:
        return list(self.names.values()) if isinstance(self.names, dict) else self.names


@attrs.frozen
class YoloPicture:
    """One picture of a split and where its label file must be."""

    split: str
    path: Path
    label: Path


def read_data_yaml(folder: Path) -> DataYaml:
    """``data.yaml`` of a folder, or the file itself; UsageError says what does not fit."""
    file = folder if folder.is_file() else folder / "data.yaml"
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return DataYaml.model_validate(values)
    except OSError as error:
        raise UsageError(f"{file}: expected a YOLO data file, found {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: expected YAML, found {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"{file}: {key}: {first['msg'].lower()}") from error


def yolo_pictures(folder: Path, data: DataYaml) -> Iterator[YoloPicture]:
    """The pictures of train and val in order of name, each once (val may name the folder of train)."""
    root = folder.parent if folder.is_file() else folder
    # As Ultralytics reads it, except that a relative path is never looked up in the working directory.
    base = root / data.path
    seen: set[Path] = set()
    for split, given in (("train", data.train), ("val", data.val)):
        for name in [given] if isinstance(given, str) else given:
            place = base / name
            if not place.is_dir():
                raise UsageError(f"{root / 'data.yaml'}: {split}: expected a folder of pictures, found no {place}")
            for path in sorted(place.rglob("*")):
                if path.suffix.lower() in KNOWN_SUFFIXES and path not in seen:
                    seen.add(path)
                    yield YoloPicture(split, path, label_path(path))


def label_path(picture: Path) -> Path:
    """``…/images/…/NAME.png`` -> ``…/labels/…/NAME.txt``: the last folder called ``images`` is exchanged."""
    parts = list(picture.with_suffix(".txt").parts)
    last = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if last is not None:
        parts[last] = "labels"
    return Path(*parts)


def parse_pose_line(line: str, shape: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Points (n, 2) in our pixels, NaN where marked invisible (third number 0); RowError for a bad line."""
    count, dims = shape
    values = _numbers(line, 5 + count * dims)
    points = values[5:].reshape(count, dims)
    coords = points[:, :2] * np.array(size, dtype=np.float64)
    if dims == 3:
        coords[points[:, 2] == 0] = np.nan
    return coords


def parse_detect_line(line: str, size: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Class and box (left, top, right, bottom) in our pixels; RowError says what is wrong."""
    values = _numbers(line, 5)
    centre, extent = values[1:3], values[3:5]
    # A little above 1 is rounding, as for Ultralytics; pixels are far above.
    if not ((values[1:] >= 0) & (values[1:] <= 1.01)).all():
        raise RowError(f"expected shares of width and height from 0 to 1, found {' '.join(line.split()[1:])}")
    if not extent.all():
        raise RowError("expected a box with an area, found none")
    box = np.concatenate([centre - extent / 2, centre + extent / 2]) * np.tile(np.array(size, dtype=np.float64), 2)
    return int(values[0]), to_centres(box)


def _numbers(line: str, count: int) -> np.ndarray:
    cells = line.split()
    if len(cells) != count:
        raise RowError(f"expected {count} numbers, found {len(cells)}")
    values = np.array([number(cell, f"number {i}") for i, cell in enumerate(cells, start=1)])
    if values[0] < 0 or values[0] % 1:
        raise RowError(f"expected a whole class number, found {cells[0]}")
    return values


def read_yolo_pose(folder: Path) -> list[LabelledFrame]:
    """Every labelled picture of a pose folder, ``Filename`` being ``train/NAME.png``.

    UsageError names ``file:line`` where a label is missing, is malformed, or is not one line of three points.
    """
    data = read_data_yaml(folder)
    points = len(AOP.points)
    if data.kpt_shape is None or data.kpt_shape[0] != points or data.kpt_shape[1] not in (2, 3):
        raise UsageError(f"{folder}: expected kpt_shape [{points}, 2] or [{points}, 3], found {data.kpt_shape}")
    frames = []
    for picture in yolo_pictures(folder, data):
        lines, size = label_lines(picture.label), sized(picture.path)
        if len(lines) != 1:
            raise UsageError(f"{picture.label}: expected one line, found {len(lines)}")
        coords = _named(picture.label, lines[0][0], parse_pose_line, lines[0][1], data.kpt_shape, size)
        keypoints = Keypoints.from_points(AOP, coords)
        frames.append(LabelledFrame(f"{picture.split}/{picture.path.name}", picture.path, *size, keypoints))
    return frames


def read_yolo_detect(folder: Path) -> list[BoxedFrame]:
    """Every labelled picture of a detection folder with classes PS, FH; UsageError as ``read_yolo_pose``."""
    data = read_data_yaml(folder)
    if data.kpt_shape is not None or data.class_names != list(CLASSES):
        raise UsageError(f"{folder}: expected the classes {', '.join(CLASSES)}, found {', '.join(data.class_names)}")
    frames = []
    for picture in yolo_pictures(folder, data):
        lines, size = label_lines(picture.label), sized(picture.path)
        found = [_named(picture.label, line, parse_detect_line, text, size) for line, text in lines]
        classes = tuple(number for number, _ in found)
        if any(number >= len(CLASSES) for number in classes):
            raise UsageError(f"{picture.label}: expected classes 0 and 1, found {max(classes)}")
        boxes = np.array([box for _, box in found]).reshape(-1, 4)
        frames.append(BoxedFrame(f"{picture.split}/{picture.path.name}", picture.path, *size, classes, boxes))
    return frames


def label_lines(label: Path) -> list[tuple[int, str]]:
    """(line number, text) of the lines that are not blank; UsageError where the file cannot be read."""
    try:
        text = label.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"{label}: expected a label beside its picture, found none") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{label}: expected UTF-8 text, found {error}") from error
    return [(i, line) for i, line in enumerate(text.splitlines(), start=1) if line.strip()]


def sized(path: Path) -> tuple[int, int]:
    """``picture_size`` for a strict reader: UsageError where the picture cannot be read."""
    try:
        return picture_size(path)
    except UnreadableError as error:
        raise UsageError(str(error)) from error


def _named(label: Path, line: int, parse: Any, *arguments: Any) -> Any:
    try:
        return parse(*arguments)
    except RowError as error:
        raise UsageError(f"{label}:{line}: {error}") from error
