"""Small made-up pictures, masks and folders for the tests of formats."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

WIDTH, HEIGHT = 60, 40


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Gray noise: pictures of different seeds are no near-duplicates."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


def mask(ps: int = 1, fh: int = 2) -> np.ndarray:
    """A symphysis of 10x3 pixels (x 5-14, y 5-7) and a head of 21x16 pixels (x 20-40, y 15-30)."""
    values = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    values[5:8, 5:15] = ps
    values[15:31, 20:41] = fh
    return values


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def iugc_folder(folder: Path, rows: int = 4, header: str = "Filename,PS1,PS2,FH1,AoP") -> Path:
    """``labels.csv`` with a right angle per row (PS1 at the corner), pictures in ``images/``."""
    lines = [header]
    for i in range(rows):
        save(folder / "images" / f"{i:02d}.png", picture(i))
        lines.append(f'{i:02d}.png,"(30, 10)","(10, 10)","(30, {20 + i})",90.0')
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def masks_folder(folder: Path, count: int = 3) -> Path:
    for i in range(count):
        save(folder / "images" / f"{i:02d}.png", picture(i))
        save(folder / "masks" / f"{i:02d}.png", mask())
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def save_mha(path: Path, values: np.ndarray) -> Path:
    """An uncompressed uint8 MetaImage; array axes last to first as in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = (
        f"ObjectType = Image\nNDims = {values.ndim}\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"DimSize = {' '.join(map(str, values.shape[::-1]))}\nElementType = MET_UCHAR\n"
        "ElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + values.astype(np.uint8).tobytes())
    return path


def save_nifti(path: Path, shape: tuple[int, int, int]) -> Path:
    """A gzipped NIfTI-1 file of zeros, 1 mm a voxel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<4f", header, 76, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    path.write_bytes(gzip.compress(bytes(header) + bytes(int(np.prod(shape)))))
    return path


def save_video(path: Path, frames: list[np.ndarray]) -> Path:
    """A lossless video of gray frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10, (width, height), isColor=True)
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path
