"""What is wrong with a YOLO folder: every bad label line by file and line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.findings import Finding, Report, outside
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.rows import RowError
from aop_pose.formats.yolo_read import (
    DataYaml,
    YoloPicture,
    label_lines,
    parse_detect_line,
    parse_pose_line,
    read_data_yaml,
    yolo_pictures,
)
from aop_pose.schemas import AOP

# Labels are written with 9 decimals, others use 6: what is further out than this is no rounding.
_TOLERANCE = 1e-5


def check_yolo(folder: Path) -> Report:
    """Every picture of train and val with its label; Ultralytics leaves bad ones out with a warning."""
    try:
        data = read_data_yaml(folder)
        pictures = list(yolo_pictures(folder, data))
    except UsageError as error:
        return Report(0, "frames", [Finding("", str(error))])
    findings: list[Finding] = []
    by_label: dict[Path, Path] = {}
    for picture in pictures:
        first = by_label.setdefault(picture.label, picture.path)
        if first != picture.path:
            findings.append(Finding(str(picture.path), f"expected each name once, found {first.name} beside it"))
        findings += _picture_findings(picture, data)
    findings += _orphans(by_label)
    return Report(len(pictures), "frames", findings)


def _picture_findings(picture: YoloPicture, data: DataYaml) -> Iterator[Finding]:
    size = None
    try:
        pixels = read_gray(picture.path)
        size = pixels.shape[1], pixels.shape[0]
    except UnreadableError as error:
        yield Finding("", str(error))
    try:
        lines = label_lines(picture.label)
    except UsageError as error:
        yield Finding("", str(error))
        return
    seen: dict[str, int] = {}
    for line, text in lines:
        where = f"{picture.label}:{line}"
        first = seen.setdefault(text, line)
        if first != line:
            yield Finding(where, f"expected each box once, found line {first} again")
        try:
            yield from (Finding(where, message) for message in _line_messages(text, data, size))
        except RowError as error:
            yield Finding(where, str(error))


def _line_messages(text: str, data: DataYaml, size: tuple[int, int] | None) -> Iterator[str]:
    # Without a readable picture the shares are still checked, on a picture of one pixel.
    width, height = size or (1, 1)
    if data.kpt_shape is None:
        number, box = parse_detect_line(text, (width, height))
    else:
        coords = parse_pose_line(text, data.kpt_shape, (width, height))
        names = AOP.points if len(coords) == len(AOP.points) else [f"point {i}" for i in range(1, len(coords) + 1)]
        yield from outside(coords, names, (width, height))
        if len(coords) > 1 and (coords[0] == coords[1]).all():
            yield f"expected {names[0]} and {names[1]} apart, found both at one place"
        number, box = parse_detect_line(" ".join(text.split()[:5]), (width, height))
    if number >= len(data.class_names):
        yield f"expected a class below {len(data.class_names)}, found {number}"
    shares = (box + 0.5) / np.array([width, height, width, height])
    if shares.min() < -_TOLERANCE or shares.max() > 1 + _TOLERANCE:
        yield "expected a box inside the picture, found one across its edge"


def _orphans(by_label: dict[Path, Path]) -> Iterator[Finding]:
    for folder in sorted({label.parent for label in by_label}):
        for label in sorted(folder.glob("*.txt")):
            if label not in by_label:
                yield Finding(str(label), "expected a picture beside the label, found none")
