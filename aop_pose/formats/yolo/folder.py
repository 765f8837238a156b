"""YOLO folders: ``data.yaml``, ``images/{train,val}``, ``labels/{train,val}``, opened by Ultralytics.

Key points are written as x / width, y / height, as COCO's converters and Ultralytics' own tools do, so that what
Ultralytics predicts in pixels compares with a label of ours as it is. Boxes around regions are written by their outer
edges (``keypoints.to_edges``), which is what annotation tools mean by a box of whole pixels.

``data.yaml`` has no ``path`` on purpose: Ultralytics then takes the folder of the file itself, wherever it is
moved. A relative ``path`` would be looked up in the working directory first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aop_pose.core.keypoints import Keypoints, to_centres, to_edges
from aop_pose.core.schemas import AOP
from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.formats.csv_rows import RowError, number
from aop_pose.formats.format import Finding, Format, Reading, Report, left_out
from aop_pose.formats.label import CLASSES, Boxes, Label, LabelError, Skipped, point_problems, pose_box
from aop_pose.formats.pictures import picture_size, place_picture, read_gray, unique_stems
from aop_pose.formats.yolo.data_yaml import (
    SPLITS,
    DataYaml,
    YoloPicture,
    file_of,
    read_data_yaml,
    yolo_pictures,
)
from aop_pose.io.discover import is_passed_over

BOX_MARGIN = 0.15
OKS_SIGMA = 0.05
_DECIMALS = 9


class _Yolo(Format):
    parted = True

    def fits(self, source: Path) -> bool:
        """True for a ``data.yaml`` of this kind, or its folder."""
        file = file_of(source)
        if not file.is_file() or file.suffix not in (".yaml", ".yml"):
            return False
        return self._has_points(file) == (self.kind == "points")

    def _has_points(self, file: Path) -> bool:
        # One that cannot be read is taken for boxes, whose reader then says why.
        try:
            return read_data_yaml(file).kpt_shape is not None
        except UsageError:
            return False

    def notes(self, source: Path) -> list[str]:
        """That there is no val, where there is none."""
        file = file_of(source)
        return [] if read_data_yaml(file).val else [f"{file}: no val is named: all frames are read as train"]

    def check(self, source: Path, data: Path | None = None) -> Report:
        """Every picture of train and val with its label."""
        return check_yolo(source)


class YoloPose(_Yolo):
    """One box with three points a picture."""

    name = "yolo-pose"
    kind = "points"
    looks_for = "data.yaml with kpt_shape"
    schema = AOP

    def read(self, source: Path, how: Reading) -> Iterator[Label | Skipped]:
        """A label a picture; UsageError where ``data.yaml`` is none of poses of three points."""
        _check_own(self, how)
        data, points = read_data_yaml(source), len(AOP.points)
        if data.kpt_shape is None or data.kpt_shape[0] != points or data.kpt_shape[1] not in (2, 3):
            raise UsageError(f"{source}: expected kpt_shape [{points}, 2] or [{points}, 3], found {data.kpt_shape}")
        yield from _read(source, data, lambda picture: _pose(picture, data, how))

    def write(self, labels: Sequence[Label], dst: Path, held: Sequence[bool]) -> list[Skipped]:
        """As ``write_yolo_pose``."""
        write_yolo_pose(*_parted(labels, held), dst)
        return []


class YoloDetect(_Yolo):
    """A box around each structure."""

    name = "yolo-detect"
    kind = "boxes"
    looks_for = "data.yaml without kpt_shape"

    def read(self, source: Path, how: Reading) -> Iterator[Label | Skipped]:
        """A label a picture; UsageError where ``data.yaml`` has other classes."""
        _check_own(self, how)
        data = read_data_yaml(source)
        if data.kpt_shape is not None or data.class_names != list(CLASSES):
            found = ", ".join(data.class_names)
            raise UsageError(f"{source}: expected the classes {', '.join(CLASSES)}, found {found}")
        yield from _read(source, data, lambda picture: _detect(picture, data, how))

    def write(self, labels: Sequence[Label], dst: Path, held: Sequence[bool]) -> list[Skipped]:
        """As ``write_yolo_detect``."""
        write_yolo_detect(*_parted(labels, held), dst)
        return []


YOLO_POSE, YOLO_DETECT = YoloPose(), YoloDetect()


def _check_own(format: Format, how: Reading) -> None:
    if how.data is not None:
        raise UsageError(f"--data: {format.name} holds its own pictures; leave --data out")


def _parted(labels: Sequence[Label], held: Sequence[bool]) -> tuple[list[Label], list[Label]]:
    """Those of train and those of val."""
    train = [label for label, out in zip(labels, held, strict=True) if not out]
    return train, [label for label, out in zip(labels, held, strict=True) if out]


def write_yolo_pose(
    train: Sequence[Label],
    val: Sequence[Label],
    dst: Path,
    *,
    box_margin: float = BOX_MARGIN,
    oks_sigma: float = OKS_SIGMA,
) -> Path:
    """Write a pose data set of one class (``aop``) with copies of the pictures; returns its ``data.yaml``.

    The box is that of the three points grown by ``box_margin`` times its longer side. ``oks_sigma`` stands in
    ``kpt_oks_sigmas`` for every point: Ultralytics' default of 1/3 for three points makes the gradient of
    small errors vanish. Without ``val`` frames ``val`` names the training frames, and the file says so.
    """
    points = len(AOP.points)
    keys: dict[str, object] = {
        "names": {0: AOP.name},
        "kpt_shape": [points, 2],
        "kpt_names": {0: list(AOP.points)},
        "flip_idx": list(range(points)),
        "kpt_oks_sigmas": [oks_sigma] * points,
    }
    # Every label is made before the first file is written: a bad frame leaves nothing behind.
    labels = [pose_label(frame, box_margin) for frame in (*train, *val)]
    return _write([*train, *val], labels, len(train), Path(dst), keys)


def write_yolo_detect(train: Sequence[Label], val: Sequence[Label], dst: Path) -> Path:
    """Write a detection data set of classes 0 PS, 1 FH with copies of the pictures; returns ``data.yaml``."""
    labels = [detect_label(frame) for frame in (*train, *val)]
    return _write([*train, *val], labels, len(train), Path(dst), {"names": dict(enumerate(CLASSES))})


def pose_label(frame: Label, box_margin: float) -> str:
    """One line: class, box centre and size, then x y of each point, all as shares of width and height."""
    coords, size = frame.points, _size(frame)
    if not np.isfinite(coords).all():
        raise UsageError(f"{frame.name}: expected {', '.join(frame.schema.points)}, found one missing")
    box = pose_box(coords, box_margin, frame.width, frame.height)
    if not (box[2:] > box[:2]).all():
        raise UsageError(f"{frame.name}: expected a box with an area, found points on one line and no margin")
    return _line(0, box, size, np.clip(coords / size, 0, 1))


def detect_label(frame: Label) -> str:
    """One line per box: class, box centre and size as shares of width and height."""
    size, given = _size(frame), boxes_of(frame)
    boxes = np.clip(to_edges(given.corners), 0, np.tile(size, 2))
    lines = [_line(number, box, size, np.zeros(0)) for number, box in zip(given.classes, boxes, strict=True)]
    return "\n".join(lines)


def boxes_of(frame: Label) -> Boxes:
    """Its boxes; ValueError where it carries none."""
    if frame.boxes is None:
        raise ValueError(f"{frame.name}: expected boxes, found a label without them")
    return frame.boxes


def _size(frame: Label) -> np.ndarray:
    return np.array([frame.width, frame.height], dtype=np.float64)


def _line(number: int, box: np.ndarray, size: np.ndarray, shares: np.ndarray) -> str:
    centre, extent = (box[:2] + box[2:]) / 2 / size, (box[2:] - box[:2]) / size
    values = np.concatenate([centre, extent, shares.ravel()])
    return " ".join([str(number), *(f"{value:.{_DECIMALS}f}" for value in values)])


def _write(
    frames: Sequence[Label],
    labels: Sequence[str],
    train: int,
    dst: Path,
    keys: dict[str, object],
) -> Path:
    """The first ``train`` frames go to train, the others to val."""
    val = len(frames) - train
    splits = [SPLITS[0]] * train + [SPLITS[1]] * val
    for split in sorted(set(splits)):
        for kind in ("images", "labels"):
            (dst / kind / split).mkdir(parents=True, exist_ok=True)
    stems = unique_stems(frame.name for frame in frames)
    for frame, stem, text, split in zip(frames, stems, labels, splits, strict=True):
        place_picture(frame.path, dst / "images" / split, stem, frame.index or 0)
        (dst / "labels" / split / f"{stem}.txt").write_text(text + "\n" if text else "", encoding="utf-8")
    places = {"train": "images/train", "val": "images/val" if val else "images/train"}
    note = "" if val else "# No frame was held out: val repeats train, so figures on it mean nothing.\n"
    path = dst / "data.yaml"
    path.write_text(note + yaml.safe_dump({**places, **keys}, sort_keys=False), encoding="utf-8")
    return path


def parse_pose_line(line: str, shape: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Points (n, 2) in our pixels; RowError for a bad line.

    NaN where a point is marked invisible (third number 0), or stands at the corner where it would be without a place.
    """
    count, dims = shape
    values = _numbers(line, 5 + count * dims)
    _check_shares(values[1:5], line.split()[1:5])
    points = values[5:].reshape(count, dims)
    coords = points[:, :2] * np.array(size, dtype=np.float64)
    coords[(points[:, :2] == 0).all(axis=1)] = np.nan
    if dims == 3:
        if not np.isin(points[:, 2], (0, 1, 2)).all():
            raise RowError(f"expected visibilities 0, 1 or 2, found {', '.join(f'{one:g}' for one in points[:, 2])}")
        coords[points[:, 2] == 0] = np.nan
    return coords


