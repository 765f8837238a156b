"""What a picture may say of itself: turned, transparent, deep, of a palette; the same for frames, labels and masks."""

import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aop_pose.errors import UnreadableError
from aop_pose.formats.pictures import picture_size, place_picture, read_mask
from aop_pose.io.images import FORMATS, read_frame
from tests.picture_files import GRAY, encoded, refusal, saved

TURNED = Image.Exif()
TURNED[0x0112] = 6
MASK = np.zeros((24, 31), np.uint8)
MASK[2:8, 3:20], MASK[10:20, 5:9] = 1, 2


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: np.ndarray, depth: int, colour: int, *, before: bytes = b"", behind: bytes = b"") -> bytes:
    """A PNG of samples (H, W) or (H, W, channels), each row without a filter."""
    height, width = rows.shape[:2]
    if depth == 16:
        lines = [row.astype(">u2").tobytes() for row in rows]
    else:
        lines = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - depth :]).tobytes() for row in rows]
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + before
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
        + behind
        + chunk(b"IEND")
    )


def text_profile(exif: bytes) -> bytes:
    """EXIF as ImageMagick stores it in a PNG."""
    return b"Raw profile type exif\0\0" + zlib.compress(f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode())


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("kind", ["eXIf", "zTXt"])
def test_a_png_is_turned_wherever_in_the_file_that_stands(tmp_path: Path, where: str, kind: str) -> None:
    exif = TURNED.tobytes()
    said = chunk(b"eXIf", exif[6:]) if kind == "eXIf" else chunk(b"zTXt", text_profile(exif))
    path = tmp_path / "a.png"
    for values, read in ((GRAY, lambda path: read_frame(path).pixels), (MASK, read_mask)):
        path.write_bytes(png(values, 8, 0, **{where: said}))
        assert np.array_equal(read(path), values.T[:, ::-1])
        assert picture_size(path) == (24, 31)
    copy = place_picture(path, tmp_path, "copy")
    with Image.open(copy) as written:
        assert np.array_equal(np.asarray(written), MASK.T[:, ::-1])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_turned_pictures_and_masks_have_the_size_that_is_seen(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / f"a.{kind.lower()}", Image.fromarray(MASK), exif=TURNED)
    assert picture_size(path) == (24, 31)
    assert read_frame(path).pixels.shape == (31, 24)
    if kind != "JPEG":
        assert np.array_equal(read_mask(path), MASK.T[:, ::-1])


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_gray_value_is_black_at_every_depth(tmp_path: Path, depth: int) -> None:
    levels = np.arange(24 * 31).reshape(24, 31) % (1 << depth)
    key = 500 if depth == 16 else 1
    path = tmp_path / "a.png"
    rows = levels.astype(np.uint16 if depth == 16 else np.uint8)
    path.write_bytes(png(rows, depth, 0))
    opaque = read_frame(path).pixels
    path.write_bytes(png(rows, depth, 0, before=chunk(b"tRNS", struct.pack(">H", key))))
    assert np.array_equal(read_frame(path).pixels, np.where(levels == key, 0, opaque))
    assert opaque[levels == key].max() > 0
    copy = place_picture(path, tmp_path, "copy")
    with Image.open(copy) as written:
        assert "transparency" not in written.info
    assert np.array_equal(read_frame(copy).pixels, read_frame(path).pixels)


def test_a_mask_with_a_transparent_background_is_read_and_one_with_hidden_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(MASK, 8, 0, before=chunk(b"tRNS", b"\0\0")))
    assert np.array_equal(read_mask(path), MASK)
    hiding = [
        png(MASK, 8, 0, before=chunk(b"tRNS", b"\0\1")),
        png(np.dstack([MASK] * 3), 8, 2, before=chunk(b"tRNS", b"\0\2\0\2\0\2")),
        encoded(Image.fromarray(np.dstack([MASK] * 3 + [np.where(MASK == 2, 0, 255).astype(np.uint8)])), "PNG"),
    ]
    for data in hiding:
        path.write_bytes(data)
        with pytest.raises(UnreadableError, match="transparent"):
            read_mask(path)


