"""The one decoder of pictures: frames, the pictures of labels, and masks. A file becomes pixels, or a short reason."""

from __future__ import annotations

import io
import logging
import math
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs
import numpy as np
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError
from aop_pose.io.clinic.dicom import read_dicom
from aop_pose.io.clinic.study import ZIP_SUFFIX, holds_dicom, opened
from aop_pose.io.clinic.video import ALL, VIDEO_SUFFIXES, Wanted, read_video
from aop_pose.io.discover import METAIMAGE_SUFFIXES, Entry
from aop_pose.io.files import check_file, printable, refusals
from aop_pose.io.intact import Png, check_jpeg, check_png, check_zlib, mapped
from aop_pose.io.pixels import MAX_PIXELS, check_size, check_unpacked, over_black, rgb_to_gray, to_gray8
from aop_pose.io.volume_files.metaimage import read_metaimage

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
"""The only ones of Pillow's plugins that are ever started."""

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 262
_BITS_TAG, _COMPRESSION_TAG = 258, 259
_WHITE_IS_ZERO = 0
# Compression of a TIFF whose strips and tiles end with a checksum: Adobe's deflate, and the older one.
_DEFLATE = (8, 32946)
_PIECES = ((273, 279), (324, 325))
# Dots per metre are whole numbers in a PNG: nearly equal densities are equal ones.
_ASPECT_ROUNDING = 1e-3
# Bytes that a pixel takes while it is decoded: in Pillow, and where it is turned into gray. A GIF holds the picture
# before and the one after beside its colours.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2, "I": 8, "F": 8, "CMYK": 8}
_GIF_BYTES, _KEYED_BYTES, _DEEP_BYTES = 8, 8, 12
# Pillow keeps the high byte of 16-bit colour. Read with the bytes swapped, it keeps the low one.
_NATIVE = "B" if sys.byteorder == "little" else "L"
_SWAPPED = {
    f"{colours};16{order}": f"{colours};16{'L' if order == 'B' else 'B' if order == 'L' else _NATIVE}"
    for colours in ("RGB", "RGBX", "RGBA")
    for order in "BLN"
}
_GRAY_AND_ALPHA = "LA;16B"
_COLOURS = ("RGB", "RGBA", "RGBX", "CMYK", "LA", "YCbCr")

# Pillow logs its complaints; without a handler Python would print them on stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

T = TypeVar("T")


@attrs.frozen(eq=False)
class _Page:
    """One decoded page, as it is stored."""

    image: ImageFile.ImageFile
    deep: np.ndarray | None
    """uint16 (H, W, channels) of 16-bit colour; None for everything else."""
    orientation: int
    """The turn that is still to be made, as EXIF counts."""
    aspect: float | None
    """Height of a pixel over its width, of the page as it is seen."""
    depth: int
    """Bits of a sample in a PNG; 8 elsewhere."""


def read_pictures(path: Path) -> Iterator[tuple[np.ndarray, float | None]]:
    """Yield (uint8 gray (H, W), height of a pixel over its width or None) for each page or animation frame.

    Colour becomes luma (ITU-R BT.601), what is transparent is laid over black, deeper gray and colour follow
    ``to_gray8`` frame by frame, EXIF orientation is applied wherever in the file it stands. The aspect comes from the
    resolution tags, whose ratio can be trusted though their millimetres cannot. Of a multi-picture JPEG (MPO)
    only the first is a frame.

    Raises UnreadableError with a short reason; the pages in front of a damaged one have been yielded by then.
    """
    for page in _pages(path):
        gray = _guarded(partial(_gray, page))
        yield np.ascontiguousarray(_turned(gray, page.orientation)), page.aspect


def read_values(path: Path) -> np.ndarray:
    """The numbers that the first page of a picture stores, (H, W) as it is seen: what a mask is made of.

    Palette pictures give their indices, colour pictures with equal channels the value of these. UnreadableError where
    the channels differ, where a value that is not 0 is transparent, where there are several pages, and for everything
    that is no picture.
    """
    with refusals():
        check_file(path)
        with closing(_pages(path)) as pages:
            page = next(pages)
            if page.image.format != "MPO" and getattr(page.image, "n_frames", 1) > 1:
                raise UnreadableError(f"expected a mask of one page, found {getattr(page.image, 'n_frames', 1)}")
            return _turned(_guarded(partial(_stored, page)), page.orientation)


