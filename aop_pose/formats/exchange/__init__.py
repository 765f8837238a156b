"""Files of annotation tools: what they have in common.

A tool knows points by the names of their labels, pictures by the names of their files, and readers. Names are kept as
they are, folders included; points are found by name, never by their order. A point that is not there stays missing.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np

from aop_pose.core.keypoints import Keypoints, to_centres, to_edges
from aop_pose.core.schema import Schema, of_frames
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import AopPoseError, UnreadableError, UsageError
from aop_pose.formats.csv_rows import RowError, filename
from aop_pose.formats.format import Finding, Format, Reading, Report, left_out
from aop_pose.formats.label import READER, Label, LabelError, Skipped, find_picture
from aop_pose.formats.pictures import picture_size, place_under_name, read_gray
from aop_pose.io.clinic.study import check_members
from aop_pose.io.discover import files_below

IMAGES = "images"
HIDDEN = "hidden"
"""Column beside the points: those that are marked but cannot be seen (COCO's 1, CVAT's occluded), parted by blanks."""
SCORE, MODEL = "score", "model"
"""Columns beside points that a model found: they are proposals, not labels."""
PROPOSALS = "proposals"
"""The kind of points that a model found and nobody has looked at."""
_KINDS = {AOP.name: "points", HEAD.name: "head"}
_LARGEST = 256 << 20
"""Bytes of one annotation file; 100 000 frames take a tenth of it."""

Place = Sequence[float]


def kind_of(schema: Schema) -> str:
    """The kind of labels with the points of a schema, as ``Format.kind`` says it."""
    return _KINDS.get(schema.name, schema.name) if schema.dimensions == 2 else "volumes"


@attrs.frozen(eq=False)
class Marked:
    """The marks of one reader in one picture, as a tool's file gives them."""

    name: str
    """Of the picture, below the folder of pictures."""
    points: Sequence[tuple[str, Place | None]]
    """Label and place in our pixels (x, y), or voxels; None = said to be missing."""
    where: str
    size: tuple[int, int] | None = None
    """Width and height as the file states them."""
    reader: str = ""
    hidden: Sequence[str] = ()
    extras: Mapping[str, str] = attrs.field(factory=dict)
    other_names: Sequence[str] = ()
    """Other names that the picture may have."""
    index: int | None = 0