def parse_detect_line(line: str, size: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Class and box (left, top, right, bottom) in our pixels; RowError says what is wrong."""
    values = _numbers(line, 5)
    centre, extent = values[1:3], values[3:5]
    _check_shares(values[1:], line.split()[1:])
    if not extent.all():
        raise RowError("expected a box with an area, found none")
    box = np.concatenate([centre - extent / 2, centre + extent / 2]) * np.tile(np.array(size, dtype=np.float64), 2)
    return int(values[0]), to_centres(box)


def _check_shares(values: np.ndarray, texts: Sequence[str]) -> None:
    # A little above 1 is rounding, as for Ultralytics; pixels are far above.
    if not ((values >= 0) & (values <= 1.01)).all():
        pixels = "; are they pixels?" if values.max() > 2 else ""
        raise RowError(f"expected shares of width and height from 0 to 1, found {' '.join(texts)}{pixels}")


def _numbers(line: str, count: int) -> np.ndarray:
    cells = line.split()
    if len(cells) != count:
        raise RowError(f"expected {count} numbers, found {len(cells)}")
    values = np.array([number(cell, f"number {i}") for i, cell in enumerate(cells, start=1)])
    if values[0] < 0 or values[0] % 1:
        raise RowError(f"expected a whole class number, found {cells[0]}")
    return values


def read_yolo_pose(folder: Path) -> list[Label]:
    """Every labelled picture of a pose folder, ``Filename`` being ``train/NAME.png``.

    UsageError names ``file:line`` where a label is missing, is malformed, or is not one line of three points.
    """
    return _all(YOLO_POSE.read(folder, Reading()))


def read_yolo_detect(folder: Path) -> list[Label]:
    """Every labelled picture of a detection folder with classes PS, FH; UsageError as ``read_yolo_pose``."""
    return _all(YOLO_DETECT.read(folder, Reading()))


def _all(items: Iterable[Label | Skipped]) -> list[Label]:
    labels = []
    for item in items:
        if isinstance(item, Skipped):
            raise UsageError(f"{item.where or item.name}: {item.reason}")
        labels.append(item)
    return labels


def _read(source: Path, data: DataYaml, label: Callable[[YoloPicture], Label]) -> Iterator[Label | Skipped]:
    """A label a picture, or why it has none; one bad picture stops nothing."""
    by_label: dict[Path, Path] = {}
    for picture in yolo_pictures(source, data):
        if isinstance(picture, Skipped):
            yield picture
            continue
        try:
            first = by_label.setdefault(picture.label, picture.path)
            if first != picture.path:
                raise RowError(f"expected each name once, found {first.name} beside it")
            yield label(picture)
        except LabelError as error:
            yield left_out(error)
        except _LineError as error:
            yield Skipped(picture.name, str(error), error.where)
        except (RowError, AopPoseError) as error:
            yield Skipped(picture.name, str(error), str(picture.label))


class _LineError(RowError):
    def __init__(self, reason: str, where: str) -> None:
        super().__init__(reason)
        self.where = where


def _pose(picture: YoloPicture, data: DataYaml, how: Reading) -> Label:
    lines = label_lines(picture.label)
    if len(lines) != 1:
        found = "none: a background frame" if not lines else f"{len(lines)} objects"
        raise RowError(f"expected one line, found {found}")
    line, text = lines[0]
    size, kept = _opened(picture.path, how)
    coords = _named(picture.label, line, parse_pose_line, text, data.kpt_shape, size)
    _check_class(picture.label, line, int(float(text.split()[0])), data)
    keypoints = Keypoints.from_points(AOP, coords)
    return Label(picture.name, picture.path, size, keypoints, kept=kept, where=f"{picture.label}:{line}")


def _detect(picture: YoloPicture, data: DataYaml, how: Reading) -> Label:
    size, kept = _opened(picture.path, how)
    found = []
    for line, text in label_lines(picture.label):
        found.append(_named(picture.label, line, parse_detect_line, text, size))
        _check_class(picture.label, line, found[-1][0], data)
    classes = tuple(number for number, _ in found)
    boxes = Boxes(classes, np.array([box for _, box in found]).reshape(-1, 4))
    return Label(picture.name, picture.path, size, boxes=boxes, kept=kept, where=str(picture.label))


def _opened(path: Path, how: Reading) -> tuple[tuple[int, int], np.ndarray | None]:
    if how.pictures == "keep":
        pixels = read_gray(path)
        return (pixels.shape[1], pixels.shape[0]), pixels
    return picture_size(path), None


def _check_class(label: Path, line: int, number: int, data: DataYaml) -> None:
    if number >= len(data.names):
        raise _LineError(f"expected a class below {len(data.names)}, found {number}", f"{label}:{line}")


def label_lines(label: Path) -> list[tuple[int, str]]:
    """(line number, text) of the lines that are not blank; UsageError where the file cannot be read."""
    try:
        text = label.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UsageError(f"{label}: expected a label beside its picture, found none") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{label}: expected UTF-8 text, found {error}") from error
    return [(i, line) for i, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _named(label: Path, line: int, parse: Any, *arguments: Any) -> Any:
    try:
        return parse(*arguments)
    except RowError as error:
        raise _LineError(str(error), f"{label}:{line}") from error


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
        if isinstance(picture, Skipped):
            findings.append(Finding(picture.where or picture.name, picture.reason))
            continue
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
        gone = [name for name, point in zip(names, coords, strict=True) if not np.isfinite(point).all()]
        if gone:
            yield f"expected {', '.join(names)}, found that nobody marked {', '.join(gone)}"
        yield from point_problems(names, coords, (width, height))
        number, box = parse_detect_line(" ".join(text.split()[:5]), (width, height))
    if number >= len(data.class_names):
        yield f"expected a class below {len(data.class_names)}, found {number}"
    shares = (box + 0.5) / np.array([width, height, width, height])
    if shares.min() < -_TOLERANCE or shares.max() > 1 + _TOLERANCE:
        yield "expected a box inside the picture, found one across its edge"


def _orphans(by_label: dict[Path, Path]) -> Iterator[Finding]:
    for folder in sorted({label.parent for label in by_label}):
        for label in sorted(folder.glob("*.txt")):
            if label not in by_label and not is_passed_over(label.name):
                yield Finding(str(label), "expected a picture beside the label, found none")
