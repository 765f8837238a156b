"""One entry becomes frames, or one short reason why not."""

from __future__ import annotations

import logging
import math
import mmap
import os
import stat
import warnings
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError
from aop_pose.io.discover import METAIMAGE_SUFFIXES, Entry
from aop_pose.io.files import printable
from aop_pose.io.pixels import MAX_PIXELS, check_size, to_gray8
from aop_pose.io.volume_files.metaimage import read_metaimage

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 262
_WHITE_IS_ZERO = 0
# Dots per metre are whole numbers in a PNG: nearly equal densities are equal ones.
_ASPECT_ROUNDING = 1e-3

# Pillow logs its complaints; without a handler Python would print them on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

T = TypeVar("T")


def read_pictures(path: Path) -> Iterator[tuple[np.ndarray, float | None]]:
    """Yield (uint8 gray (H, W), height of a pixel over its width or None) for each page or animation frame.

    Colour becomes luma (ITU-R BT.601), alpha is laid over black, 16-bit and float gray follow ``to_gray8``
    frame by frame (16-bit colour keeps its high byte), EXIF orientation is applied. The aspect comes from the
    resolution tags, whose ratio can be trusted though their millimetres cannot. Of a multi-picture JPEG (MPO)
    only the first is a frame.

    Raises UnreadableError with a short reason; the pages in front of a damaged one have been yielded by then.
    """
    with open(path, "rb") as stream:
        # Not by name: Pillow would map the file into memory, and then scrambles TIFFs with an orientation.
        image = _guarded(lambda: Image.open(stream, formats=FORMATS))
        number = 0
        while True:
            check_size(*image.size)
            yield _guarded(lambda: _page(image, stream))
            number += 1
            if image.format == "MPO" or not _guarded(partial(_turn_to, image, number, stream)):
                return


def _guarded(step: Callable[[], T]) -> T:
    """Run a step of the decoder: no warnings, and every complaint becomes an UnreadableError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return step()
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError(f"too large: at most {MAX_PIXELS // 1_000_000} megapixels are read") from None
    except UnidentifiedImageError:
        raise UnreadableError("not a PNG, JPEG, TIFF, BMP or GIF picture, or damaged at its beginning") from None
    except MemoryError:
        raise UnreadableError("too large for the memory of this machine") from None
    # A decoder that is fed damaged bytes raises nearly anything (struct.error, KeyError, SyntaxError, ...).
    except Exception as error:
        if "truncated" in str(error).lower() or isinstance(error, EOFError):
            raise UnreadableError("truncated: the file ends before its picture does") from None
        said = " ".join(str(error).split())[:100] or type(error).__name__
        raise UnreadableError(f"damaged: {said}") from None


def _page(image: Image.Image, stream: BinaryIO) -> tuple[np.ndarray, float | None]:
    if image.format in ("JPEG", "MPO"):
        _check_jpeg_end(stream)
    aspect = _aspect(image)
    if aspect is not None and _orientation(image) >= 5:
        aspect = 1 / aspect
    image.load()
    # Pillow turns a TIFF by itself and drops the tag: what is left after loading is still to be done.
    return np.ascontiguousarray(_turned(_gray(image), _orientation(image))), aspect


def _turn_to(image: Image.Image, page: int, stream: BinaryIO) -> bool:
    """Go to a page; False where there is none. A file cut between two pages is truncated, not finished."""
    try:
        image.seek(page)
    except EOFError:
        if page < getattr(image, "n_frames", 1) or (image.format == "GIF" and not _ends_with_trailer(stream)):
            raise
        return False
    return True


def _check_jpeg_end(stream: BinaryIO) -> None:
    """libjpeg paints what is missing gray where the tail of a file was zeroed, so the end marker must be there."""
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            raise UnreadableError("truncated: the JPEG has no end marker")


def _ends_with_trailer(stream: BinaryIO) -> bool:
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data[-4096:].rstrip(b"\0").endswith(b";")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    # A damaged EXIF block says nothing of the picture, which may be whole.
    except Exception:
        return 1


def _turned(gray: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF 2.32, tag 0x0112: where the 0th row and column of the stored picture are seen."""
    if orientation in (5, 6, 7, 8):
        gray = gray.T
    if orientation in (2, 3, 6, 7):
        gray = gray[:, ::-1]
    if orientation in (3, 4, 7, 8):
        gray = gray[::-1]
    return gray


def _aspect(image: Image.Image) -> float | None:
    """Height of a pixel over its width: pixels per length in x over pixels per length in y."""
    info = image.info
    densities = info.get("aspect") or info.get("jfif_density") or info.get("dpi") or info.get("resolution") or ()
    try:
        x, y = (float(value) for value in densities)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < x < float("inf") and 0 < y < float("inf")):
        return None
    return 1.0 if math.isclose(x, y, rel_tol=_ASPECT_ROUNDING) else x / y


def _gray(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        gray = to_gray8(np.asarray(image))
        # Pillow inverts 8-bit TIFFs whose zero is white, but not deeper ones.
        inverted = image.format == "TIFF" and image.getexif().get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO
        return 255 - gray if inverted else gray
    if image.mode == "LAB":
        return np.array(image.getchannel("L"))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        # Pillow's product, since at the size limit a product of arrays would take half a gigabyte more.
        return np.array(ImageChops.multiply(rgba.convert("L"), rgba.getchannel("A")))
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return np.array(image.convert("L"))


def read_frames(entry: Entry) -> Generator[Frame, None, None]:
    """Yield the frames of a file in order: one for a still, one per page, animation frame or plane of a cine.

    Width, height and every coordinate are those of the picture as it is seen, after EXIF orientation.
    ``spacing`` comes from a MetaImage only (its default of 1, 1 counts as unknown); resolution tags of other
    formats give ``aspect``.

    Raises UnreadableError, also after frames have been yielded where a later one is damaged.
    """
    try:
        check_file(entry.path)
        if entry.path.suffix.lower() in METAIMAGE_SUFFIXES:
            for index, (pixels, spacing) in enumerate(read_metaimage(entry.path)):
                yield Frame(pixels, spacing=spacing, source=entry.source, index=index)
        else:
            for index, (pixels, aspect) in enumerate(read_pictures(entry.path)):
                yield Frame(pixels, aspect=aspect, source=entry.source, index=index)
    except OSError as error:
        raise UnreadableError(os_reason(error)) from None


def read_frame(path: str | Path) -> Frame:
    """The first frame of a file, whose ``source`` is the file name; raises UnreadableError."""
    path = Path(path)
    frames = read_frames(Entry(path, printable(path.name)))
    try:
        return next(frames)
    finally:
        frames.close()


def check_file(path: Path, wanted: str = "picture") -> None:
    """Refuse what must not be opened: a folder, or a pipe waited on for ever; OSError where it is gone."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        with os.scandir(path):
            raise UnreadableError(f"a folder, not a {wanted}")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("not a regular file")
    if status.st_size == 0:
        raise UnreadableError("empty file: 0 bytes")


def os_reason(error: OSError) -> str:
    """Why the system does not give a file, in a few words."""
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "no such file: it was removed, or a link leads nowhere"
    return f"cannot be read: {error.strerror or error}"
