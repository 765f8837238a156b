"""What is wrong with a data set: every bad row by file and line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import numpy as np

from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.formats import head, iugc, points3d
from aop_pose.formats.csv_rows import Row, RowError, header_of, number, read_rows
from aop_pose.formats.label import Finding, MaskedFrame, Report, find_picture, outside, read_mask
from aop_pose.formats.masks import pictures_in
from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import LABELS, label_file
from aop_pose.formats.yolo import check_yolo
from aop_pose.geometry import angle_of_progression, implausible_axes, point_distance, ramanujan_perimeter
from aop_pose.io.volumes import read_volume

MAX_ANGLE_DIFFERENCE = 0.1
"""Degrees by which the AoP column may differ from the angle of its points."""


MAX_CIRCUMFERENCE_DIFFERENCE = 0.05
"""Share by which head_circumference_mm may differ from the ellipse on its points: an outline is not quite one
(HC18: at most 0.012), but a wrong pixel size is further off."""


def check(path: Path, data: Path | None = None) -> Report:
    """Check a label file, a folder with ``labels.csv``, a YOLO folder or a masks folder.

    Pictures of a label file are looked for below ``data`` (default: the folder of the file) and decoded.
    Nothing is written. UsageError where the path is none of these.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: expected a label file or a data set, found nothing there")
    table = label_file(path)
    if path.is_dir() and (path / "data.yaml").is_file():
        return check_yolo(path)
    if path.is_file() and path.suffix in (".yaml", ".yml"):
        return check_yolo(path)
    if table.is_file():
        return _check_table(table, data or table.parent)
    if (path / "images").is_dir() and (path / "masks").is_dir():
        return _check_masks(path)
    raise UsageError(f"{path}: expected {LABELS}, data.yaml, or images/ and masks/, found none; name the label file")


@attrs.frozen
class _Table:
    """What is checked in the rows of one label format."""

    columns: Sequence[str]
    folder: str
    """Where pictures stand besides the data folder itself."""
    size: Callable[[Path, Row], tuple[int, ...]]
    """Pixels or voxels along x, y, … of the picture of a row; AopPoseError, RowError."""
    numbers: Callable[[Row, tuple[int, ...] | None], Iterator[str]]
    """Row and size (None where there is no readable picture) -> what is wrong with its numbers."""
    kept: Callable[[Row], bool] = lambda row: True
    """False where a row says of itself that it labels nothing; RowError."""
    time: Callable[[Mapping[str, str]], int | None] = lambda cells: None
    """Which of several pictures in its file a row means; RowError."""


def _check_table(file: Path, data: Path) -> Report:
    try:
        table = _table(file)
        rows = list(read_rows(file, table.columns))
    except UsageError as error:
        return Report(0, "rows", [Finding("", str(error))])
    findings: list[Finding] = []
    first_lines: dict[tuple[Path, int | None], int] = {}
    for row in rows:
        messages = [row.problem] if row.problem else list(_row_messages(row, table, data, first_lines))
        findings += [Finding(f"{file}:{row.line}", message) for message in messages]
    return Report(len(rows), "rows", findings)


def _table(file: Path) -> _Table:
    header = header_of(file)
    names = points3d.point_names(header)
    if names:
        messages = partial(_volume_messages, names=names)
        return _Table(("Filename",), "volumes", _read_shape, messages, time=points3d.time_of)
    if set(header) & set(head.POINT_COLUMNS):
        return _Table(head.COLUMNS, "images", _decoded_size, _head_messages)
    return _Table(iugc.COLUMNS, "images", _decoded_size, _iugc_messages, iugc.is_kept)


def _row_messages(
    row: Row, table: _Table, data: Path, first_lines: dict[tuple[Path, int | None], int]
) -> Iterator[str]:
    name = row.cells["Filename"].replace("\\", "/")
    if not name:
        yield "Filename: expected a file name, found an empty cell"
        return
    try:
        if not table.kept(row):
            return
    except RowError as error:
        yield str(error)
    size, path, time = None, data / name, None
    # Without its picture, the name and the numbers of a row can still be wrong: all of it is said at once.
    try:
        time = table.time(row.cells)
        path = find_picture(data, name, table.folder)
        size = table.size(path, row)
    except (AopPoseError, RowError) as error:
        yield str(error)
    first = first_lines.setdefault((path.resolve(), time), row.line)
    if first != row.line:
        again = name if time is None else f"{name}, time point {time},"
        yield f"expected each picture once, found {again} again (first in line {first})"
    try:
        yield from table.numbers(row, size)
    except RowError as error:
        yield str(error)


