"""A folder of phantoms in the ``iugc`` layout, complete or not there."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from aop_pose.errors import UsageError
from aop_pose.geometry import angle_of_progression
from aop_pose.phantom.phantom import Phantom, check_request, make_phantom
from aop_pose.schemas import AOP


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
    not given, and for arguments that ``make_phantom`` refuses; nothing is written then.
    """
    out = Path(out)
    if count < 1:
        raise UsageError(f"phantom: expected a count of at least 1, found {count}")
    check_request(seed, 0, device, size)
    _refuse_to_replace(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the final rename stays on one disk.
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        _fill(work, count, seed, size, device, advance)
        # mkdtemp makes a private folder; this one is to be read like any other.
        work.chmod(0o777 & ~_umask())
        _put_in_place(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _refuse_to_replace(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write, found a file: name another")
    if any(out.iterdir()) and not overwrite:
        raise UsageError(f"{out}: expected a new or empty folder, found files: name another or give --overwrite")


def _fill(work: Path, count: int, seed: int, size: int, device: str | None, advance: Callable[[int], object]) -> None:
    (work / "images").mkdir()
    (work / "masks").mkdir()
    digits = max(4, len(str(count - 1)))
    with open(work / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["Filename", *AOP.points, "AoP", "device"])
        for index in range(count):
            phantom = make_phantom(seed, index, device, size)
            name = f"{index:0{digits}d}.png"
            _write_png(work / "images" / name, phantom.frame.pixels)
            _write_png(work / "masks" / name, phantom.mask)
            table.writerow([name, *_cells(phantom)])
            advance(index + 1)


def _cells(phantom: Phantom) -> list[str]:
    coords = phantom.keypoints.coords
    angle = float(angle_of_progression(*coords))
    return [*(f"({x:.3f}, {y:.3f})" for x, y in coords), f"{angle:.3f}", phantom.device]


def _write_png(path: Path, pixels: np.ndarray) -> None:
    encoded, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not encoded:
        raise OSError(f"{path}: the picture could not be encoded as PNG")
    path.write_bytes(data.tobytes())


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _put_in_place(work: Path, out: Path) -> None:
    if not out.exists():
        work.rename(out)
        return
    # Two renames: a reader sees the old folder or the new one, never a mixture.
    old = work.with_name(work.name + ".old")
    out.rename(old)
    work.rename(out)
    shutil.rmtree(old)
