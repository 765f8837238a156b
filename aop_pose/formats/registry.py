"""Every source of labels by its ``--from`` name; a new one is a file in ``layouts/`` and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aop_pose.errors import UsageError
from aop_pose.formats import head, iugc, masks, points3d
from aop_pose.formats import yolo as yolo_read
from aop_pose.formats.csv_rows import header_of
from aop_pose.formats.label import Kind, Layout
from aop_pose.formats.layouts.fetal_mri import FETAL_MRI
from aop_pose.formats.layouts.hc18 import HC18
from aop_pose.formats.layouts.iugc2024 import IUGC2024
from aop_pose.formats.layouts.iugc2025 import IUGC2025
from aop_pose.formats.layouts.jnu_ifm import JNU_IFM
from aop_pose.formats.layouts.mha_pairs import FH_PS_AOP, PSFHS

LABELS = "labels.csv"


def label_file(source: Path) -> Path:
    """A CSV given as such, or the ``labels.csv`` of a folder (which need not exist)."""
    return source / LABELS if source.is_dir() else source


def _has_columns(source: Path, columns: Iterable[str]) -> bool:
    file = label_file(source)
    return file.is_file() and file.suffix == ".csv" and set(columns) <= set(header_of(file))


def _table(name: str, kind: Kind, looks_for: str, fits: Callable[[Path], bool], read: Any) -> Layout:
    """A layout whose source is one CSV, with the pictures below its folder unless another one is given."""
    return Layout(
        name,
        kind,
        looks_for,
        fits,
        lambda source: read(label_file(source), label_file(source).parent),
        lambda source, data: read(label_file(source), data),
    )


def _is_yolo(source: Path, pose: bool) -> bool:
    file = source / "data.yaml" if source.is_dir() else source
    return file.is_file() and file.suffix in (".yaml", ".yml") and (_shape(file) is not None) == pose


def _shape(file: Path) -> object:
    return yolo_read.read_data_yaml(file).kpt_shape


FORMATS: tuple[Layout, ...] = (
    _table(
        "iugc",
        "points",
        f"{LABELS} or a CSV with Filename,PS1,PS2,FH1",
        lambda source: _has_columns(source, iugc.COLUMNS),
        iugc.read_iugc,
    ),
    _table(
        "head-csv",
        "head",
        f"{LABELS} or a CSV with Filename,ofd_1_x,…",
        lambda source: _has_columns(source, head.COLUMNS),
        head.read_head,
    ),
    _table(
        "points-3d",
        "volumes",
        f"{LABELS} or a CSV with Filename,<point>_i,…",
        lambda source: (
            label_file(source).suffix == ".csv"
            and label_file(source).is_file()
            and bool(points3d.point_names(header_of(label_file(source))))
        ),
        points3d.read_points3d,
    ),
    Layout(
        "yolo-pose",
        "points",
        "data.yaml with kpt_shape",
        lambda source: _is_yolo(source, pose=True),
        yolo_read.read_yolo_pose,
    ),
    Layout(
        "yolo-detect",
        "boxes",
        "data.yaml without kpt_shape",
        lambda source: _is_yolo(source, pose=False),
        yolo_read.read_yolo_detect,
    ),
    Layout(
        "masks",
        "masks",
        "images/ and masks/",
        lambda source: (source / "images").is_dir() and (source / "masks").is_dir(),
        masks.read_masks,
    ),
)
SETS: tuple[Layout, ...] = (PSFHS, FH_PS_AOP, IUGC2024, IUGC2025, JNU_IFM, HC18, FETAL_MRI)
LAYOUTS = {layout.name: layout for layout in (*FORMATS, *SETS)}


def fitting_layouts(source: Path, name: str = "") -> list[Layout]:
    """The named layout, else all that fit the source; UsageError lists what was looked for."""
    if not source.exists():
        raise UsageError(f"{source}: expected a folder or a label file, found nothing there")
    if name:
        if name not in LAYOUTS:
            raise UsageError(f"--from: expected one of {', '.join(LAYOUTS)}, found {name!r}")
        return [LAYOUTS[name]]
    fitting = [layout for layout in LAYOUTS.values() if layout.fits(source)]
    if not fitting:
        looked = "; ".join(f"{layout.name}: {layout.looks_for}" for layout in LAYOUTS.values())
        raise UsageError(f"{source}: expected a known layout, found none; looked for {looked}; name it with --from")
    return fitting