def test_a_mask_keeps_its_numbers_whatever_it_is_stored_as(tmp_path: Path) -> None:
    palette = Image.fromarray(MASK).convert("P")
    palette.putpalette([0, 0, 0, 9, 9, 9, 200, 10, 30])
    deep = MASK.astype(np.uint16)
    kinds = {
        "gray.png": encoded(Image.fromarray(MASK), "PNG"),
        "palette.png": encoded(palette, "PNG"),
        "colour.png": encoded(Image.fromarray(np.dstack([MASK] * 3)), "PNG"),
        "deep.png": png(deep, 16, 0),
        "deep colour.png": png(np.dstack([deep] * 3), 16, 2),
        "alpha.png": png(np.dstack([deep, np.full_like(deep, 65535)]), 16, 4),
        "gray.tif": encoded(Image.fromarray(MASK), "TIFF", compression="tiff_adobe_deflate"),
        "deep.tif": encoded(Image.fromarray(deep), "TIFF"),
        "float.tif": encoded(Image.fromarray(MASK.astype(np.float32)), "TIFF"),
        "gray.bmp": encoded(Image.fromarray(MASK), "BMP"),
        "gray.gif": encoded(palette, "GIF", optimize=False),
    }
    for name, data in kinds.items():
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(read_mask(tmp_path / name), MASK), name
    (tmp_path / "half.tif").write_bytes(encoded(Image.fromarray(MASK / np.float32(2)), "TIFF"))
    with pytest.raises(UnreadableError, match="whole values 0-255"):
        read_mask(tmp_path / "half.tif")


def test_a_mask_of_several_pages_is_refused(tmp_path: Path) -> None:
    for kind in ("TIFF", "GIF", "PNG"):
        pages = [Image.fromarray(np.roll(MASK, shift, axis=1)) for shift in (0, 4)]
        path = saved(tmp_path / f"a.{kind.lower()}", pages[0], save_all=True, append_images=pages[1:])
        with pytest.raises(UnreadableError, match="expected a mask of one page, found 2"):
            read_mask(path)


# ---- depth


DEEP = (np.random.default_rng(3).integers(0, 4096, (96, 80)) + 500).astype(np.uint16)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colour_of_sixteen_bits_is_read_as_its_gray_twin(tmp_path: Path, channels: int) -> None:
    (tmp_path / "gray.png").write_bytes(png(DEEP, 16, 0))
    twin = read_frame(tmp_path / "gray.png").pixels
    opaque = np.full_like(DEEP, 65535)
    stack = {2: [DEEP, opaque], 3: [DEEP] * 3, 4: [DEEP] * 3 + [opaque]}[channels]
    (tmp_path / "colour.png").write_bytes(png(np.dstack(stack), 16, {2: 4, 3: 2, 4: 6}[channels]))
    assert np.array_equal(read_frame(tmp_path / "colour.png").pixels, twin)


def test_deep_colour_that_would_lose_its_low_bytes_is_refused(tmp_path: Path) -> None:
    data = deep_tiff(np.dstack([DEEP] * 3), "<")
    # Planes one behind the other: a tag more than there was room for, so it takes the place of the strip's rows.
    planar = data.replace(struct.pack("<HHII", 278, 4, 1, DEEP.shape[0]), struct.pack("<HHIHH", 284, 3, 1, 2, 0))
    assert planar != data
    (tmp_path / "a.tif").write_bytes(planar)
    assert refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_sixteen_bit_colour_is_read_as_its_gray_twin(tmp_path: Path, order: str) -> None:
    (tmp_path / "gray.png").write_bytes(png(DEEP, 16, 0))
    (tmp_path / "colour.tif").write_bytes(deep_tiff(np.dstack([DEEP] * 3), order))
    assert np.array_equal(read_frame(tmp_path / "colour.tif").pixels, read_frame(tmp_path / "gray.png").pixels)


