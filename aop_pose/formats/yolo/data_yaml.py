"""``data.yaml`` as Ultralytics reads it, except that nothing outside its own folder is ever looked at.

A split is a folder, a list file of pictures, or several of these; ``val`` may be missing or empty. ``path`` is taken
from the folder of the file, never from the working directory. Roboflow writes ``../train/images`` and means
``train/images``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import can_be_a_name
from aop_pose.formats.label import Skipped, check_below, within
from aop_pose.io.discover import KNOWN_SUFFIXES, files_below

SPLITS = ("train", "val")
NAME = "data.yaml"


class DataYaml(BaseModel):
    """The keys of ``data.yaml`` that matter here; Ultralytics allows more."""

    model_config = ConfigDict(extra="ignore")

    train: list[str]
    val: list[str] = []
    path: str = ""
    names: dict[int, str]
    kpt_shape: tuple[int, int] | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_ultralytics(cls, given: Any) -> Any:
        """Its synonyms: ``validation`` for ``val``, ``nc`` alone for names."""
        if not isinstance(given, dict):
            return given
        values = dict(given)
        if values.get("val") is None and values.get("validation") is not None:
            values["val"] = values["validation"]
        if values.get("names") is None and isinstance(values.get("nc"), int):
            values["names"] = [f"class_{number}" for number in range(values["nc"])]
        return values

    @field_validator("train", "val", mode="before")
    @classmethod
    def _as_list(cls, given: Any) -> Any:
        if given is None or given == "":
            return []
        return [given] if isinstance(given, str) else given

    @field_validator("path", mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        return "" if given is None else given

    @field_validator("names", mode="before")
    @classmethod
    def _by_number(cls, given: Any) -> Any:
        return dict(enumerate(given)) if isinstance(given, list) else given

    @property
    def class_names(self) -> list[str]:
        """In the order of their numbers."""
        return [name for _, name in sorted(self.names.items())]


@attrs.frozen
class YoloPicture:
    """One picture of a split and where its label file must be."""

    split: str
    path: Path
    label: Path

    @property
    def name(self) -> str:
        """The picture's name in messages and other formats."""
        return f"{self.split}/{self.path.name}"


def file_of(source: Path) -> Path:
    """``data.yaml`` of a folder, or the file itself."""
    return source / NAME if source.is_dir() else source


def read_data_yaml(source: Path) -> DataYaml:
    """``data.yaml`` of a folder, or the file itself; UsageError says what does not fit."""
    file = file_of(source)
    try:
        values: Any = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
        data = DataYaml.model_validate(values)
    except OSError as error:
        raise UsageError(f"{file}: expected a YOLO data file, found {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UsageError(f"{file}: {key}: {first['msg'].lower()}") from error
    # A ValueError is text that is not UTF-8, or a number of more digits than Python reads.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: expected YAML, found {' '.join(str(error).split())[:200]}") from error
    if not data.train and not data.val:
        raise UsageError(f"{file}: train: expected a folder of pictures or a list of them, found nothing")
    return data


def yolo_pictures(source: Path, data: DataYaml) -> Iterator[YoloPicture | Skipped]:
    """The pictures of train and val in order, each once (val may name the folder of train).

    UsageError where a split lies outside the folder of the file, or is neither a folder nor a list.
    """
    file = file_of(source)
    base = _base(file, data)
    seen: set[Path] = set()
    for split, given in zip(SPLITS, (data.train, data.val), strict=True):
        for name in given:
            place = _split_place(file, base, split, name)
            found = files_below(place) if place.is_dir() else _listed(place, base, file.parent, split)
            for item in found:
                if isinstance(item, Skipped):
                    yield item
                elif item.suffix.lower() in KNOWN_SUFFIXES and item not in seen:
                    seen.add(item)
                    yield _inside(item, file.parent, split)


def _inside(path: Path, root: Path, split: str) -> YoloPicture | Skipped:
    picture = YoloPicture(split, path, label_path(path))
    try:
        within(path, root, picture.name)
        if picture.label.exists():
            within(picture.label, root, picture.label.name)
    except UsageError as error:
        return Skipped(picture.name, str(error))
    return picture


def _base(file: Path, data: DataYaml) -> Path:
    """The folder that ``path`` names, below that of the file."""
    if not can_be_a_name(data.path):
        raise UsageError(f"{file}: path: expected a folder, found {data.path[:40]!r}… of {len(data.path)} characters")
    base = file.parent / data.path
    if not base.resolve().is_relative_to(file.parent.resolve()):
        raise UsageError(
            f"{file}: path: expected a folder below that of the file, found {data.path}; leave path out, and the "
            "folder of the file is taken"
        )
    # As Ultralytics writes it: the name of the data set's own folder, looked up beside it.
    return base if base.is_dir() or Path(data.path).name != file.parent.resolve().name else file.parent


def _split_place(file: Path, base: Path, split: str, name: str) -> Path:
    root = file.parent
    inner = name.removeprefix("../") if name.startswith("../") else name
    try:
        check_below(inner)
        place = base / inner
        if place.is_dir() or place.is_file():
            return within(place, root, name)
    except UsageError as error:
        raise UsageError(f"{file}: {split}: {error}") from None
    if inner != name and (base / name).exists():
        raise UsageError(
            f"{file}: {split}: expected {inner} below the folder of the file, found only {name} outside it"
        )
    raise UsageError(f"{file}: {split}: expected a folder of pictures, or a list of them, found no {place}")


def _listed(file: Path, base: Path, root: Path, split: str) -> Iterator[Path | Skipped]:
    """Pictures of a list file: below its own folder, else below the base, else below the folder of ``data.yaml``."""
    if file.suffix.lower() != ".txt":
        raise UsageError(f"{file}: expected a folder of pictures, or a list of them (.txt), found another file")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: expected UTF-8 text, one picture a line, found {error}") from None
    for number, line in enumerate(lines, start=1):
        name = line.strip().replace("\\", "/").removeprefix("./")
        if not name:
            continue
        where = f"{file}:{number}"
        try:
            check_below(name)
        except UsageError as error:
            yield Skipped(f"{split}/{Path(name).name}", str(error), where)
            continue
        places = [folder / name for folder in (file.parent, base, root)]
        # CVAT writes the folder of the export in front.
        places += [root / rest for rest in (name.partition("/")[2],) if rest]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            yield Skipped(f"{split}/{Path(name).name}", f"no picture {name}: looked for {places[0]}", where)
        else:
            yield place


def label_path(picture: Path) -> Path:
    """``…/images/…/NAME.png`` -> ``…/labels/…/NAME.txt``: the last folder called ``images`` is exchanged."""
    parts = list(picture.with_suffix(".txt").parts)
    last = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if last is not None:
        parts[last] = "labels"
    return Path(*parts)
