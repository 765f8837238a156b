"""``--pixel-size MM|CSV``: how large a pixel is where the file does not say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import attrs

from aop_pose.core.frame import Frame
from aop_pose.errors import UsageError
from aop_pose.io.csv_text import cells_of, number_in
from aop_pose.io.files import printable

_NAME_COLUMNS = ("filename", "file", "source")
_SIZE_COLUMNS = ("pixel_size_mm", "pixel size(mm)", "pixel size (mm)")
_SIZE_XY_COLUMNS = ("pixel_size_x_mm", "pixel_size_y_mm")
_SQUARE = 1e-3
"""Relative difference up to which a pixel counts as square."""


@attrs.frozen
class PixelSize:
    """Millimetres per pixel; a single number means square pixels."""

    x: float
    y: float
    single: bool
    """True where one number was given for both axes."""


@attrs.frozen
class PixelSizes:
    """The sizes that the user gave: one for every frame, or a table."""

    every: PixelSize | None = None
    by_name: Mapping[str, PixelSize] = attrs.field(factory=dict)

    def find(self, source: str) -> PixelSize | None:
        """Size for a frame: by its whole source, else by its file name, else the common one, else None."""
        return self.by_name.get(source) or self.by_name.get(PurePosixPath(source).name) or self.every

    def check_names(self, sources: Sequence[str]) -> None:
        """UsageError where there is a table that names none of the frames: it belongs to others."""
        if self.by_name and not any(self.find(source) for source in sources):
            raise UsageError(
                f"--pixel-size: expected a table with a size for some of {len(sources)} files ({sources[0]}, …), found "
                f"{len(self.by_name)} others ({next(iter(self.by_name))}, …); name the files as they are"
            )


def parse_pixel_size(text: str) -> PixelSizes:
    """Read a number (mm per pixel, square pixels) or the path of a CSV.

    The CSV has ``Filename`` and ``pixel_size_mm``, or ``pixel_size_x_mm`` and ``pixel_size_y_mm``; HC18's own
    header (``filename``, ``pixel size(mm)``) and upper or lower case are fine, further columns are not read; cells are
    parted as in label files.
    A Filename is a source (path below the given folder) or a file name alone; a row without a size, as head-csv
    has it where the size is unknown, says nothing.

    Raises UsageError that names file and line.
    """
    try:
        millimetres = number_in(text)
    except ValueError:
        return _read_table(Path(text))
    if not _positive(millimetres):
        raise UsageError(f"--pixel-size: expected a positive number of millimetres per pixel, found {text}")
    return PixelSizes(every=PixelSize(millimetres, millimetres, single=True))


def with_pixel_size(frame: Frame, sizes: PixelSizes) -> Frame:
    """The frame with the spacing that the user gave, which goes before the file's own; unchanged where none was given.

    One number says that pixels are square. Where the file says that they are not (unequal ElementSpacing or
    resolution), neither is believed: spacing is None and ``aspect`` stays, so that measuring refuses with a
    reason.
    """
    size = sizes.find(frame.source)
    if size is None:
        return frame
    if frame.choices:
        frame = attrs.evolve(frame, choices=tuple(with_pixel_size(choice, sizes) for choice in frame.choices))
    aspect = frame.aspect if frame.spacing is None else frame.spacing[-2] / frame.spacing[-1]
    if size.single and aspect is not None and not math.isclose(aspect, 1.0, rel_tol=_SQUARE):
        return attrs.evolve(frame, spacing=None, aspect=aspect)
    return attrs.evolve(frame, spacing=(size.y, size.x), aspect=None)


def _read_table(path: Path) -> PixelSizes:
    if not path.exists():
        raise UsageError(f"--pixel-size: expected a number or an existing CSV, found {str(path)!r}")
    rows = list(cells_of(path))
    header = [name.lower() for name in rows[0][1]] if rows else []
    name_at = _column(header, _NAME_COLUMNS)
    single_at = _column(header, _SIZE_COLUMNS)
    pair_at = [_column(header, (name,)) for name in _SIZE_XY_COLUMNS]
    size_at = [single_at] if single_at is not None else pair_at
    if name_at is None or None in size_at:
        raise UsageError(
            f"{path}:1: expected columns Filename and pixel_size_mm (or pixel_size_x_mm and pixel_size_y_mm), "
            f"found {', '.join(header) or 'nothing'}"
        )
    sizes: dict[str, PixelSize] = {}
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise UsageError(f"{path}:{line}: expected {len(header)} fields, found {len(row)}")
        name = printable(row[name_at].strip()).replace("\\", "/").removeprefix("./")
        if not name:
            raise UsageError(f"{path}:{line}: expected a file name, found nothing")
        cells = [row[at] for at in size_at if at is not None]
        if not any(cell.strip() for cell in cells):
            continue
        numbers = [_number(cell, path, line) for cell in cells]
        size = PixelSize(numbers[0], numbers[-1], single=len(numbers) == 1)
        if sizes.setdefault(name, size) != size:
            raise UsageError(f"{path}:{line}: {name} stands twice with different sizes; keep one")
    return PixelSizes(by_name=sizes)


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _number(text: str, path: Path, line: int) -> float:
    try:
        number = number_in(text)
    except ValueError:
        number = math.nan
    if not _positive(number):
        raise UsageError(f"{path}:{line}: expected a positive number of millimetres per pixel, found {text!r}")
    return number


def _positive(number: float) -> bool:
    return math.isfinite(number) and number > 0
