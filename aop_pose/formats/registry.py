"""Every format by its name. A new one is a file and a line here, or a call of ``register`` from another package."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from aop_pose.core.schema import Schema
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.exchange import PROPOSALS
from aop_pose.formats.exchange.coco import COCO
from aop_pose.formats.exchange.cvat import CVAT
from aop_pose.formats.exchange.label_studio import LABEL_STUDIO
from aop_pose.formats.exchange.labelme import LABELME
from aop_pose.formats.exchange.napari import NAPARI
from aop_pose.formats.exchange.slicer import SLICER
from aop_pose.formats.format import Finding, Format, Reading, Report, TableFormat, columns_in, label_file
from aop_pose.formats.head import HEAD_CSV
from aop_pose.formats.iugc import IUGC
from aop_pose.formats.label import LABELS, Label, Skipped, common_fault, reader_of
from aop_pose.formats.layouts.fetal_mri import FETAL_MRI
from aop_pose.formats.layouts.hc18 import HC18
from aop_pose.formats.layouts.iugc2024 import IUGC2024
from aop_pose.formats.layouts.iugc2025 import IUGC2025
from aop_pose.formats.layouts.jnu import FH_PS_AOP, JNU_IFM, PSFHS
from aop_pose.formats.layouts.outlines import OUTLINES, RESULTS
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
    COCO, LABEL_STUDIO, CVAT, SLICER, NAPARI, LABELME, RESULTS,
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
        if fault := _fault(source):
            raise UsageError(fault)
        looked = "; ".join(f"{format.name}: {format.looks_for}" for format in FORMATS.values())
        raise UsageError(f"{source}: expected a known layout, found none; looked for {looked}; name it with --from")
    return fitting


def _fault(source: Path) -> str:
    """The words of the first format that knows of a source that fits none."""
    return next(filter(None, (format.fault(source) for format in FORMATS.values())), "")


def format_of(source: Path, schema: Schema | None) -> Format:
    """The format of a label file with the points of a schema; where none fits, the one whose error says why.

    Without a schema it is one of volumes, whose columns tell.
    """
    fitting = [format for format in FORMATS.values() if format.kind != PROPOSALS and format.fits(source)]
    for format in fitting:
        if _carries(format.kind_of(source), format.schema_of(source), schema):
            return format
    # A table says best itself which columns it lacks.
    if schema is not None and fitting and not isinstance(fitting[0], TableFormat) and fitting[0].schema is None:
        found = fitting[0].schema_of(source)
        if found is not None:
            raise UsageError(f"{source}: expected points of schema {schema.name}, found {found.name}")
    return table_of(schema)


def table_of(schema: Schema | None) -> TableFormat:
    """The table of points of a schema; None = that of volumes. UsageError where there is none."""
    for format in FORMATS.values():
        if isinstance(format, TableFormat) and _carries(format.kind, format.schema, schema):
            return format
    raise UsageError(f"expected a schema with a label table, found {'none' if schema is None else schema.name}")


def _carries(kind: str, found: Schema | None, wanted: Schema | None) -> bool:
    if wanted is None or wanted.dimensions == 3:
        return kind == POINTS_3D.kind
    return found is wanted


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
    if twice := _read_twice(labels):
        raise UsageError(f"{source}: {twice}")
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


def _read_twice(labels: list[Label]) -> str:
    """In words, a picture that several readers have labelled; empty where there is none."""
    seen: dict[tuple[Path, int | None], Label] = {}
    for label in labels:
        first = seen.setdefault((label.path, label.index), label)
        if first is not label:
            whose = " and ".join(reader_of(one.extras) or "nobody" for one in (first, label))
            return (
                f"expected one reading of each picture, found those of {whose} for {label.name}; bring them together "
                "with aop-pose dataset merge"
            )
    return ""


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
    if not fitting and (fault := _fault(path)):
        return Report(0, "annotations", [Finding("", fault)])
    if not fitting and label_file(path).is_file():
        fitting = [_nearest(path)]
    if not fitting:
        raise UsageError(
            f"{path}: expected {LABELS}, data.yaml, images/ and masks/, or files of an annotation tool, found none; "
            "name the label file"
        )
    return fitting[0].check(path, data)


def _nearest(table: Path) -> TableFormat:
    """The table that a header comes closest to, whose error then says what is missing."""
    header = set(columns_in(table)) - {"Filename"}
    tables = [format for format in FORMATS.values() if isinstance(format, TableFormat)]
    return max(tables, key=lambda format: len(header & set(format.columns)))
