"""A folder of phantoms in the ``iugc`` or the ``head-csv`` layout, complete or not there."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import UsageError
from aop_pose.geometry import angle_of_progression
from aop_pose.io.folders import appearing
from aop_pose.phantom.frame import Phantom, check_request, make_phantom
from aop_pose.phantom.head import make_head_phantom


def write_phantoms(
    out: str | Path,
    count: int,
    seed: int,
    size: int = 256,
    device: str | None = None,
    overwrite: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> Path:
    """Write ``OUT/images/*.png``, ``OUT/masks/*.png`` and ``OUT/labels.csv``; returns OUT.

    The table has Filename, PS1, PS2, FH1 (pixels, 3 decimals), AoP in degrees and the device. The folder
    appears under its name when everything is in it; the same arguments give the same bytes. ``advance`` is
    called with the number of frames done. Errors: UsageError where OUT holds something and ``overwrite`` is
    not given, where it holds more than a data set, and for arguments that ``make_phantom`` refuses; nothing is
    written then.
    """
    return _write(
        out, count, seed, size, device, overwrite, lambda folder: _fill(folder, count, seed, size, device, advance)
    )


def write_head_phantoms(out: str | Path, count: int, seed: int, size: int = 256, overwrite: bool = False) -> Path:
    """Write ``OUT/images/*.png`` and ``OUT/labels.csv`` of heads as ``head-csv`` has them; returns OUT.

    The table has the ends of both axes in pixels (3 decimals), pixel_size_mm and head_circumference_mm, the perimeter
    of the ellipse. For the rest see ``write_phantoms``.
    """
    return _write(out, count, seed, size, None, overwrite, lambda folder: _fill_heads(folder, count, seed, size))


def _write(
    out: str | Path,
    count: int,
    seed: int,
    size: int,
    device: str | None,
    overwrite: bool,
    fill: Callable[[Path], None],
) -> Path:
    out = Path(out)
    if count < 1:
        raise UsageError(f"phantom: expected a count of at least 1, found {count}")
    check_request(seed, 0, device, size)
    with appearing(out, overwrite) as folder:
        fill(folder)
    return out


def _fill_heads(folder: Path, count: int, seed: int, size: int) -> None:
    (folder / "images").mkdir()
    columns = [f"{point[:-1].lower()}_{point[-1]}_{axis}" for point in HEAD.points for axis in "xy"]
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["Filename", *columns, "pixel_size_mm", "head_circumference_mm"])
        for index in range(count):
            phantom = make_head_phantom(seed, index, size)
            name = _name(index, count)
            _write_png(folder / "images" / name, phantom.frame.pixels)
            assert phantom.frame.spacing is not None  # a phantom knows its size
            points = (f"{value:.3f}" for value in phantom.keypoints.coords.ravel())
            table.writerow([name, *points, f"{phantom.frame.spacing[0]:.8g}", f"{phantom.circumference_mm:.3f}"])


def _fill(folder: Path, count: int, seed: int, size: int, device: str | None, advance: Callable[[int], object]) -> None:
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["Filename", *AOP.points, "AoP", "device"])
        for index in range(count):
            phantom = make_phantom(seed, index, device, size)
            name = _name(index, count)
            _write_png(folder / "images" / name, phantom.frame.pixels)
            _write_png(folder / "masks" / name, phantom.mask)
            table.writerow([name, *_cells(phantom)])
            advance(index + 1)


def _name(index: int, count: int) -> str:
    return f"{index:0{max(4, len(str(count - 1)))}d}.png"


def _cells(phantom: Phantom) -> list[str]:
    coords = phantom.keypoints.coords
    angle = float(angle_of_progression(*coords))
    return [*(f"({x:.3f}, {y:.3f})" for x, y in coords), f"{angle:.3f}", phantom.device]


def _write_png(path: Path, pixels: np.ndarray) -> None:
    encoded, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not encoded:
        raise OSError(f"{path}: the picture could not be encoded as PNG")
    path.write_bytes(data.tobytes())