@attrs.frozen
class PictureHeader:
    """Facts of a picture before its pixels are decoded."""

    width: int
    """Pixels, as the picture is seen."""
    height: int
    format: str
    """One of ``FORMATS``."""
    plain: bool
    """True for a still in 8-bit gray, neither turned nor transparent: every program shows the same pixels."""
    shown: bool
    """The same in gray or in colour: every program shows the same picture, though it may make other grays of it."""


def read_header(path: Path) -> PictureHeader:
    """Size and kind of a picture; UnreadableError where it is none, or has too many pixels."""
    with refusals():
        check_file(path)
        with open(path, "rb") as stream:
            image = _guarded(partial(_identified, stream))
            turned = _guarded(lambda: _turned_size(image, stream))
            width, height = image.size
            check_size(width, height)
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            shown = kind in ("PNG", "JPEG", "BMP") and not turned and "transparency" not in image.info
            shown = shown and image.mode in ("L", "RGB") and getattr(image, "n_frames", 1) == 1
            plain = shown and image.mode == "L"
            return PictureHeader(height if turned >= 5 else width, width if turned >= 5 else height, kind, plain, shown)


def _turned_size(image: ImageFile.ImageFile, stream: BinaryIO) -> int:
    """The orientation that is still to be done, or 0; the pixels are decoded only where it may stand behind them."""
    if image.format == "PNG":
        with mapped(stream) as data:
            if not check_png(data, checksums=False).says_turned:
                return 0
        check_size(*image.size)
        image.load()
    # Pillow gives the size of a TIFF as it is seen.
    turned = 1 if image.format == "TIFF" else _orientation(image)
    return turned if turned in range(2, 9) else 0


def _pages(path: Path) -> Generator[_Page, None, None]:
    file_bytes = os.stat(path).st_size
    with open(path, "rb") as stream:
        # Not by name: Pillow would map the file into memory, and then scrambles TIFFs with an orientation.
        image = _guarded(partial(_identified, stream))
        png = Png()
        if image.format == "PNG":
            with mapped(stream) as data:
                png = check_png(data)
            if png.stored:
                image = _guarded(partial(_identified, io.BytesIO(png.stored)))
        unpacked = number = 0
        while True:
            held = _pixel_bytes(image)
            check_size(*image.size, held)
            unpacked += image.width * image.height * held
            check_unpacked(unpacked, file_bytes)
            if number >= png.whole_frames:
                raise UnreadableError(png.damage)
            yield _guarded(partial(_page, image, stream, number, png.depth))
            number += 1
            if image.format == "MPO" or not _guarded(partial(_turn_to, image, number, stream)):
                break
        if png.damage:
            raise UnreadableError(png.damage)


def _identified(stream: BinaryIO) -> ImageFile.ImageFile:
    """Pillow's own opening: a program that has imported Ultralytics has another, which looks for a package to install
    where a file is no picture."""
    found = getattr(sys.modules.get("ultralytics.utils.patches"), "_image_open", Image.open)(stream, formats=FORMATS)
    assert isinstance(found, ImageFile.ImageFile)
    return found


def _guarded(step: Callable[[], T]) -> T:
    """Run a step of the decoder: no warnings, and every complaint becomes an UnreadableError."""
    with refusals():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return step()
        except Image.DecompressionBombError:
            raise UnreadableError(f"too large: at most {MAX_PIXELS // 1_000_000} megapixels are read") from None
        except UnidentifiedImageError:
            raise UnreadableError("not a PNG, JPEG, TIFF, BMP or GIF picture, or damaged at its beginning") from None


def _page(image: ImageFile.ImageFile, stream: BinaryIO, number: int, depth: int) -> _Page:
    with mapped(stream) as data:
        if image.format in ("JPEG", "MPO"):
            # Every scan of a progressive picture is a pass over all of its pixels.
            check_unpacked(image.width * image.height * check_jpeg(data), len(data))
        elif image.format == "TIFF":
            _check_strips(image, data)
    raw = _raw_mode(image)
    # Pillow turns a TIFF by itself and drops the tag: what is left after loading is still to be done.
    before = _orientation(image) if image.format == "TIFF" else 1
    # First of all: getexif() of a PNG decodes its pixels too, and hides what goes wrong.
    image.load()
    left = _orientation(image)
    aspect = _aspect(image)
    if aspect is not None and max(before, left) >= 5:
        aspect = 1 / aspect
    deep = _deep(image, stream, number, raw) if raw in _SWAPPED or raw == _GRAY_AND_ALPHA else None
    if deep is None and image.mode in _COLOURS and _bits(image, depth) > 8:
        # Pillow would give the high bytes alone: a nearly black picture where the data have 12 bits.
        raise UnreadableError("16-bit colour that is animated, planar, premultiplied or CMYK is not supported")
    return _Page(image, deep, left, aspect, depth)


