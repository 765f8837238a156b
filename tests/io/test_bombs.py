"""Small files that would unpack to very much: refused before the memory and the minutes are spent."""

import gzip
import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frames
from aop_pose.io.volumes import read_volume
from tests.picture_files import encoded, refusal


def animation(side: int, count: int) -> bytes:
    """A GIF of large frames, all but the first of which store a single pixel."""
    first = encoded(Image.new("P", (side, side), 1), "GIF", optimize=False)
    dot = b"!\xf9\x04\x08\x01\0\0\0," + struct.pack("<HHHH", 3, 3, 1, 1) + b"\0\x08\x03\0\x03\x05\0"
    return first[:-1] + dot * (count - 1) + b";"


def test_three_hundred_large_frames_of_a_few_kilobytes_do_not_take_minutes(tmp_path: Path) -> None:
    data = animation(3000, 300)
    assert len(data) < 30_000
    (tmp_path / "a.gif").write_bytes(data)
    began = time.monotonic()
    seen: list[Frame] = []
    with pytest.raises(UnreadableError, match=r"too large: .* bytes that unpack to"):
        seen.extend(read_frames(Entry(tmp_path / "a.gif", "a.gif")))
    assert len(seen) < 20
    assert time.monotonic() - began < 30


def test_a_long_animation_of_usual_frames_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(animation(256, 300))
    assert sum(1 for _ in read_frames(Entry(tmp_path / "a.gif", "a.gif"))) == 300


def test_pages_count_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aop_pose.io.pixels.FREE_BYTES", 2_500_000)
    pages = [Image.new("L", (1000, 1000))] * 12
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", compression="tiff_adobe_deflate", save_all=True, append_images=pages[1:])
    (tmp_path / "a.tif").write_bytes(stream.getvalue())
    seen: list[Frame] = []
    with pytest.raises(UnreadableError, match="too large"):
        seen.extend(read_frames(Entry(tmp_path / "a.tif", "a.tif")))
    assert len(seen) == max(200 * len(stream.getvalue()), 2_500_000) // 1_000_000


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    data = encoded(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(data[:-2] + scan * 60 + b"\xff\xd9")
    assert refusal(tmp_path / "a.jpg").startswith("too large")


def packed_volume(folder: Path, side: int) -> list[Path]:
    """Empty volumes, a thousand times smaller than their voxels."""
    voxels = np.zeros((side, side, side), np.uint8)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, side, side, side, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<4f", header, 76, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[344:348] = b"n+1\0"
    (folder / "a.nii.gz").write_bytes(gzip.compress(bytes(header) + voxels.tobytes(), 1))
    text = (
        f"NDims = 3\nDimSize = {side} {side} {side}\nElementType = MET_UCHAR\nElementSpacing = 2 2 2\n"
        "CompressedData = True\nElementDataFile = LOCAL\n"
    )
    (folder / "a.mha").write_bytes(text.encode() + zlib.compress(voxels.tobytes(), 1))
    np.savez_compressed(folder / "a.npz", voxels=voxels, affine=np.eye(4))
    return [folder / "a.nii.gz", folder / "a.mha", folder / "a.npz"]


def test_volumes_that_unpack_to_too_much_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aop_pose.io.pixels.FREE_BYTES", 20_000_000)
    for path in packed_volume(tmp_path, 200):
        with pytest.raises(UnreadableError, match=r"too large: .* bytes that unpack to 32 MB"):
            read_volume(path)
    for path in packed_volume(tmp_path, 160):
        assert read_volume(path).shape == (160, 160, 160)


def test_a_stream_that_does_not_end_where_the_header_says_is_not_unpacked_further(tmp_path: Path) -> None:
    text = "NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nCompressedData = True\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(text.encode() + zlib.compress(bytes(50_000_000), 9))
    assert refusal(tmp_path / "a.mha") == "damaged: its header promises 16 bytes of pixels, more are packed"
