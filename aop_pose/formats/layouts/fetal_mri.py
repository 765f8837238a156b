"""Fetal EPI volumes of M. Hoffmann: ``loaddata.m`` with the landmarks and ``data/ep2d_NN.nii.gz``.

The landmarks stand in the script as zero-based voxel indices (it adds 1 afterwards, for MATLAB).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from aop_pose.core.keypoints import Keypoints
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.csv_rows import RowError
from aop_pose.formats.format import FolderFormat, left_out, nested
from aop_pose.formats.label import Label, LabelError, Skipped, check_below, within
from aop_pose.formats.pictures import volume_shape
from aop_pose.formats.points3d import points_schema
from aop_pose.io.csv_text import number_in

_LOOKS_FOR = "loaddata.m with data/"
_POINTS = {"brain": "bman", "left_eye": "lman", "right_eye": "rman"}
_PATH = re.compile(r"^data\{\s*(\d+)\}\s*=\s*'([^']+)'", re.MULTILINE)
_WEEKS = re.compile(r"^ga\(\s*(\d+)\)\s*=\s*([\d.]+)", re.MULTILINE)


def _holds(folder: Path) -> bool:
    return (folder / "loaddata.m").is_file() and (folder / "data").is_dir()


def _read(folder: Path) -> Iterator[Label | Skipped]:
    base = nested(folder, _holds)
    if base is None:
        raise UsageError(f"{folder}: expected {_LOOKS_FOR}, found none")
    # Numbers and names of files are ASCII; what else it says, in whatever encoding, is not read.
    script = (base / "loaddata.m").read_text(encoding="utf-8", errors="replace")
    weeks = dict(_WEEKS.findall(script))
    points = {name: _points(script, variable) for name, variable in _POINTS.items()}
    schema = points_schema(tuple(points))
    for number, given in _PATH.findall(script):
        path = base / given
        missing = [name for name in points if number not in points[name]]
        try:
            check_below(given)
            if missing:
                raise RowError(f"no {', '.join(missing)} in loaddata.m")
            if not path.is_file():
                raise RowError(f"no volume {given}")
            shape = volume_shape(within(path, base, given))
            coords = [[number_in(value) for value in points[name][number].split()] for name in points]
            if any(len(point) != 3 for point in coords):
                raise RowError(f"expected three indices a point, found {coords}")
            keypoints = Keypoints.from_points(schema, coords)
            extras = {"ga_weeks": weeks.get(number, "")}
            yield Label(path.name, path, shape, keypoints, index=None, extras=extras)
        except LabelError as error:
            yield left_out(error)
        except (ValueError, AopPoseError) as error:
            yield Skipped(path.name, str(error))


def _points(script: str, variable: str) -> dict[str, str]:
    """Number of the volume -> what stands between the brackets."""
    return dict(re.findall(rf"{variable}\{{\s*(\d+)\}}\s*=\s*\[([^\]]+)\]", script))


FETAL_MRI = FolderFormat("fetal-mri", "volumes", _LOOKS_FOR, lambda folder: nested(folder, _holds) is not None, _read)