def _bits(image: ImageFile.ImageFile, depth: int) -> int:
    if image.format != "TIFF":
        return depth
    tags: Mapping[int, Any] = image.tag_v2  # type: ignore[attr-defined]
    return max(_all(tags.get(_BITS_TAG)), default=1)


def _pixel_bytes(image: ImageFile.ImageFile) -> int:
    raw = _raw_mode(image)
    if raw in _SWAPPED or raw == _GRAY_AND_ALPHA:
        return _DEEP_BYTES
    if image.mode == "RGB" and "transparency" in image.info:
        return _KEYED_BYTES
    return _GIF_BYTES if image.format == "GIF" else _PIXEL_BYTES.get(image.mode, 4)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """Layout of the samples of a page in its file, in Pillow's words; empty where its pieces differ."""
    arguments = {tile.args if isinstance(tile.args, str) else (*(tile.args or ()), "")[0] for tile in image.tile}
    return str(arguments.pop()) if len(arguments) == 1 else ""


def _deep(image: ImageFile.ImageFile, stream: BinaryIO, number: int, raw: str) -> np.ndarray | None:
    """All 16 bits of a page whose high bytes have been decoded."""
    if image.format == "PNG" and getattr(image, "is_animated", False):
        return None
    again = _identified(stream)
    again.seek(number)
    # Gray and alpha of two bytes each fill the four bytes of a pixel.
    low = "RGBA" if raw == _GRAY_AND_ALPHA else _SWAPPED[raw]
    again.tile = [
        tile._replace(args=(low, *tile.args[1:]) if isinstance(tile.args, tuple) else low) for tile in again.tile
    ]
    again.load()
    if raw == _GRAY_AND_ALPHA:
        return np.asarray(again).view(">u2").astype(np.uint16)
    values = np.asarray(image).astype(np.uint16)
    values <<= 8
    values |= np.asarray(again)
    return values


def _check_strips(image: ImageFile.ImageFile, data: memoryview) -> None:
    """The checksums of a TIFF packed with deflate; no other kind has any."""
    tags: Mapping[int, Any] = image.tag_v2  # type: ignore[attr-defined]
    if tags.get(_COMPRESSION_TAG) not in _DEFLATE:
        return
    most = image.width * image.height * _DEEP_BYTES + (1 << 20)
    for offsets, lengths in _PIECES:
        for offset, length in zip(_all(tags.get(offsets)), _all(tags.get(lengths)), strict=True):
            check_zlib([data[offset : offset + length]], 0, most)


def _all(value: int | Sequence[int] | None) -> Sequence[int]:
    return [] if value is None else [value] if isinstance(value, int) else value


def _turn_to(image: ImageFile.ImageFile, page: int, stream: BinaryIO) -> bool:
    """Go to a page; False where there is none. A file cut between two pages is truncated, not finished."""
    try:
        image.seek(page)
    except EOFError:
        if page < getattr(image, "n_frames", 1) or (image.format == "GIF" and not _ends_with_trailer(stream)):
            raise
        return False
    return True


def _ends_with_trailer(stream: BinaryIO) -> bool:
    with mapped(stream) as data:
        return bytes(data[-4096:]).rstrip(b"\0").endswith(b";")


def _orientation(image: ImageFile.ImageFile) -> int:
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


def _aspect(image: ImageFile.ImageFile) -> float | None:
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


