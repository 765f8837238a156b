"""What one flipped bit does to a file: ``python tools/flip_bits.py [--flips 400] [--seed 0]``.

For each format a made-up frame or volume is written, one bit at a random place is flipped, and the file is read again.
Counted are: refused; read as before (the bit says nothing of pixels or place); read as something else. The last must be
0 for every format that has a checksum; the table of ``docs/file-integrity.md`` is printed by this tool.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from aop_pose.core.frame import Volume
from aop_pose.errors import UnreadableError
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frames
from aop_pose.io.volumes import read_volumes, write_volume

CHECKED = frozenset(
    {
        "PNG", "PNG, resolution and text", "PNG, 16 bit", "PNG, animated", "TIFF, deflate: pixels",
        "MetaImage, packed: pixels", "NIfTI, packed", "NRRD, packed: voxels", "npz: voxels", "npz, packed: voxels",
    }
)  # fmt: skip
"""Formats with a checksum: where the name ends in a word, it guards only that part of the file."""

REFUSED, SAME, OTHER = "refused", "as before", "something else"


@attrs.frozen
class Kind:
    """One format: its file, and which of its bytes are flipped."""

    name: str
    path: Path
    first: int = 0
    """Where the flips begin: the header in front of it has no checksum."""
    last: int = 0
    """How many bytes at the end are left alone: a list of contents without a checksum."""
    volume: bool = False


def frame(height: int = 60, width: int = 72) -> np.ndarray:
    """uint8 (H, W): smooth, with speckle, so that a damaged stream shows."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(1).normal(0, 12, (height, width))
    return np.clip(110 + 80 * np.sin(x / 9) * np.cos(y / 7) + noise, 0, 255).astype(np.uint8)


def kinds(folder: Path) -> Iterator[Kind]:
    """A file of every format that is read."""
    gray = Image.fromarray(frame())
    text = PngInfo()
    text.add_text("Comment", "made up")
    pages = [Image.fromarray(np.roll(frame(), 5 * shift, axis=1)) for shift in range(3)]

    def picture(name: str, kind: str, image: Image.Image = gray, **options: object) -> Kind:
        path = folder / f"{name.replace(' ', '_').replace(',', '').replace(':', '')}.{kind.lower()}"
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        path.write_bytes(stream.getvalue())
        return Kind(name, path)

    yield picture("PNG", "PNG")
    yield picture("PNG, resolution and text", "PNG", dpi=(96, 96), pnginfo=text)
    yield picture("PNG, 16 bit", "PNG", Image.fromarray(frame().astype(np.uint16) * 16))
    yield picture("PNG, animated", "PNG", pages[0], save_all=True, append_images=pages[1:])
    yield picture("JPEG", "JPEG")
    yield picture("JPEG, progressive", "JPEG", progressive=True)
    yield picture("TIFF", "TIFF")
    yield picture("TIFF, LZW", "TIFF", compression="tiff_lzw")
    packed = picture("TIFF, deflate", "TIFF", compression="tiff_adobe_deflate")
    yield packed
    with Image.open(packed.path) as written:
        (start,), (length,) = written.tag_v2[273], written.tag_v2[279]  # type: ignore[attr-defined]
    yield Kind("TIFF, deflate: pixels", packed.path, start, packed.path.stat().st_size - start - length)
    yield picture("GIF", "GIF")
    yield picture("BMP", "BMP")

    volume = Volume(
        np.stack([frame(20, 24) + shift for shift in range(12)]).astype(np.float32), np.diag([1, 2, 3, 1.0])
    )
    for name, suffix in (("NIfTI", "nii"), ("NIfTI, packed", "nii.gz")):
        write_volume(volume, folder / f"v.{suffix}")
        yield Kind(name, folder / f"v.{suffix}", volume=True)
    write_volume(volume, folder / "p.mha")
    yield Kind("MetaImage, packed", folder / "p.mha", volume=True)
    yield _behind("MetaImage, packed: pixels", folder / "p.mha", b"LOCAL\n")
    voxels = volume.voxels.astype(np.uint8)
    header = b"NDims = 3\nDimSize = 12 20 24\nElementType = MET_UCHAR\nElementSpacing = 1 2 3\nElementDataFile = "
    (folder / "r.mha").write_bytes(header + b"LOCAL\n" + voxels.tobytes(order="F"))
    yield Kind("MetaImage", folder / "r.mha", volume=True)
    (folder / "h.mhd").write_bytes(header + b"h.raw\n")
    (folder / "h.raw").write_bytes(voxels.tobytes(order="F"))
    yield Kind("MetaImage, header of two files", folder / "h.mhd", volume=True)
    try:
        write_volume(volume, folder / "p.nrrd")
    except Exception:
        print("no SimpleITK: NRRD is left out")
    else:
        yield Kind("NRRD, packed", folder / "p.nrrd", volume=True)
        yield _behind("NRRD, packed: voxels", folder / "p.nrrd", b"\n\n")
        start = (
            "NRRD0004\ntype: uint8\nencoding: raw\ndimension: 3\nspace: RAS\nsizes: 12 20 24\n"
            "space directions: (1,0,0) (0,2,0) (0,0,3)\n\n"
        )
        (folder / "r.nrrd").write_bytes(start.encode() + voxels.tobytes(order="F"))
        yield Kind("NRRD", folder / "r.nrrd", volume=True)
    np.save(folder / "v.npy", voxels)
    yield Kind("npy", folder / "v.npy", volume=True)
    for name, save in (("npz", np.savez), ("npz, packed", np.savez_compressed)):
        path = folder / f"{'p' if save is np.savez_compressed else 'v'}.npz"
        save(path, voxels=voxels, affine=volume.affine)
        yield Kind(f"{name}: voxels", path, volume=True)


def _behind(name: str, path: Path, mark: bytes) -> Kind:
    return Kind(name, path, path.read_bytes().index(mark) + len(mark), volume=True)


def content(kind: Kind, path: Path) -> list[tuple[bytes, str]]:
    """Everything that a reader is given of a file, to be compared."""
    if kind.volume:
        found = read_volumes(path, "v", spacing=(1, 2, 3))
        return [(one.voxels.tobytes(), f"{one.voxels.shape} {one.affine.tolist()}") for one in found]
    return [(one.pixels.tobytes(), f"{one.pixels.shape}") for one in read_frames(Entry(path, "v"))]


def outcomes(kind: Kind, flips: int, seed: int) -> Counter[str]:
    """How often one flipped bit is refused, changes nothing, or something. Anything else is an error."""
    data = kind.path.read_bytes()
    before = content(kind, kind.path)
    rng = np.random.default_rng([seed, *kind.name.encode()])
    damaged = kind.path.with_name(f"flipped_{kind.path.name}")
    counts: Counter[str] = Counter()
    for bit in rng.integers(8 * kind.first, 8 * (len(data) - kind.last), flips):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        damaged.write_bytes(flipped)
        counts[_outcome(lambda: content(kind, damaged), before)] += 1
    return counts


def _outcome(read: Callable[[], list[tuple[bytes, str]]], before: list[tuple[bytes, str]]) -> str:
    try:
        found = read()
    except UnreadableError:
        return REFUSED
    return SAME if found == before else OTHER


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"| file | checksum | {REFUSED} | {SAME} | {OTHER} |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds(Path(folder)):
            counts = outcomes(kind, given.flips, given.seed)
            checksum = "yes" if kind.name in CHECKED else "no"
            print(f"| {kind.name} | {checksum} | {counts[REFUSED]} | {counts[SAME]} | {counts[OTHER]} |", flush=True)


if __name__ == "__main__":
    main()
