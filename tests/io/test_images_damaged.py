"""Bad files: cut off, damaged, too large, no pictures at all; what is said of each in a line."""

import builtins
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frame, read_frames
from tests.picture_files import GRAY, encoded, refusal, saved


def variants() -> list[tuple[str, bytes]]:
    gray, colour = Image.fromarray(GRAY), Image.fromarray(np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], -1))
    return [
        ("png", encoded(gray, "PNG")),
        ("png", encoded(colour, "PNG")),
        ("png", encoded(Image.fromarray(GRAY.astype(np.uint16) * 200), "PNG")),
        ("jpg", encoded(gray, "JPEG")),
        ("jpg", encoded(colour, "JPEG", progressive=True)),
        ("gif", encoded(gray, "GIF")),
        ("bmp", encoded(gray, "BMP")),
        ("tif", encoded(gray, "TIFF")),
        ("tif", encoded(gray, "TIFF", compression="tiff_lzw")),
        ("tif", encoded(colour, "TIFF", compression="tiff_deflate")),
    ]


@pytest.mark.parametrize(("suffix", "data"), variants())
def test_cut_anywhere_gives_an_error_or_every_pixel(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(data)
    whole = read_frame(path).pixels
    complaints: set[str] = set()
    for length in [*range(0, len(data), 7), *range(len(data) - 40, len(data))]:
        path.write_bytes(data[:length])
        try:
            pixels = read_frame(path).pixels
        except UnreadableError as error:
            complaints.add(str(error).split()[0].strip(":"))
        else:
            assert np.array_equal(pixels, whole), length
    assert complaints <= {"empty", "truncated", "not", "damaged"}


def test_half_a_png_and_half_a_jpeg_say_truncated(tmp_path: Path) -> None:
    for suffix, data in (("png", variants()[0][1]), ("jpg", variants()[3][1])):
        path = tmp_path / f"x.{suffix}"
        path.write_bytes(data[: len(data) * 3 // 4])
        assert refusal(path).startswith("truncated")


def test_jpeg_with_a_zeroed_tail_is_truncated(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(np.tile(GRAY, (8, 8))), "JPEG")
    (tmp_path / "x.jpg").write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    assert refusal(tmp_path / "x.jpg").startswith("truncated")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG"])
def test_cine_cut_anywhere_gives_whole_frames_then_the_error(tmp_path: Path, kind: str) -> None:
    pages = [np.roll(GRAY, 3 * number, axis=1) for number in range(3)]
    data = encoded(
        Image.fromarray(pages[0]), kind, save_all=True, append_images=[Image.fromarray(p) for p in pages[1:]]
    )
    path = tmp_path / f"x.{kind.lower()}"
    partly = 0
    for length in range(20, len(data) - 1, 23):
        path.write_bytes(data[:length])
        seen: list[Frame] = []
        complaint = None
        try:
            for frame in read_frames(Entry(path, path.name)):
                seen.append(frame)
        except UnreadableError as error:
            complaint = str(error)
        for frame in seen:
            assert np.array_equal(frame.pixels, pages[frame.index]), length
        assert complaint or len(seen) == 3, length
        partly += bool(complaint and seen)
    assert partly > 0


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.mha", "x.mhd", "x.tif"])
def test_empty_and_text_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    assert refusal(path) == "empty file: 0 bytes"
    path.write_text("these are not the pixels you are looking for\n")
    assert refusal(path).startswith("not a ")


def test_folder_named_like_a_picture(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    assert refusal(tmp_path / "x.png") == "a folder, not a picture"


def test_pipe_is_not_waited_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert refusal(tmp_path / "x.png") == "not a regular file"


def test_broken_link(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "gone.png")
    assert refusal(tmp_path / "x.png").startswith("no such file")
    (tmp_path / "y.png").symlink_to(tmp_path / "y.png")
    assert refusal(tmp_path / "y.png").startswith("cannot be read")


@pytest.mark.parametrize("name", ["x.png", "x.mha"])
def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_bytes(b"something")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(builtins, "open", refuse)
    assert refusal(tmp_path / name) == "no permission to read it"


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    pixels = b"IDAT" + zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(pixels) - 4) + pixels + bytes(4)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (8001, 8000), (100_000, 1000)])
def test_too_large_is_refused_from_the_header(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "x.png").write_bytes(png_header(width, height))
    assert refusal(tmp_path / "x.png").startswith("too large")


def test_large_tiff_is_refused_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "x.tif", Image.new("1", (20_000, 20_000)), compression="group4")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("the pixels were decoded"))
    assert refusal(path).startswith("too large")


def test_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png_header(0, 10))
    assert refusal(tmp_path / "x.png")
