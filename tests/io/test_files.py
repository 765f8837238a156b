"""What is never opened, and the file of pixels that a header names."""

import os
from pathlib import Path

import numpy as np
import pytest

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.io.files import refusals
from aop_pose.io.volumes import read_volume
from tests.picture_files import GRAY, frames, refusal
from tests.volume_files import VALUES, nrrd

HEADER = "NDims = 2\nDimSize = 31 24\nElementType = MET_UCHAR\n{more}ElementDataFile = {name}\n"


def header(folder: Path, name: str, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "a.mhd"
    path.write_text(HEADER.format(name=name, more=more), encoding="latin-1")
    return path


def test_pixels_lie_in_the_folder_of_the_header_or_below_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "a.raw").write_bytes(GRAY.tobytes())
    for name in ("raw/a.raw", "raw\\a.raw", "./raw/a.raw"):
        (frame,) = frames(header(tmp_path / "data", name))
        assert np.array_equal(frame.pixels, GRAY)


def test_a_folder_of_links_into_one_other_folder_is_read(tmp_path: Path) -> None:
    real = header(tmp_path / "store", "a.raw")
    (tmp_path / "store" / "a.raw").write_bytes(GRAY.tobytes())
    (tmp_path / "data").mkdir()
    for path in (real, tmp_path / "store" / "a.raw"):
        (tmp_path / "data" / path.name).symlink_to(path)
    assert np.array_equal(frames(tmp_path / "data" / "a.mhd")[0].pixels, GRAY)


@pytest.mark.parametrize(
    "name", ["../secret.raw", "..\\secret.raw", "x/../../secret.raw", "{absolute}", "C:\\secret.raw"]
)
def test_a_way_out_of_the_folder_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.raw").write_bytes(GRAY.tobytes())
    name = name.format(absolute=tmp_path / "secret.raw")
    said = refusal(header(tmp_path / "data", name))
    assert said.endswith("its pixels must lie in the folder of the header")
    assert f"'{name}'"[:30] in said


def test_links_pipes_folders_and_nul_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(GRAY.tobytes())
    data = tmp_path / "data"
    data.mkdir()
    (data / "link.raw").symlink_to(tmp_path / "secret.raw")
    (data / "dir").symlink_to(tmp_path)
    (data / "device.raw").symlink_to("/dev/zero")
    (data / "loop.raw").symlink_to(data / "loop.raw")
    os.mkfifo(data / "pipe.raw")
    assert refusal(header(data, "link.raw")).endswith("a link out of the folder of the header: refused")
    assert refusal(header(data, "dir/secret.raw")).endswith("a link out of the folder of the header: refused")
    assert refusal(header(data, "device.raw")).endswith("a link out of the folder of the header: refused")
    assert refusal(header(data, "pipe.raw")).endswith("'pipe.raw', which is not a regular file")
    assert refusal(header(data, ".")).endswith("as the file of its pixels")
    assert "'a\\x00b'" in refusal(header(data, "a\0b"))
    assert "loop.raw" in refusal(header(data, "loop.raw"))
    assert "pixels cannot be read" in refusal(header(data, "x" * 300))


@pytest.mark.parametrize("more", ["HeaderSize = -7\n", "HeaderSize = 9999999999999\n", "CompressedData = True\n"])
def test_a_header_that_lies_about_where_the_pixels_begin_is_refused(tmp_path: Path, more: str) -> None:
    path = header(tmp_path / "data", "a.raw", more)
    (tmp_path / "data" / "a.raw").write_bytes(GRAY.tobytes())
    assert refusal(path).split()[0].rstrip(":") in ("damaged", "truncated")


def test_voxels_of_a_nrrd_follow_the_same_rules(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    (tmp_path / "data").mkdir()
    (tmp_path / "a.raw").write_bytes(VALUES.tobytes(order="F"))
    file = nrrd(tmp_path / "data" / "a.nrrd", "spacings: 1 2 3\ndata file: ../a.raw", VALUES, cut=VALUES.nbytes)
    with pytest.raises(UnreadableError, match=r"'\.\./a\.raw': its pixels must lie in the folder"):
        read_volume(file)
    (tmp_path / "data" / "b.raw").write_bytes(VALUES.tobytes(order="F"))
    file = nrrd(tmp_path / "data" / "b.nrrd", "spacings: 1 2 3\ndata file: b.raw", VALUES, cut=VALUES.nbytes)
    assert np.array_equal(read_volume(file).voxels, VALUES)


def test_every_complaint_becomes_one_line() -> None:
    for error, said in (
        (KeyError("x\ny"), "damaged: KeyError 'x\\ny'"),
        (ValueError("first\nsecond"), "damaged: first second"),
        (RecursionError(), "damaged: RecursionError"),
        (MemoryError(), "too large for the memory of this machine"),
        (PermissionError(13, "x"), "no permission to read it"),
        (OSError("image file is truncated (3 bytes)"), "truncated: the file ends before its picture does"),
        (UnreadableError("as it is"), "as it is"),
    ):
        with pytest.raises(UnreadableError) as caught, refusals():
            raise error
        assert str(caught.value) == said
    with pytest.raises(UsageError), refusals():
        raise UsageError("wrong usage stays wrong usage")
