"""A labelled frame, and where its picture is."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import attrs
import numpy as np

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.keypoints import Keypoints

_METAIMAGE = {".mha", ".mhd"}
# Formats that every reader opens alike; the rest is decoded here once and stored as PNG.
_PLAIN = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp"}
_ORIENTATION = 0x0112


@attrs.frozen(eq=False)
class LabelledFrame:
    """A picture on disk with the points a label file gives it."""

    filename: str
    """As the label file names it, with forward slashes."""
    path: Path
    width: int
    height: int
    keypoints: Keypoints


def find_picture(data: Path, filename: str) -> Path:
    """``data/filename``, else ``data/images/filename``; UsageError names both places."""
    places = [Path(data) / filename, Path(data) / "images" / filename]
    for place in places:
        if place.is_file():
            return place
    raise UsageError(f"no picture {filename}: looked for {places[0]} and {places[1]}")


def resolve(file: str | Path, data: Path) -> Path:
    """A label file or list as given, else below ``data``; UsageError names both places."""
    given, below = Path(file), Path(data) / file
    for place in (given, below):
        if place.is_file():
            return place
    raise UsageError(f"no file {given}: looked there and at {below}")


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the header alone; UnreadableError where there is none."""
    if path.suffix.lower() in _METAIMAGE:
        return _metaimage_size(path)
    from PIL import Image

    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if picture.getexif().get(_ORIENTATION, 1) >= 5:
                width, height = height, width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableError(f"{path}: expected a picture, found {_one_line(error)}") from error
    return width, height


def _metaimage_size(path: Path) -> tuple[int, int]:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise UnreadableError(f"{path}: expected a MetaImage, found {_one_line(error)}") from error
    width, height = reader.GetSize()[:2]
    return int(width), int(height)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def unique_stems(filenames: Iterable[str]) -> list[str]:
    """One file stem per name, all different on any file system, folders folded in: ``a/1.png`` -> ``a__1``.

    A stem that is taken (another suffix, another case) gets ``__2``, ``__3``, … in the order of the names.
    """
    taken: set[str] = set()
    stems = []
    for filename in filenames:
        parts = [part for part in PurePosixPath(filename).with_suffix("").parts if part not in ("/", "..", ".")]
        wanted = stem = "__".join(parts)
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{wanted}__{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def place_picture(source: Path, folder: Path, stem: str) -> Path:
    """Put a picture into ``folder`` under a new stem and return where it stands.

    An 8-bit gray PNG, JPEG or BMP is copied byte for byte. Everything else (colour, 16 bit, MetaImage, a turned
    JPEG) is decoded as the predictor decodes it and stored as PNG, so that other programs see the same gray values.
    """
    suffix = _plain_suffix(source)
    if suffix is not None:
        destination = folder / f"{stem}{suffix}"
        shutil.copyfile(source, destination)
        return destination
    from aop_pose.io.read import read_frame

    destination = folder / f"{stem}.png"
    write_gray(destination, read_frame(source).pixels)
    return destination


def write_gray(path: Path, pixels: np.ndarray) -> None:
    """Store uint8 (H, W) as PNG."""
    from PIL import Image

    Image.fromarray(pixels).save(path)


def _plain_suffix(path: Path) -> str | None:
    if path.suffix.lower() in _METAIMAGE:
        return None
    from PIL import Image

    with Image.open(path) as picture:
        turned = picture.getexif().get(_ORIENTATION, 1) != 1
        if picture.mode != "L" or turned:
            return None
        return _PLAIN.get(picture.format or "")
