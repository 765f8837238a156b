"""A folder of made-up volumes of fetuses in the 3-D label format, complete or not there."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from aop_pose.errors import UsageError
from aop_pose.io.folder import appearing
from aop_pose.io.volumes import write_sequence, write_volume
from aop_pose.phantom.fetus.beams import Shape3
from aop_pose.phantom.fetus.fetus import SHAPE, FetusPhantom, check_fetus, make_fetus
from aop_pose.phantom.fetus.sequence import make_fetus_sequence
from aop_pose.schemas import FETUS

SIZES = (32, 256)
"""Fewest and most voxels along the longest side."""
MAX_TIMES = 100
"""Most time points of a file: all of them are in memory at once."""


def shape_of(size: int) -> Shape3:
    """The default's proportions with ``size`` voxels along the longest side; UsageError beyond ``SIZES``."""
    smallest, largest = SIZES
    if not smallest <= size <= largest:
        raise UsageError(f"phantom: expected a size of {smallest} to {largest} voxels for fetus, found {size}")
    i, j, k = (round(size * side / SHAPE[0]) for side in SHAPE)
    return i, j, k


def write_fetus_phantoms(
    out: str | Path,
    count: int,
    seed: int,
    size: int = SHAPE[0],
    times: int | None = None,
    overwrite: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> Path:
    """Write ``OUT/volumes/*.nii.gz`` and ``OUT/labels.csv``; returns OUT.

    The table has Filename, age_days and the 22 points in voxel indices (3 decimals), as ``formats.points3d`` reads
    them. With ``times`` each file is 4-D and shows a moving fetus (``make_fetus_sequence``), and the table has a row a
    time point, told apart by its column ``index``; the first is the volume of the same fetus without ``times``. The
    folder appears under its name when everything is in it; the same arguments give the same bytes. ``advance`` is
    called with the number of files done. UsageError where OUT holds something and ``overwrite`` is not given, where it
    holds more than a data set, and for a count below 1, a negative seed, a size beyond ``SIZES`` or times beyond 1 to
    ``MAX_TIMES``; nothing is written then.
    """
    if count < 1:
        raise UsageError(f"phantom: expected a count of at least 1, found {count}")
    if times is not None and not 1 <= times <= MAX_TIMES:
        raise UsageError(f"phantom: expected 1 to {MAX_TIMES} time points, found {times}")
    shape = shape_of(size)
    check_fetus(seed, 0, shape, None)
    out = Path(out)
    with appearing(out, overwrite) as folder:
        (folder / "volumes").mkdir()
        with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            time = ["index"] if times is not None else []
            table.writerow(["Filename", *time, "age_days", *FETUS.coordinate_columns])
            for index in range(count):
                name = f"{index:0{max(4, len(str(count - 1)))}d}.nii.gz"
                if times is None:
                    shown = [make_fetus(seed, index, shape)]
                    write_volume(shown[0].volume, folder / "volumes" / name)
                else:
                    shown = list(make_fetus_sequence(seed, index, times, shape))
                    write_sequence([one.volume for one in shown], folder / "volumes" / name)
                table.writerows([name, *([point] if time else []), *_cells(one)] for point, one in enumerate(shown))
                advance(index + 1)
    return out


def _cells(phantom: FetusPhantom) -> list[str]:
    age = phantom.scene.attitude.trunk.body.age_days
    return [f"{age:.1f}", *(f"{value:.3f}" for value in phantom.keypoints.coords.ravel())]