class Exchange(Format):
    """The files of a tool. A subclass gives ``marked`` and ``write_marks``."""

    kind = "points"
    keeps_names = takes_missing = True
    from_edge: ClassVar[bool] = False
    """The tool counts from the picture's edge: half a pixel more than ours, which count from the first centre."""
    one_reading: ClassVar[bool] = False
    """A picture has one file, so that a second reader's marks have no place."""

    def sources(self, source: Path) -> Iterable[Path]:
        """The annotation files of a folder, or the file itself."""
        raise NotImplementedError

    def is_own(self, file: Path) -> bool:
        """True for a file of the tool; UsageError or UnreadableError where it cannot be read."""
        raise NotImplementedError

    def marked(self, source: Path) -> Iterator[Marked | Skipped]:
        """All marks in order, and what cannot be taken; UsageError where a file is none of the tool."""
        raise NotImplementedError

    def write_marks(self, labels: Sequence[Label], schema: Schema, dst: Path) -> None:
        """Write annotation files for pictures that stand in ``dst/images``."""
        raise NotImplementedError

    def fits(self, source: Path) -> bool:
        """True for a file of the tool, or a folder with one."""
        for _, file in zip(range(20), self.sources(source), strict=False):
            try:
                if self.is_own(file):
                    return True
            except (UsageError, UnreadableError, OSError):
                continue
        return False

    def fault(self, source: Path) -> str:
        """Why a file with the tool's ending cannot be read; empty where it can."""
        for _, file in zip(range(20), self.sources(source), strict=False):
            try:
                self.is_own(file)
            except (UsageError, UnreadableError) as error:
                return str(error)
        return ""

    def schema_of(self, source: Path) -> Schema | None:
        """The schema whose points its labels name; UsageError with the known ones where there is none."""
        found = {name: None for item in self.marked(source) if isinstance(item, Marked) for name, _ in item.points}
        return self.named_schema(source, list(found))

    def named_schema(self, source: Path, names: Sequence[str]) -> Schema:
        """The schema that has most of the names; UsageError says the known ones where none has any."""
        schemas = list(of_frames().values())
        best = max(schemas, key=lambda schema: len(set(schema.points) & set(names)))
        if not set(best.points) & set(names):
            known = "; ".join(f"{schema.name}: {', '.join(schema.points)}" for schema in schemas)
            raise UsageError(
                f"{source}: expected points labelled as one of the schemas ({known}), "
                f"found {', '.join(names[:8]) or 'none'}"
            )
        return best

    def kind_of(self, source: Path) -> str:
        """The kind of its labels, by their names."""
        schema = self.schema_of(source)
        return self.kind if schema is None else kind_of(schema)

    def takes(self, kind: str) -> bool:
        """True for points in pictures, whatever their schema, and for those that a model proposes."""
        return kind == PROPOSALS or kind in {kind_of(schema) for schema in of_frames().values()}

    def read(self, source: Path, how: Reading) -> Iterator[Label | Skipped]:
        """A label for each reader of each picture; two that nobody can tell apart are both left out."""
        schema = self.schema_of(source)
        assert schema is not None
        data = how.data or (source if source.is_dir() else source.parent)
        items = list(self.marked(source))
        count: dict[tuple[str, int | None, str], int] = {}
        for item in items:
            if isinstance(item, Marked):
                key = item.name, item.index, item.reader
                count[key] = count.get(key, 0) + 1
        for item in items:
            if isinstance(item, Skipped):
                yield item
                continue
            try:
                if (times := count[item.name, item.index, item.reader]) > 1:
                    whose = f"reader {item.reader}" if item.reader else "readers without a name"
                    raise RowError(f"expected each picture once, found {times} annotations of it by {whose}")
                yield self.label(item, schema, how, data)
            except LabelError as error:
                yield left_out(error)
            except (RowError, AopPoseError) as error:
                yield Skipped(item.name, str(error), item.where)

    def label(self, item: Marked, schema: Schema, how: Reading, data: Path) -> Label:
        """The label of a reading. RowError, AopPoseError."""
        points: dict[str, Place | None] = {}
        for name, place in item.points:
            if name not in schema.points:
                raise RowError(f"expected labels {', '.join(schema.points)} ({schema.name}), found {name!r}")
            if name in points:
                raise RowError(f"expected {name} once, found it again")
            points[name] = place
        missing = (np.nan,) * schema.dimensions
        coords = np.array([points.get(name) or missing for name in schema.points], dtype=np.float64)
        name, path, kept = item.name, Path(item.name), None
        size: tuple[int, ...] | None = item.size
        if how.pictures != "none":
            name, path = _found(data, item)
            size, kept = self.opened(path, how)
            if item.size is not None and tuple(size) != tuple(item.size):
                stated, seen = ("x".join(map(str, one)) for one in (item.size, size))
                raise RowError(f"expected a picture of {stated} as it was annotated, found {seen}")
        extras = {READER: item.reader} if item.reader else {}
        if item.hidden:
            extras[HIDDEN] = " ".join(item.hidden)
        return Label(
            name, path, size, Keypoints.from_points(schema, coords), kept=kept, where=item.where,
            extras={**extras, **item.extras}, index=item.index,
        )  # fmt: skip

    def opened(self, path: Path, how: Reading) -> tuple[tuple[int, ...], np.ndarray | None]:
        """Size of a picture, and its gray values where they are kept; UnreadableError."""
        if how.pictures == "keep":
            pixels = read_gray(path)
            return pixels.shape[::-1], pixels
        return picture_size(path), None

    def write(self, labels: Sequence[Label], dst: Path, held: Sequence[bool]) -> list[Skipped]:
        """Pictures in ``dst/images`` under their own names, and the tool's files."""
        placed: list[Label] = []
        skipped: list[Skipped] = []
        names: dict[tuple[Path, int | None], str] = {}
        taken: set[str] = set()
        for label in labels:
            key = label.path, label.index
            try:
                if key in names and self.one_reading:
                    raise UnreadableError(f"expected one reading of a picture for {self.name}, found another one")
                if key not in names:
                    names[key] = self.place(label, dst, taken)
                placed.append(attrs.evolve(label, name=names[key]))
            except UnreadableError as error:
                skipped.append(Skipped(label.name, str(error)))
        if placed:
            self.write_marks(placed, placed[0].schema, dst)
        return skipped

    def place(self, label: Label, dst: Path, taken: set[str]) -> str:
        """Put a picture where the tool finds it and return its name; UnreadableError."""
        return place_under_name(label.path, dst / IMAGES, label.name, label.index or 0, taken)

    def check(self, source: Path, data: Path | None = None) -> Report:
        """Every annotation that cannot be taken, pictures decoded; half a skeleton is said, too."""
        try:
            items = list(self.read(source, Reading(data, "keep")))
        except UsageError as error:
            return Report(0, "annotations", [Finding("", str(error))])
        findings = []
        for item in items:
            if isinstance(item, Skipped):
                findings.append(Finding(item.where or item.name, f"{item.name}: {item.reason}"))
            elif item.keypoints is not None and item.schema.dimensions == 2 and not item.keypoints.complete:
                gone = [name for name in item.schema.points if not np.isfinite(item.keypoints[name]).all()]
                expected = ", ".join(item.schema.points)
                reason = f"expected {expected}, found that nobody marked {', '.join(gone)}"
                findings.append(Finding(item.where or item.name, f"{item.name}: {reason}"))
        return Report(len(items), "annotations", findings)

    def ours(self, place: Place) -> tuple[float, ...]:
        """A place of the tool as ours."""
        return tuple((to_centres(np.array(place)) if self.from_edge else np.array(place, np.float64)).tolist())

    def theirs(self, point: np.ndarray) -> list[float]:
        """A point of ours as the tool counts."""
        return (to_edges(point) if self.from_edge else point).tolist()


