"""Videos become frames with times, in constant memory; one that ends early says so."""

import re
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.clinic.video import ALL, Selection
from aop_pose.io.discover import Entry, discover
from aop_pose.io.images import read_frames
from tests.video_files import save_video

SMOOTH = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 255, (48, 64), dtype=np.uint8), (9, 9), 0)
MOVING = [np.roll(SMOOTH, 2 * number, axis=1) for number in range(12)]


def frames_of(path: Path, wanted: Selection = ALL) -> list[Frame]:
    return list(read_frames(Entry(path, path.name), wanted))


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("a.mov", "mp4v"), ("b.MP4", "mp4v")])
def test_every_frame_is_read_with_its_time(tmp_path: Path, name: str, code: str) -> None:
    frames = frames_of(save_video(tmp_path / name, MOVING, 20.0, code))
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 20 for number in range(12)], abs=1e-3)
    for frame, pixels in zip(frames, MOVING, strict=True):
        assert np.abs(frame.pixels.astype(int) - pixels).mean() < 6
    assert [entry.source for entry in discover([tmp_path]).entries] == [name]


def test_frames_are_chosen_by_number_and_by_time(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.avi", MOVING, 10.0)
    assert [frame.index for frame in frames_of(path, Selection(every=5))] == [0, 5, 10]
    chosen = frames_of(path, Selection(every=2, start=0.3, end=0.85))
    assert [frame.index for frame in chosen] == [4, 6, 8]
    whole = frames_of(path)
    for frame in chosen:
        np.testing.assert_array_equal(frame.pixels, whole[frame.index].pixels)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"every": 0}, "--every: expected 1 or more"),
        ({"start": -1.0}, "--from: expected seconds from 0"),
        ({"end": float("nan")}, "--to: expected seconds from 0"),
        ({"start": 3.0, "end": 2.0}, "--to: expected a time behind --from 3"),
    ],
)
def test_a_selection_of_nothing_is_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Selection(**settings)  # type: ignore[arg-type]


def test_a_video_that_ends_early_gives_its_frames_and_says_so(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.avi", MOVING * 5)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen: list[Frame] = []
    with pytest.raises(UnreadableError, match=r"truncated: \d+ of its 60 frames are there"):
        seen.extend(frame for frame in read_frames(Entry(path, "a.avi")))
    reading = read_frames(Entry(path, "a.avi"))
    assert next(reading).index == 0
    reading.close()


def test_what_is_no_video_is_refused_and_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = save_video(tmp_path / "whole.mp4", MOVING, code="mp4v").read_bytes()
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://localhost/x.ts\n"
    for content, said in (
        (playlist, "not an AVI, MP4 or MOV video"),
        (b"RIFF\0\0\0\0AVI junk", "damaged: a video that the decoder does not open"),
        (whole[: len(whole) // 2], "damaged: a video that the decoder does not open"),
        (b"", "empty file"),
    ):
        (tmp_path / "a.avi").write_bytes(content)
        with pytest.raises(UnreadableError, match=said):
            frames_of(tmp_path / "a.avi")
    assert capfd.readouterr().err == ""


def test_a_frame_of_another_size_keeps_its_size(tmp_path: Path) -> None:
    """OpenCV would stretch it to the size of the first, and its angles with it."""
    rng = np.random.default_rng(0)
    path = save_video(tmp_path / "a.avi", [rng.integers(0, 255, (48, 64), dtype=np.uint8) for _ in range(5)])
    content, small = bytearray(path.read_bytes()), cv2.resize(SMOOTH, (40, 40))
    stream = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
    at = -1
    for _ in range(3):
        at = content.index(b"00dc", at + 1)
    length = int.from_bytes(content[at + 4 : at + 8], "little")
    content[at + 8 : at + 8 + length] = stream + bytes(length - len(stream))
    path.write_bytes(bytes(content))
    frames = frames_of(path)
    # The index at the end of the file has the same mark in front of each entry; the third chunk is one of the frames.
    shapes = [frame.shape for frame in frames]
    assert (shapes.count((40, 40)), shapes.count((64, 48))) == (1, 4)
    changed = next(frame for frame in frames if frame.shape == (40, 40))
    assert np.abs(changed.pixels.astype(int) - small).mean() < 6


def layers(content: bytes) -> list[tuple[int, int]]:
    """Where the object layers of an MPEG-4 stream, which state the size of its pictures, begin and end."""
    return [(found.start(1), found.end(1)) for found in
            re.finditer(rb"\x00\x00\x01[\x20-\x2f](.*?)\x00\x00\x01", content, re.DOTALL)]  # fmt: skip


def test_a_video_whose_coding_changes_ends_there_with_the_reason(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.avi", MOVING * 3, code="XVID")
    wide = save_video(tmp_path / "b.avi", [cv2.resize(frame, (80, 48)) for frame in MOVING * 3], code="XVID")
    content, other = bytearray(path.read_bytes()), wide.read_bytes()
    begin, end = layers(bytes(content))[-1]
    stated = next(other[first:last] for first, last in layers(other) if last - first == end - begin)
    assert content[begin:end] != stated
    content[begin:end] = stated
    path.write_bytes(bytes(content))
    seen: list[Frame] = []
    with pytest.raises(UnreadableError, match="changes its size or its coding here; split it"):
        seen.extend(read_frames(Entry(path, "a.avi")))
    assert next(read_frames(Entry(path, "a.avi"))).shape == (64, 48)


def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    path = save_video(tmp_path / "long.avi", [SMOOTH] * 1500)
    tracemalloc.start()
    count = sum(1 for _ in read_frames(Entry(path, "long.avi")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1500
    assert peak < 20 * SMOOTH.size