def _gray(page: _Page) -> np.ndarray:
    image = page.image
    hidden = _hidden(page)
    if page.deep is not None:
        gray = to_gray8(rgb_to_gray(page.deep[..., :3]) if page.deep.shape[-1] > 2 else page.deep[..., 0])
        if page.deep.shape[-1] in (2, 4):
            gray = over_black(gray, page.deep[..., -1])
    elif image.mode.startswith("I") or image.mode == "F":
        gray = to_gray8(np.asarray(image))
        # Pillow inverts 8-bit TIFFs whose zero is white, but not deeper ones.
        if image.format == "TIFF" and image.getexif().get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
            gray = 255 - gray
    elif image.mode == "LAB":
        gray = np.array(image.getchannel("L"))
    elif image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or ("transparency" in image.info and hidden is None):
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        # Pillow's product, since at the size limit a product of arrays would take half a gigabyte more.
        gray = np.array(ImageChops.multiply(rgba.convert("L"), rgba.getchannel("A")))
    else:
        gray = np.array((image.convert("RGB") if image.mode == "CMYK" else image).convert("L"))
    if hidden is not None:
        gray[hidden] = 0
    return gray


def _hidden(page: _Page) -> np.ndarray | None:
    """Pixels (H, W) of the one gray value or 16-bit colour that a PNG calls transparent; None where it names none."""
    image, key = page.image, page.image.info.get("transparency")
    if page.deep is not None and isinstance(key, tuple):
        return (page.deep[..., :3] == np.array(key)).all(axis=-1)
    if not isinstance(key, int) or image.mode not in ("1", "L", "I", "I;16"):
        return None
    if image.mode == "L" and page.depth < 8:
        # The file counts in its own levels, Pillow has stretched them to 0..255.
        key *= 255 // ((1 << page.depth) - 1)
    values = np.asarray(image)
    return values == bool(key) if image.mode == "1" else values == key


def _stored(page: _Page) -> np.ndarray:
    image = page.image
    values = np.asarray(image) if page.deep is None else page.deep
    hidden = _hidden(page)
    if image.mode not in ("1", "L", "P", "PA", "LA", "RGB", "RGBA", "I", "F") and not image.mode.startswith("I;16"):
        raise UnreadableError(f"expected a mask in gray or of a palette, found a picture of kind {image.mode}")
    if image.mode in ("LA", "PA", "RGBA"):
        hidden = values[..., -1] == 0
        values = values[..., :-1]
    elif image.mode == "RGB" and hidden is None and isinstance(image.info.get("transparency"), tuple):
        hidden = (values == np.array(image.info["transparency"])).all(axis=-1)
    if values.ndim == 3:
        if not (values == values[..., :1]).all():
            raise UnreadableError("expected a mask of one channel, found channels that differ")
        values = values[..., 0]
    if hidden is not None and values[hidden].any():
        raise UnreadableError(
            "values other than 0 are transparent, so that programs differ about them; store it opaque"
        )
    return values


def read_frames(entry: Entry, wanted: Wanted = ALL) -> Generator[Frame, None, None]:
    """Yield the wanted frames of a file in order: one for a still, one per page, animation frame or plane of a cine.

    Width, height and every coordinate are those of the picture as it is seen, after EXIF orientation.
    ``spacing`` comes from a MetaImage (its default of 1, 1 counts as unknown) or from the region of a DICOM file;
    resolution tags of other formats give ``aspect``.

    Raises UnreadableError, also after frames have been yielded where a later one is damaged.
    """
    with refusals():
        check_file(entry.path)
        suffix = entry.path.suffix.lower()
        if holds_dicom(entry) or suffix == ZIP_SUFFIX:
            with opened(entry) as stream:
                yield from read_dicom(stream, entry.source, entry.sop, wanted)
        elif suffix in VIDEO_SUFFIXES:
            yield from read_video(entry.path, entry.source, wanted)
        elif suffix in METAIMAGE_SUFFIXES:
            for index, (pixels, spacing) in enumerate(read_metaimage(entry.path)):
                if wanted(index, None):
                    yield Frame(pixels, spacing=spacing, source=entry.source, index=index)
        else:
            for index, (pixels, aspect) in enumerate(read_pictures(entry.path)):
                if wanted(index, None):
                    yield Frame(pixels, aspect=aspect, source=entry.source, index=index)


def read_frame(path: str | Path) -> Frame:
    """The first frame of a file, whose ``source`` is the file name; raises UnreadableError."""
    path = Path(path)
    frames = read_frames(Entry(path, printable(path.name)))
    try:
        return next(frames)
    finally:
        frames.close()