class OneFile(Exchange):
    """A tool that keeps all annotations in one file, perhaps in a zip."""

    file: ClassVar[str]
    """Its name as it is written here."""

    def sources(self, source: Path) -> Iterable[Path]:
        """The file of that name in a folder; a file, or a zip with one in it."""
        file = source / self.file if source.is_dir() else source
        known = (Path(self.file).suffix, ".zip")
        return [file] if file.is_file() and file.suffix.lower() in known else []

    def own_file(self, source: Path) -> Path:
        """The file; UsageError where there is none of the tool."""
        for file in self.sources(source):
            if self.is_own(file):
                return file
        raise UsageError(f"{source}: expected {self.looks_for}, found none")


class FileEach(Exchange):
    """A tool that keeps a file for each picture."""

    suffix: ClassVar[str]
    one_reading = True

    def sources(self, source: Path) -> Iterable[Path]:
        """Every file of that ending below a folder in order of its path; or the one that is named."""
        if source.is_dir():
            return (path for path in files_below(source) if path.name.lower().endswith(self.suffix))
        return [source] if source.is_file() and source.name.lower().endswith(self.suffix) else []

    def own_files(self, source: Path) -> list[Path]:
        """The files of the tool; UsageError where there is none. One that cannot be read is among them."""
        found = []
        for file in self.sources(source):
            try:
                if self.is_own(file):
                    found.append(file)
            except UsageError:
                found.append(file)
        if not found:
            raise UsageError(f"{source}: expected {self.looks_for}, found none")
        return found


