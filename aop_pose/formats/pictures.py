"""Pictures of a data set: their size without decoding them, and a copy that every program opens alike."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from aop_pose.errors import UnreadableError
from aop_pose.io import images
from aop_pose.io.discover import METAIMAGE_SUFFIXES
from aop_pose.io.files import check_file, refusals
from aop_pose.io.pixels import check_size, rgb_to_gray
from aop_pose.io.volume_files import metaimage
from aop_pose.io.volumes import open_volume

VIDEO_SUFFIXES = frozenset({".avi", ".mp4"})
# Formats that every reader opens alike; the rest is decoded here once and stored as PNG.
_PLAIN = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp"}
_ENDINGS = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "BMP": (".bmp",)}


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the header alone; UnreadableError where there is none, or it says too many."""
    try:
        with refusals():
            if path.suffix.lower() in VIDEO_SUFFIXES:
                width, height = _video_size(path)
            elif path.suffix.lower() in METAIMAGE_SUFFIXES:
                check_file(path)
                stated = metaimage.read_header(path)
                width, height = stated.width, stated.height
            else:
                found = images.read_header(path)
                width, height = found.width, found.height
            check_size(width, height)
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from error
    return width, height


def volume_shape(path: Path) -> tuple[int, int, int]:
    """Voxels along i, j, k from the header of a volume; UnreadableError where it fails."""
    try:
        return open_volume(path).shape
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from error


def read_gray(path: Path, index: int = 0) -> np.ndarray:
    """uint8 (H, W) as the predictor sees it, of a still or a video; UnreadableError where it fails."""
    try:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            with refusals():
                return _video_frame(path, index)
        return images.read_frame(path).pixels
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from error


def _video_size(path: Path) -> tuple[int, int]:
    import cv2

    check_file(path, "video")
    capture = cv2.VideoCapture(str(path))
    try:
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    finally:
        capture.release()
    if not (width and height):
        raise UnreadableError("expected a video, found a file that cannot be read")
    return int(width), int(height)


def _video_frame(path: Path, index: int) -> np.ndarray:
    import cv2

    check_size(*_video_size(path))
    capture = cv2.VideoCapture(str(path))
    try:
        # Frame by frame: seeking lands on a neighbouring key frame in some codecs, and the mask would not fit.
        for _ in range(index):
            if not capture.grab():
                break
        found, pixels = capture.read()
    finally:
        capture.release()
    if not found:
        raise UnreadableError(f"expected a video with frame {index}, found none")
    return pixels if pixels.ndim == 2 else rgb_to_gray(pixels[..., ::-1])


def place_picture(source: Path, folder: Path, stem: str, index: int = 0) -> Path:
    """Put a picture into ``folder`` under a new stem and return where it stands.

    An 8-bit gray PNG, JPEG or BMP is copied byte for byte. Everything else (colour, 16 bit, MetaImage, a
    turned or transparent picture, frame ``index`` of a video) is decoded as the predictor decodes it and stored as
    PNG, so that other programs see the same gray values. UnreadableError where it is damaged.
    """
    pixels = read_gray(source, index)
    kind = _kind_of(source, plain=True)
    (folder / stem).parent.mkdir(parents=True, exist_ok=True)
    if kind is None:
        destination = folder / f"{stem}.png"
        write_gray(destination, pixels)
    else:
        kept = source.suffix if source.suffix.lower() in _ENDINGS[kind] else _PLAIN[kind]
        destination = folder / f"{stem}{kept}"
        shutil.copyfile(source, destination)
    return destination


def place_under_name(source: Path, folder: Path, name: str, index: int, taken: set[str]) -> str:
    """Put a picture into ``folder`` under its own name, folders included, and return it.

    A PNG, JPEG or BMP that every program shows alike is copied byte for byte; everything else is stored as PNG, and its
    name then ends so. ``taken``: names that stand there, in small letters, to which this one is added; of a name that
    is taken the end is made another one. UnreadableError where it is damaged.
    """
    pixels = read_gray(source, index)
    kind = _kind_of(source, plain=False)
    below, wanted = PurePosixPath(name), name
    if kind is None or below.suffix.lower() not in _ENDINGS[kind]:
        frame = f"_{index:04d}" if index else ""
        wanted = str(below.with_name(f"{below.stem}{frame}{_PLAIN[kind or 'PNG']}"))
    number = 1
    while wanted.casefold() in taken:
        number += 1
        wanted = str(PurePosixPath(wanted).with_name(f"{below.stem}__{number}{PurePosixPath(wanted).suffix}"))
    taken.add(wanted.casefold())
    target = folder / wanted
    target.parent.mkdir(parents=True, exist_ok=True)
    if kind is None:
        write_gray(target, pixels)
    else:
        shutil.copyfile(source, target)
    return wanted


def write_gray(path: Path, pixels: np.ndarray) -> None:
    """Store uint8 (H, W) as PNG."""
    Image.fromarray(pixels).save(path)


def unique_stems(filenames: Iterable[str]) -> list[str]:
    """One file stem per name, all different on any file system.

    The bare stem where no other name shares it; else the folders are folded in (``a/1.png`` -> ``a__1``), and
    what is still taken gets ``__2``, ``__3``, … in the order of the names.
    """
    paths = [PurePosixPath(filename).with_suffix("") for filename in filenames]
    bare = [path.name.casefold() for path in paths]
    shared = {name for name in bare if bare.count(name) > 1} if len(set(bare)) < len(bare) else set()
    taken = set(bare) - shared
    stems = []
    for path in paths:
        if path.name.casefold() not in shared:
            stems.append(path.name)
            continue
        wanted = stem = "__".join(part for part in path.parts if part not in ("/", "..", "."))
        number = 1
        while stem.casefold() in taken:
            number += 1
            stem = f"{wanted}__{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def _kind_of(path: Path, plain: bool) -> str | None:
    """PNG, JPEG or BMP where every program shows the picture alike (``plain``: with the same grays); else None."""
    if path.suffix.lower() in METAIMAGE_SUFFIXES | VIDEO_SUFFIXES:
        return None
    header = images.read_header(path)
    return header.format if (header.plain if plain else header.shown) else None


def read_mask(path: Path) -> np.ndarray:
    """Raw values, uint8 (H, W), as the picture is seen; palette pictures give their indices.

    UnreadableError where it cannot be read, its channels differ, or a value lies outside 0 to 255.
    """
    if path.suffix.lower() in METAIMAGE_SUFFIXES:
        return read_gray(path)
    try:
        values = images.read_values(path)
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from error
    if not ((values >= 0) & (values <= 255) & (values == np.rint(values))).all():
        raise UnreadableError(f"{path}: expected a mask of whole values 0-255, found {values.min()} to {values.max()}")
    return values.astype(np.uint8)
