"""Files that are no frames: a word for each kind, so that a run without frames says what it was given."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from aop_pose.io.discover import FRAME_SUFFIXES, KNOWN_SUFFIXES, METAIMAGE_SUFFIXES, discover

_MOST = 2000
"""Files whose first bytes are looked at."""
_START = 352
# So that a pipe in a folder stops nobody; Windows has neither such pipes nor this flag.
_NOT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_DICOM_MARK = slice(128, 132)
_NIFTI_MARK = slice(344, 348)
_BY_START = (
    (b"NRRD", "NRRD volume"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"Rar!", "RAR archive"),
    (b"7z\xbc\xaf", "7-Zip archive"),
    (b"%PDF", "PDF document"),
    (b"\x1aE\xdf\xa3", "MKV or WebM video"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000 picture"),
)
_BY_SUFFIX = {
    ".dcm": "DICOM file",
    ".dicom": "DICOM file",
    ".ima": "DICOM file",
    ".avi": "AVI video",
    ".mp4": "MP4 video",
    ".m4v": "MP4 video",
    ".mov": "MOV video",
    ".mkv": "MKV or WebM video",
    ".webm": "MKV or WebM video",
    ".wmv": "WMV video",
    ".nii": "NIfTI volume",
    ".nii.gz": "NIfTI volume",
    ".nrrd": "NRRD volume",
    ".npz": "NumPy file",
    ".npy": "NumPy file",
    ".webp": "WebP picture",
    ".zip": "ZIP archive",
    ".csv": "CSV table",
    ".onnx": "ONNX artefact",
}
_ADVICE = (
    ("DICOM", "frames need the --weights of another method than fetusmap"),
    ("video", "save a video as AVI, MP4 or MOV"),
    ("NIfTI", "volumes need --schema fetal_face, or --weights of --method fetusmap"),
    ("NRRD", "volumes need --schema fetal_face, or --weights of --method fetusmap"),
    ("archive", "unpack it first"),
    ("WebP", "save it as PNG"),
    ("JPEG 2000", "save it as PNG"),
    ("frame", "frames need the --weights of another method than fetusmap"),
)


def what_is_there(sources: Sequence[str | Path], frames: bool = False) -> str:
    """The kinds of files below some sources that were not wanted, most first, and what to do; empty where nobody knows.

    ``3 DICOM files, 1 MP4 video; DICOM is not read: export the frames as PNG``. ``frames``: pictures are said too.
    """
    entries = discover(sources, ("",)).entries[:_MOST]
    kinds = (
        "frame" if entry.path.suffix.lower() in FRAME_SUFFIXES - METAIMAGE_SUFFIXES else kind_of(entry.path)
        for entry in entries
    )
    counts = Counter(kind for kind in kinds if kind and (frames or kind != "frame"))
    if not counts:
        return ""
    found = ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in counts.most_common(5))
    return "; ".join([found, *_advice(counts)])


def _advice(kinds: Iterable[str]) -> list[str]:
    said = [advice for word, advice in _ADVICE if any(word in kind for kind in kinds)]
    return list(dict.fromkeys(said))[:2]


def kind_of(path: Path) -> str:
    """The kind of a file by its first bytes, else by its suffix; empty where neither says it, and for frames."""
    suffix = path.suffix.lower()
    if suffix in KNOWN_SUFFIXES:
        return ""
    try:
        # Never a pipe or a device.
        start = _start(path) if path.is_file() else b""
    except OSError:
        start = b""
    if start[_DICOM_MARK] == b"DICM":
        return "DICOM file"
    if start[:4] == b"RIFF":
        return {b"AVI ": "AVI video", b"WEBP": "WebP picture"}.get(start[8:12], "")
    if start[4:8] == b"ftyp":
        return "MOV video" if start[8:10] == b"qt" else "MP4 video"
    if start[_NIFTI_MARK] in (b"n+1\0", b"ni1\0"):
        return "NIfTI volume"
    by_start = next((kind for mark, kind in _BY_START if start.startswith(mark)), "")
    double = "".join(path.suffixes[-2:]).lower()
    return _BY_SUFFIX.get(double) or _BY_SUFFIX.get(suffix) or by_start


def _start(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | _NOT_WAITING)
    try:
        return os.read(descriptor, _START)
    finally:
        os.close(descriptor)