def named(texts: Sequence[str], parse: Callable[..., Marked | Skipped], *given: Any) -> Marked | Skipped:
    """The answer of ``parse(*given)``; what is not as the tool writes it is a remark on ``texts``, name and where."""
    try:
        return parse(*given)
    except RowError as error:
        reason = str(error)
    except KeyError as error:
        reason = f"expected {error.args[0]!r}, found none"
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"expected what the tool writes, found something else ({error})"
    return Skipped(texts[0], reason, texts[1])


def numbers(values: Any, count: int, what: str) -> list[float]:
    """So many finite numbers of a document; RowError."""
    if not (isinstance(values, list | tuple) and len(values) == count):
        raise RowError(f"{what}: expected {count} numbers, found {str(values)[:60]}")
    try:
        found = [float(value) for value in values if not isinstance(value, bool)]
    except (TypeError, ValueError):
        found = []
    if len(found) != count or not np.isfinite(found).all():
        raise RowError(f"{what}: expected {count} finite numbers, found {str(values)[:60]}")
    return found


def stated_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Size that a file states; None where it states none. RowError for one that is none."""
    if width is None or height is None:
        return None
    w, h = numbers([width, height], 2, "width, height")
    if w < 1 or h < 1:
        raise RowError(f"width, height: expected positive numbers, found {width}, {height}")
    return round(w), round(h)


def picture_name(text: Any) -> str:
    """A name as a file gives it, with forward slashes; RowError where it is none."""
    if not isinstance(text, str):
        raise RowError(f"expected the name of a picture, found {str(text)[:40]}")
    return filename(text)


def hidden_of(label: Label) -> set[str]:
    """Names of its points that are marked and cannot be seen."""
    return set(label.extras.get(HIDDEN, "").split())


def document(file: Path, suffix: str = ".json") -> Any:
    """The JSON of a file, or of the only one in a zip; UsageError where it is none."""
    return _parsed(file, suffix, file.stat().st_mtime_ns, file.stat().st_size)


@lru_cache(maxsize=4)
def _parsed(file: Path, suffix: str, stamp: int, size: int) -> Any:
    text = text_of(file, suffix)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{file}:{error.lineno}: expected JSON, found {error.msg}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{file}: expected JSON, found something else") from None


def text_of(file: Path, suffix: str) -> str:
    """The UTF-8 text of a file, or of the only file in a zip with this ending; UsageError, UnreadableError."""
    try:
        raw = _unzipped(file, suffix) if file.suffix.lower() == ".zip" else _bytes(file)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: expected UTF-8 text, found {error}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def _bytes(file: Path) -> bytes:
    if file.stat().st_size > _LARGEST:
        raise UsageError(f"{file}: expected at most {_LARGEST >> 20} MB, found {file.stat().st_size >> 20} MB")
    return file.read_bytes()


def _unzipped(file: Path, suffix: str) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            fitting = [one for one in check_members(archive, file) if one.filename.lower().endswith(suffix)]
            if len(fitting) != 1:
                raise UsageError(f"{file}: expected one {suffix} in the zip, found {len(fitting)}; unpack it")
            if fitting[0].file_size > _LARGEST:
                raise UsageError(f"{file}: expected at most {_LARGEST >> 20} MB, found {fitting[0].file_size >> 20} MB")
            return archive.read(fitting[0])
    except UnreadableError as error:
        raise UsageError(f"{file}: {error}") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError):
        raise UsageError(f"{file}: expected a zip, found one that cannot be opened") from None


def _found(data: Path, item: Marked) -> tuple[str, Path]:
    """Name and path of the picture; UsageError where it is not there under any of its names."""
    for name in (item.name, *item.other_names):
        try:
            return name, find_picture(data, name, IMAGES)
        except UsageError:
            continue
    return item.name, find_picture(data, item.name, IMAGES)
