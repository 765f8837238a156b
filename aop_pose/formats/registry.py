"""Every format by its name. A new one is a file and a line here, or a call of ``register`` from another package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from aop_pose.core.schema import Schema
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.format import LABELS, Format, Reading, Report, TableFormat, columns_in, label_file
from aop_pose.formats.head import HEAD_CSV
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.label import Label, Skipped, common_fault
from aop_pose.formats.layouts.fetal_mri import FETAL_MRI
from aop_pose.formats.layouts.hc18 import HC18
from aop_pose.formats.layouts.iugc2024 import IUGC2024
from aop_pose.formats.layouts.iugc2025 import IUGC2025
from aop_pose.formats.layouts.jnu_ifm import JNU_IFM
from aop_pose.formats.layouts.mha_pairs import FH_PS_AOP, PSFHS
from aop_pose.formats.layouts.outlines import OUTLINES
from aop_pose.formats.masks import MASKS
from aop_pose.formats.points3d import POINTS_3D
from aop_pose.formats.yolo import YOLO_DETECT, YOLO_POSE

FORMATS: dict[str, Format] = {}
"""In the order in which they are tried."""


def register(format: Format) -> None:
    """Make a format known to convert, check, split, training and evaluation; ValueError where its name is taken."""
    if format.name in FORMATS:
        raise ValueError(f"format {format.name}: expected a name that is free, found it registered already")
    FORMATS[format.name] = format


for _format in (
    IUGC, HEAD_CSV, POINTS_3D, YOLO_POSE, YOLO_DETECT, MASKS,
    OUTLINES, PSFHS, FH_PS_AOP, IUGC2024, IUGC2025, JNU_IFM, HC18, FETAL_MRI,
):  # fmt: skip
    register(_format)


def written_formats() -> dict[str, Format]:
    """Those that ``convert`` can write."""
    return {name: format for name, format in FORMATS.items() if format.is_written}


def fitting_formats(source: Path, name: str = "") -> list[Format]:
    """The named format, else all that fit the source; UsageError lists what was looked for."""
    if not source.exists():
        raise UsageError(f"{source}: expected a folder or a label file, found nothing there")
    if name:
        if name not in FORMATS:
            raise UsageError(f"--from: expected one of {', '.join(FORMATS)}, found {name!r}")
        return [FORMATS[name]]
    fitting = [format for format in FORMATS.values() if format.fits(source)]
    if not fitting:
        looked = "; ".join(f"{format.name}: {format.looks_for}" for format in FORMATS.values())
        raise UsageError(f"{source}: expected a known layout, found none; looked for {looked}; name it with --from")
    return fitting


def format_of(source: Path, schema: Schema | None) -> Format:
    """The format of a label file with the points of a schema; where none fits, the one whose error says why.

    Without a schema it is one of volumes, whose columns tell.
    """
    fitting = [format for format in FORMATS.values() if _carries(format, schema) and format.fits(source)]
    if fitting:
        return fitting[0]
    return next(format for format in FORMATS.values() if _carries(format, schema) and isinstance(format, TableFormat))


def _carries(format: Format, schema: Schema | None) -> bool:
    if schema is None or schema.dimensions == 3:
        return format.kind == POINTS_3D.kind
    return format.schema is schema


def labels_of(format: Format, source: Path, how: Reading) -> Iterator[Label | Skipped]:
    """The labels that a format gives, without those with a point that nobody marked unless ``how`` says otherwise."""
    for item in format.read(source, how):
        if isinstance(item, Label) and not how.missing and (reason := _incomplete(item)):
            yield Skipped(item.name, reason, item.where)
        else:
            yield item


def _incomplete(label: Label) -> str:
    keypoints = label.keypoints
    if keypoints is None or keypoints.schema.dimensions == 3 or keypoints.complete:
        return ""
    gone = [name for name in keypoints.schema.points if keypoints[name][0] != keypoints[name][0]]
    return f"expected {', '.join(keypoints.schema.points)}, found that nobody marked {', '.join(gone)}"


def read_labels(
    source: Path,
    data: Path | None = None,
    schema: Schema | None = AOP,
    *,
    keep: bool = False,
    say: Callable[[str], None] | None = None,
) -> list[Label]:
    """The labels of a file or folder, each with its picture and points of ``schema``.

    Args:
        source: label file or folder of any registered format.
        data: folder of the pictures of a label file; None = its own.
        schema: whose points are wanted; None = those of volumes, as the columns tell.
        keep: decode each picture now and keep its gray values, for who needs them all.
        say: is told of labels that are left out; without it the first of them is an error.

    Raises:
        UsageError: names ``file:line`` of a row that is malformed, repeats a picture, or has none that can be read.
    """
    labels, left_out = sorted_labels(source, data, schema, keep=keep)
    if fault := common_fault(labels, left_out):
        raise UsageError(f"{source}: {fault}")
    if left_out:
        first = left_out[0]
        if say is None:
            raise UsageError(f"{first.where or first.name}: {first.reason}")
        if not labels:
            raise UsageError(
                f"{source}: all {len(left_out)} labels are left out; the first: {first.name}: {first.reason}"
            )
        for reason, count in Counter(_kind(one.reason) for one in left_out).items():
            example = next(one for one in left_out if _kind(one.reason) == reason)
            total = len(labels) + len(left_out)
            say(f"left out {count} of {total} labels ({reason}), the first {example.name}: {example.reason}")
    return labels


def _kind(reason: str) -> str:
    """A few words that many reasons share."""
    if reason.endswith("outside"):
        return "a point outside the picture"
    return "two points at one place" if "apart" in reason else "a point that nobody marked"


def sorted_labels(
    source: Path, data: Path | None = None, schema: Schema | None = AOP, *, keep: bool = False
) -> tuple[list[Label], list[Skipped]]:
    """As ``read_labels``: the labels, and those that are left out."""
    items = list(labels_of(format_of(Path(source), schema), Path(source), Reading(data, "keep" if keep else "size")))
    labels = [item for item in items if isinstance(item, Label)]
    return labels, [item for item in items if isinstance(item, Skipped)]


def check(path: Path, data: Path | None = None) -> Report:
    """Check a label file or a folder of any format.

    Pictures of a label file are looked for below ``data`` (default: the folder of the file) and decoded.
    Nothing is written. UsageError where the path is none of these.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: expected a label file or a data set, found nothing there")
    fitting = [format for format in FORMATS.values() if format.fits(path)]
    if not fitting and label_file(path).is_file():
        fitting = [_nearest(path)]
    if not fitting:
        raise UsageError(
            f"{path}: expected {LABELS}, data.yaml, or images/ and masks/, found none; name the label file"
        )
    return fitting[0].check(path, data)


def _nearest(table: Path) -> TableFormat:
    """The table that a header comes closest to, whose error then says what is missing."""
    header = set(columns_in(table)) - {"Filename"}
    tables = [format for format in FORMATS.values() if isinstance(format, TableFormat)]
    return max(tables, key=lambda format: len(header & set(format.columns)))
