"""Videos: the frames of an AVI, MP4 or MOV one by one, each with its time; and which frames of a cine are wanted."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import cv2
import numpy as np

from aop_pose.core.frame import Frame
from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.pixels import check_size

VIDEO_SUFFIXES = frozenset({".avi", ".mp4", ".m4v", ".mov"})
# The decoder tries every format it knows, playlists of addresses among them: only these beginnings reach it.
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_START = 12
_FEWER = 0.02
"""Share of its frames that a video may lack: the number of frames is an estimate in some containers."""

# OpenCV 4.12 has it at the top, later versions in a module of its own.
_LOGGING: Any = getattr(cv2.utils, "logging", cv2)
_SILENT = 0
# Complaints of the decoder go to stderr otherwise, names of files among them.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

Wanted = Callable[[int, "float | None"], "bool | None"]
"""Number of a frame in its file and its seconds -> whether it is wanted; None = nor is any further one."""


@attrs.frozen
class Selection:
    """The frames of cines that are wanted. A still is wanted always. UsageError for what selects nothing."""

    every: int = 1
    """Of so many frames the first, by their numbers in the file."""
    start: float | None = None
    """Seconds; earlier frames are passed over. None = from the beginning."""
    end: float | None = None
    """Seconds; later frames are passed over. None = to the end."""

    def __attrs_post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"--every: expected 1 or more frames, found {self.every}")
        for name, value in (("--from", self.start), ("--to", self.end)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name}: expected seconds from 0, found {value}")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise UsageError(f"--to: expected a time behind --from {self.start:g}, found {self.end:g}")

    @property
    def everything(self) -> bool:
        return self == Selection()

    @property
    def facts(self) -> dict[str, Any]:
        """The settings that rows depend on; none where every frame is wanted."""
        return {} if self.everything else {"every": self.every, "from": self.start, "to": self.end}

    def __call__(self, index: int, time_s: float | None) -> bool | None:
        """As ``Wanted``; UnreadableError for a cine that does not say its times where they are asked for."""
        if self.start is not None or self.end is not None:
            if time_s is None and index > 0:
                raise UnreadableError("--from and --to need times, and its header states none; use --every")
            if self.end is not None and time_s is not None and time_s > self.end:
                return None
            if self.start is not None and time_s is not None and time_s < self.start:
                return False
        return index % self.every == 0


ALL = Selection()
"""Every frame."""


def read_video(path: Path, source: str, wanted: Wanted = ALL) -> Iterator[Frame]:
    """Yield the wanted frames in order, gray (ITU-R BT.601), turned as the file says, with their seconds.

    One frame at a time is in memory. A frame of another size than the one before is a frame like any other in MJPEG;
    in other codings the video ends there, with the reason.

    Raises UnreadableError where it is no such video, and where it ends before its header says, after the frames that
    are there.
    """
    with open(path, "rb") as stream:
        start = stream.read(_START)
    if not ((start[:4] == b"RIFF" and start[8:12] == b"AVI ") or start[4:8] in _BOXES):
        raise UnreadableError("not an AVI, MP4 or MOV video, or damaged at its beginning")
    video, packets = _opened(path), _opened(path, [cv2.CAP_PROP_FORMAT, -1])
    try:
        if not video.isOpened():
            raise UnreadableError("damaged: a video that the decoder does not open")
        yield from _frames(video, _Packets(packets), source, wanted)
    finally:
        video.release()
        packets.release()


def _opened(path: Path, how: Sequence[int] = ()) -> cv2.VideoCapture:
    before = _LOGGING.getLogLevel()
    _LOGGING.setLogLevel(_SILENT)
    try:
        # Never a pattern or an address: an absolute path begins with neither.
        return cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG, how)
    finally:
        _LOGGING.setLogLevel(before)


# Where a packet states the size of its pictures, by the four characters of its coder: the frame header of a JPEG, the
# sequence parameters of H.264 and H.265, the object layer of MPEG-4.
_STATED = {
    "MJPG": re.compile(rb"\xff[\xc0-\xc2]..\x08(....)", re.DOTALL),
    "H264": re.compile(rb"\x00\x00\x01([\x07\x27\x47\x67].*?)(?:\x00\x00\x01|\x00\x00\x00|$)", re.DOTALL),
    "HEVC": re.compile(rb"\x00\x00\x01([\x42\x43].*?)(?:\x00\x00\x01|\x00\x00\x00|$)", re.DOTALL),
    "FMP4": re.compile(rb"\x00\x00\x01[\x20-\x2f](.*?)(?:\x00\x00\x01|$)", re.DOTALL),
}
_OTHER_CODES = {"AVC1": "H264", "X264": "H264", "HVC1": "HEVC", "HEV1": "HEVC", "MP4V": "FMP4", "XVID": "FMP4"}
_HEAD = 1024
"""Bytes of a packet that are looked at."""


class _Packets:
    """The packets of a video beside its pictures: the decoder stretches pictures of another size than the first."""

    def __init__(self, packets: cv2.VideoCapture) -> None:
        self._packets = packets
        code = int(packets.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1").upper()
        self._code = _OTHER_CODES.get(code, code)
        self._first = b""

    def next(self) -> np.ndarray | None:
        """Go to the next picture. Its own pixels, BGR, where it has another size than the first; None where it has not.

        UnreadableError where the size may change and the picture cannot be had as it is.
        """
        pattern = _STATED.get(self._code)
        if pattern is None:
            return None
        there, packet = self._packets.read()
        stated = pattern.search(packet.tobytes()[:_HEAD]) if there else None
        if stated is None or stated[1] == (self._first or stated[1]):
            self._first = self._first or (stated[1] if stated is not None else b"")
            return None
        picture = cv2.imdecode(packet, cv2.IMREAD_COLOR) if self._code == "MJPG" else None
        if picture is None:
            raise UnreadableError("the video changes its size or its coding here; split it")
        return picture


def _frames(video: cv2.VideoCapture, packets: _Packets, source: str, wanted: Wanted) -> Iterator[Frame]:
    check_size(int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)), 3)
    promised, rate = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
    index, last = 0, -math.inf
    while video.grab():
        time = _seconds(video.get(cv2.CAP_PROP_POS_MSEC), index, rate, last)
        last = time if time is not None else last
        own = packets.next()
        asked = wanted(index, time)
        if asked is None:
            return
        if asked:
            done, picture = (True, own) if own is not None else video.retrieve()
            if not done:
                raise UnreadableError("damaged: a frame of the video cannot be decoded")
            yield Frame(_gray(picture), source=source, index=index, time_s=time)
        index += 1
    if index == 0:
        raise UnreadableError("damaged: a video without a frame that can be decoded")
    if math.isfinite(promised) and index < promised - max(2, _FEWER * promised):
        raise UnreadableError(f"truncated: {index} of its {promised:.0f} frames are there")


def _seconds(milliseconds: float, index: int, rate: float, last: float) -> float | None:
    """The time stamp of a frame; where the container has none, its number over the frames a second."""
    if math.isfinite(milliseconds) and (milliseconds > 0 or index == 0) and milliseconds / 1000 > last:
        return milliseconds / 1000
    return index / rate if math.isfinite(rate) and rate > 0 else None


def _gray(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 2:
        return picture
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
