"""MetaImage, against files that SimpleITK wrote."""

from pathlib import Path

import numpy as np
import pytest

from aop_pose.errors import UnreadableError
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frame, read_frames
from aop_pose.io.volume_files.metaimage import MAX_HEADER, read_header

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK writes the files to compare with")
RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (24, 31), dtype=np.uint8)
CINE = RNG.integers(0, 256, (5, 24, 31), dtype=np.uint8)


def write(path: Path, array: np.ndarray, spacing: tuple[float, ...] | None = None, **options: object) -> Path:
    vector = bool(options.pop("vector", False))
    image = sitk.GetImageFromArray(array, isVector=vector)
    if spacing:
        image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path), **options)
    return path


def stack(path: Path) -> np.ndarray:
    return np.stack([frame.pixels for frame in read_frames(Entry(path, path.name))])


def refusal(path: Path) -> str:
    with pytest.raises(UnreadableError) as caught:
        stack(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


@pytest.mark.parametrize("name", ["x.mha", "x.mhd"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4", "f4", "f8"])
def test_every_number_type(tmp_path: Path, name: str, packed: bool, kind: str) -> None:
    path = write(tmp_path / name, GRAY.astype(kind), useCompression=packed)
    assert np.array_equal(stack(path), GRAY[None])


@pytest.mark.parametrize("packed", [False, True])
def test_cine(tmp_path: Path, packed: bool) -> None:
    path = write(tmp_path / "x.mha", CINE, (0.2, 0.3, 1.0), useCompression=packed)
    frames = list(read_frames(Entry(path, "x.mha")))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert np.array_equal(np.stack([frame.pixels for frame in frames]), CINE)
    # ITK gives x first, a Frame rows first.
    assert frames[0].spacing == (0.3, 0.2)


def test_three_planes_of_one_picture_are_one_frame_as_in_fh_ps_aop(tmp_path: Path) -> None:
    planes = np.stack([GRAY, GRAY, GRAY])
    planes[1, 3, 3] ^= 1
    planes[:, 5, 5] = (255, 0, 0)
    pixels = stack(write(tmp_path / "x.mha", planes))
    assert pixels.shape == (1, 24, 31)
    assert pixels[0, 5, 5] == 76
    pixels[0, 3, 3], pixels[0, 5, 5] = GRAY[3, 3], GRAY[5, 5]
    assert np.array_equal(pixels[0], GRAY)


def test_three_different_planes_are_a_cine(tmp_path: Path) -> None:
    assert np.array_equal(stack(write(tmp_path / "x.mha", CINE[:3])), CINE[:3])


def test_colour_channels(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mha", np.repeat(GRAY[..., None], 3, axis=-1), vector=True)
    assert np.array_equal(stack(path), GRAY[None])


def test_spacing_of_one_is_unknown(tmp_path: Path) -> None:
    assert read_frame(write(tmp_path / "x.mha", GRAY)).spacing is None
    assert read_frame(write(tmp_path / "y.mha", GRAY, (0.1, 0.4))).spacing == (0.4, 0.1)


def test_big_endian(tmp_path: Path) -> None:
    levels = GRAY.astype(np.uint16) * 16 + 1000
    path = write(tmp_path / "x.mha", levels)
    header, marker, pixels = path.read_bytes().partition(b"LOCAL\n")
    header = header.replace(b"MSB = False", b"MSB = True")
    path.write_bytes(header + marker + np.frombuffer(pixels, "<u2").astype(">u2").tobytes())
    assert np.array_equal(stack(path), GRAY[None])


@pytest.mark.parametrize("packed", [False, True])
def test_truncated(tmp_path: Path, packed: bool, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.mha", CINE, useCompression=packed)
    path.write_bytes(path.read_bytes()[:-1500])
    assert refusal(path).startswith("truncated")
    assert capfd.readouterr() == ("", "")


def test_a_packed_cine_without_its_checksum_gives_no_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mha", CINE, useCompression=True)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UnreadableError, match="truncated"):
        next(read_frames(Entry(path, "x.mha")))


@pytest.mark.parametrize("packed", [False, True])
def test_header_that_promises_more_than_is_there(tmp_path: Path, packed: bool) -> None:
    path = write(tmp_path / "x.mha", GRAY, useCompression=packed)
    assert refusal(edit(path, b"DimSize = 31 24", b"DimSize = 3100 2400")).startswith("truncated")
    assert refusal(edit(path, b"DimSize = 3100 2400", b"DimSize = 31000 24000")).startswith("too large")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"DimSize = 31 24", b"DimSize = -31 24", "positive sizes"),
        (b"DimSize = 31 24", b"DimSize = 0 24", "positive sizes"),
        (b"DimSize = 31 24", b"DimSize = many", "header"),
        (b"NDims = 2", b"NDims = 4", "NDims 2 or 3"),
        (b"MET_UCHAR", b"MET_WORDS", "MET_WORDS is not supported"),
        (b"BinaryData = True", b"BinaryData = False", "save them as binary"),
        (b"= LOCAL", b"= LIST 2D", "not supported"),
        (b"DimSize", b"SizeDim", "DimSize"),
        (b"ElementSpacing = 1 1", b"ElementSpacing = 1 x", "header"),
        (b"ElementDataFile", b"ElementDotaFile", "not a MetaImage"),
    ],
)
def test_lying_headers(tmp_path: Path, old: bytes, new: bytes, said: str) -> None:
    assert said in refusal(edit(write(tmp_path / "x.mha", GRAY), old, new))


def test_pixels_beside_the_header_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mhd", GRAY)
    (tmp_path / "x.raw").unlink()
    assert refusal(path) == "its pixels are missing: no file 'x.raw' beside the header"


def test_pixels_at_the_end_of_a_file_with_an_unknown_header(tmp_path: Path) -> None:
    path = edit(write(tmp_path / "x.mhd", GRAY), b"ElementDataFile", b"HeaderSize = -1\nElementDataFile")
    (tmp_path / "x.raw").write_bytes(b"something else" + GRAY.tobytes())
    assert read_header(path).offset is None
    assert np.array_equal(stack(path), GRAY[None])


def test_garbage_instead_of_packed_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mha", GRAY, useCompression=True)
    header, marker, _ = path.read_bytes().partition(b"LOCAL\n")
    path.write_bytes(header + marker + b"not zlib at all" * 50)
    assert refusal(path).startswith("damaged")


def test_a_header_with_fields_for_each_frame_is_read_up_to_the_stated_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mha", CINE)
    frame = "Seq_Frame{:06}_ImageStatus = OK\nSeq_Frame{:06}_Timestamp = {}\n"
    fields = "".join(frame.format(number, number, number / 30) for number in range(10_000)).encode()
    assert np.array_equal(stack(edit(path, b"ElementDataFile", fields + b"ElementDataFile")), CINE)
    padding = (b"Comment%06d = " + b"x" * 60_000 + b"\n") * (MAX_HEADER // 60_000 + 1)
    long = padding % tuple(range(MAX_HEADER // 60_000 + 1))
    assert refusal(edit(path, b"ElementDataFile", long + b"ElementDataFile")).startswith(
        "too large: a MetaImage header"
    )


@pytest.mark.parametrize("field", ["DimSize = 24 31", "ElementSpacing = 3 3", "ElementType = MET_CHAR"])
def test_a_field_that_stands_twice_and_differs_is_refused(tmp_path: Path, field: str) -> None:
    path = edit(write(tmp_path / "x.mha", GRAY), b"ElementDataFile", field.encode() + b"\nElementDataFile")
    assert refusal(path) == f"damaged MetaImage header: {field.split()[0]} stands twice and differs"


def test_two_spacings_that_disagree_are_refused_and_two_that_agree_are_one(tmp_path: Path) -> None:
    for size, said in ((b"0.5 0.25", None), (b"0.5 0.2501", None), (b"0.5 0.3", "disagree"), (b"0.5", "header")):
        path = edit(write(tmp_path / "x.mha", GRAY), b"ElementSpacing = 1 1", b"ElementSpacing = 0.5 0.25")
        path = edit(path, b"ElementDataFile", b"ElementSize = " + size + b"\nElementDataFile")
        if said is None:
            assert read_frame(path).spacing == (0.25, 0.5)
        else:
            assert said in refusal(path)


@pytest.mark.parametrize("packed", [False, True])
def test_pixels_that_nobody_announced_are_refused(tmp_path: Path, packed: bool) -> None:
    path = edit(write(tmp_path / "x.mha", GRAY, useCompression=packed), b"DimSize = 31 24", b"DimSize = 31 23")
    assert refusal(path).startswith("damaged: its header promises 713 bytes of pixels")


def test_sixteen_bit_colour_is_its_gray_twin(tmp_path: Path) -> None:
    deep = GRAY.astype(np.uint16) * 16
    colour = sitk.GetImageFromArray(np.dstack([deep] * 3), isVector=True)
    sitk.WriteImage(colour, str(tmp_path / "c.mha"))
    assert np.array_equal(stack(tmp_path / "c.mha"), stack(write(tmp_path / "g.mha", deep)))