def deep_tiff(values: np.ndarray, order: str) -> bytes:
    """Uncompressed 16-bit colour, which Pillow does not write."""
    height, width, _ = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    entries = [(256, 4, width), (257, 4, height), (259, 3, 1), (262, 3, 2), (273, 4, 200), (277, 3, 3)]
    entries += [(278, 4, height), (279, 4, len(pixels))]
    entries.insert(2, (258, 3, 0))
    body = b""
    for tag, kind, value in entries:
        if tag == 258:
            body += struct.pack(f"{order}HHII", tag, kind, 3, 180)
        else:
            number = struct.pack(f"{order}I", value) if kind == 4 else struct.pack(f"{order}HH", value, 0)
            body += struct.pack(f"{order}HHI", tag, kind, 1) + number
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries)) + body + bytes(4)
    return start.ljust(180, b"\0") + struct.pack(f"{order}HHH", 16, 16, 16).ljust(20, b"\0") + pixels


@pytest.mark.parametrize("value", [0, 65535])
def test_a_single_hot_or_dead_pixel_changes_nothing_but_itself(tmp_path: Path, value: int) -> None:
    plain = DEEP + np.uint16(9000)
    hot = plain.copy()
    hot[40, 30] = value
    (tmp_path / "plain.png").write_bytes(png(plain, 16, 0))
    (tmp_path / "hot.png").write_bytes(png(hot, 16, 0))
    differ = read_frame(tmp_path / "plain.png").pixels != read_frame(tmp_path / "hot.png").pixels
    assert differ.sum() <= 1
    assert read_frame(tmp_path / "hot.png").pixels[40, 30] == (255 if value else 0)


# ---- what is opened, and what stands behind the end


@pytest.mark.parametrize("beside_ultralytics", [False, True])
def test_only_the_listed_formats_are_ever_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside_ultralytics: bool
) -> None:
    opened = []

    def watched(*given: object, **named: object) -> Image.Image:
        opened.append(named.get("formats"))
        return original(*given, **named)

    original = getattr(sys.modules.get("ultralytics.utils.patches"), "_image_open", Image.open)
    if beside_ultralytics:
        # It puts an opening of its own into Pillow and keeps Pillow's beside it.
        monkeypatch.setitem(sys.modules, "ultralytics.utils.patches", SimpleNamespace(_image_open=watched))
        monkeypatch.setattr(Image, "open", lambda *given, **named: pytest.fail("opened by Ultralytics"))
    else:
        monkeypatch.delitem(sys.modules, "ultralytics.utils.patches", raising=False)
        monkeypatch.setattr(Image, "open", watched)
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n%%EOF\n")
    for read in (refusal, read_mask, picture_size, lambda path: place_picture(path, tmp_path, "b")):
        try:
            said = read(tmp_path / "a.png")
        except UnreadableError as error:
            said = str(error)
        assert "not a PNG, JPEG, TIFF, BMP or GIF picture" in said
    assert opened
    assert set(opened) == {FORMATS}


@pytest.mark.parametrize("trailer", [b"\0" * 700, b"\xff\xda\0\4hello" * 9, b"MotionPhoto \xff\xd8\xff\xe0\0\5abc"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_bytes_behind_the_end_of_a_jpeg_do_not_matter(tmp_path: Path, trailer: bytes, options: dict) -> None:
    data = encoded(Image.fromarray(np.tile(GRAY, (3, 3))), "JPEG", **options)
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.jpg").write_bytes(data + trailer)
    assert np.array_equal(read_frame(tmp_path / "a.jpg").pixels, read_frame(tmp_path / "b.jpg").pixels)
    (tmp_path / "c.jpg").write_bytes(data[:-2] + trailer)
    assert refusal(tmp_path / "c.jpg").startswith("truncated")


def test_what_nobody_foresaw_is_a_line_with_the_name_of_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(GRAY))

    def fail(*_: object) -> None:
        raise KeyError("what now")

    monkeypatch.setattr("aop_pose.io.images._gray", fail)
    assert refusal(path) == "damaged: KeyError 'what now'"