def _decoded_size(path: Path, row: Row | None = None) -> tuple[int, int]:
    """(width, height) of the picture, all of which could be decoded; UnreadableError."""
    pixels = read_gray(path)
    return pixels.shape[1], pixels.shape[0]


def _read_shape(path: Path, row: Row) -> tuple[int, int, int]:
    """Voxels of a volume that could be read and placed in space; AopPoseError."""
    try:
        time, spacing = points3d.time_of(row.cells), points3d.spacing_of(row.cells)
        return read_volume(path, index=time, spacing=spacing).shape
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from error


def _iugc_messages(row: Row, size: tuple[int, ...] | None) -> Iterator[str]:
    _, coords = iugc.parse_row(row)
    yield from outside(coords, AOP.points, size)
    ps1, ps2, fh1 = coords
    if (ps1 == ps2).all():
        yield f"expected PS1 and PS2 apart, found both at ({ps1[0]:g}, {ps1[1]:g})"
    text = row.cells.get(iugc.ANGLE, "")
    if text:
        said, found = number(text, iugc.ANGLE), float(angle_of_progression(ps1, ps2, fh1))
        if not abs(said - found) <= MAX_ANGLE_DIFFERENCE:
            yield f"AoP: expected {found:.4f} from the points, found {text}"


def _head_messages(row: Row, size: tuple[int, ...] | None) -> Iterator[str]:
    _, coords, (pixel_size, circumference) = head.parse_row(row)
    yield from outside(coords, HEAD.points, size)
    for first, second in HEAD.interchangeable:
        if (coords[HEAD.index(first)] == coords[HEAD.index(second)]).all():
            yield f"expected {first} and {second} apart, found both at one place"
    problem = implausible_axes(coords)
    if problem:
        yield f"expected the axes of one head, found that {problem}"
    if pixel_size is not None and circumference is not None:
        ofd, bpd = (float(point_distance(*ends)) * pixel_size for ends in (coords[:2], coords[2:]))
        found = float(ramanujan_perimeter(bpd, ofd))
        # Of axes without length the perimeter is not a number, and that is said above.
        if abs(circumference - found) > MAX_CIRCUMFERENCE_DIFFERENCE * circumference:
            yield (
                f"head_circumference_mm: expected about {found:.1f} from the points and pixel_size_mm, "
                f"found {circumference:g}"
            )


def _volume_messages(row: Row, size: tuple[int, ...] | None, names: Sequence[str]) -> Iterator[str]:
    _, points = points3d.parse_row(row, names)
    yield from outside(np.array([points[name] for name in names]), names, size)


def _check_masks(folder: Path) -> Report:
    findings: list[Finding] = []
    images, masks = (_by_stem(folder, kind, findings) for kind in ("images", "masks"))
    for stem in sorted(set(images) | set(masks)):
        image, mask = images.get(stem), masks.get(stem)
        if mask is None:
            findings.append(Finding(str(image), "expected a mask of the same name in masks/, found none"))
        elif image is None:
            findings.append(Finding(str(mask), "expected a picture of the same name in images/, found none"))
        else:
            findings += [Finding("", message) for message in _pair_messages(image, mask)]
    return Report(len(images), "frames", findings)


def _by_stem(folder: Path, kind: str, findings: list[Finding]) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for path in pictures_in(folder / kind):
        stem = path.relative_to(folder / kind).with_suffix("")
        if stem in found:
            findings.append(Finding(str(path), f"expected each name once, found {found[stem].name} beside it"))
        found.setdefault(stem, path)
    return found


def _pair_messages(image: Path, mask: Path) -> Iterator[str]:
    size = None
    try:
        size = _decoded_size(image)
    except AopPoseError as error:
        yield str(error)
    try:
        shape = read_mask(mask).shape
        if size is not None and shape != (size[1], size[0]):
            yield f"{mask}: expected {size[0]}x{size[1]} as its picture, found {shape[1]}x{shape[0]}"
        MaskedFrame(mask.name, image, mask).mask()
    except UnreadableError as error:
        yield str(error)
