"""Good files: what becomes a frame."""

import builtins
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from aop_pose.io import images as pictures
from aop_pose.io.images import read_frame
from tests.picture_files import GRAY, encoded, frames, saved


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.bmp", "x.gif"])
def test_gray_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    (frame,) = frames(saved(tmp_path / name, Image.fromarray(GRAY)))
    assert np.array_equal(frame.pixels, GRAY)
    assert (frame.source, frame.index, frame.spacing, frame.width, frame.height) == (name, 0, None, 31, 24)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK"])
def test_gray_saved_in_colour_stays_gray(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    image = Image.fromarray(GRAY)
    image = image.convert("RGB").convert(mode) if mode == "CMYK" else image.convert(mode)
    frame = read_frame(saved(tmp_path / f"x.{suffix}", image))
    assert np.array_equal(frame.pixels, GRAY)


def test_colour_becomes_luma_worked_out_by_hand(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 40), (100, 200, 50))
    # 0.299 * 100 + 0.587 * 200 + 0.114 * 50 = 153.0
    assert read_frame(saved(tmp_path / "x.png", image)).pixels[0, 0] == 153


def test_alpha_is_laid_over_black(tmp_path: Path) -> None:
    alpha = np.zeros_like(GRAY)
    alpha[:, 10:20] = 255
    alpha[:, 20:] = 128
    image = Image.merge("LA", (Image.fromarray(GRAY), Image.fromarray(alpha)))
    pixels = read_frame(saved(tmp_path / "x.png", image)).pixels
    assert (pixels[:, :10] == 0).all()
    assert np.array_equal(pixels[:, 10:20], GRAY[:, 10:20])
    assert np.abs(pixels[:, 20:] - GRAY[:, 20:].astype(float) * 128 / 255).max() < 1


def test_transparent_palette_entry_is_black(tmp_path: Path) -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([10, 10, 10, 200, 200, 200])
    image.paste(0, (0, 0, 20, 40))
    pixels = read_frame(saved(tmp_path / "x.png", image, transparency=0)).pixels
    assert (pixels[0, 0], pixels[0, 39]) == (0, 200)


def test_one_bit(tmp_path: Path) -> None:
    frame = read_frame(saved(tmp_path / "x.png", Image.fromarray(GRAY > 127)))
    assert np.array_equal(frame.pixels, np.where(GRAY > 127, 255, 0))


@pytest.mark.parametrize(("name", "kind"), [("x.png", "<u2"), ("x.tif", "<u2"), ("x.tif", ">u2")])
def test_sixteen_bit_is_windowed_from_least_to_largest(tmp_path: Path, name: str, kind: str) -> None:
    levels = (GRAY.astype(np.uint16) * 16 + 1000).astype(kind)
    pixels = read_frame(saved(tmp_path / name, Image.fromarray(levels))).pixels
    assert np.array_equal(pixels, GRAY)


def test_sixteen_bit_tiff_whose_zero_is_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", Image.fromarray(GRAY.astype(np.uint16) * 257), tiffinfo={262: 0})
    assert np.array_equal(read_frame(path).pixels, 255 - GRAY)


def test_float_tiff_of_fractions(tmp_path: Path) -> None:
    values = GRAY.astype(np.float32) / 255
    values[0, 0] = np.nan
    pixels = read_frame(saved(tmp_path / "x.tif", Image.fromarray(values))).pixels
    assert pixels[0, 0] == 0
    assert np.array_equal(pixels.ravel()[1:], GRAY.ravel()[1:])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "options"), [("x.png", {}), ("x.tif", {}), ("x.tif", {"compression": "tiff_deflate"})]
)
@pytest.mark.parametrize("deep", [False, True])
def test_orientation_turns_the_picture_and_the_aspect(
    tmp_path: Path, name: str, options: dict[str, str], orientation: int, deep: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    # The oracle is a PNG turned by Pillow: opened by name, Pillow 13 scrambles uncompressed TIFFs that are
    # turned.
    with Image.open(saved(tmp_path / "oracle.png", Image.fromarray(GRAY), exif=exif)) as image:
        seen = np.array(ImageOps.exif_transpose(image))
    stored = Image.fromarray(GRAY.astype(np.uint16) * 257 if deep else GRAY)
    frame = read_frame(saved(tmp_path / name, stored, exif=exif, dpi=(100, 200), **options))
    assert np.array_equal(frame.pixels, seen)
    # 100 pixels per inch across and 200 down: a stored pixel is half as high as wide, until it is turned.
    assert frame.aspect == pytest.approx(2.0 if orientation >= 5 else 0.5, rel=1e-3)


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", Image.fromarray(GRAY), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05garbage")
    assert np.array_equal(read_frame(path).pixels, GRAY)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif"])
@pytest.mark.parametrize(("density", "aspect"), [((96, 96), 1.0), ((72, 144), 0.5)])
def test_density_is_an_aspect_never_a_spacing(
    tmp_path: Path, name: str, density: tuple[int, int], aspect: float
) -> None:
    frame = read_frame(saved(tmp_path / name, Image.fromarray(GRAY), dpi=density))
    assert frame.spacing is None
    assert frame.aspect == pytest.approx(aspect, rel=1e-3)


def test_no_density_says_nothing_of_the_aspect(tmp_path: Path) -> None:
    assert read_frame(saved(tmp_path / "x.png", Image.fromarray(GRAY))).aspect is None


@pytest.mark.parametrize("name", ["x.gif", "x.tif", "x.png"])
def test_pages_are_frames_with_an_index(tmp_path: Path, name: str) -> None:
    pages = [np.roll(GRAY, number, axis=1) for number in range(4)]
    first, *rest = map(Image.fromarray, pages)
    found = frames(saved(tmp_path / name, first, save_all=True, append_images=rest))
    assert [frame.index for frame in found] == [0, 1, 2, 3]
    for frame, page in zip(found, pages, strict=True):
        assert np.array_equal(frame.pixels, page)


def test_one_pixel_and_sliver_are_read(tmp_path: Path) -> None:
    assert read_frame(saved(tmp_path / "x.png", Image.new("L", (1, 1)))).pixels.shape == (1, 1)
    assert read_frame(saved(tmp_path / "y.png", Image.new("L", (5000, 3)))).pixels.shape == (3, 5000)


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(GRAY), "BMP"))
    assert np.array_equal(read_frame(tmp_path / "x.png").pixels, GRAY)


def test_warnings_of_the_decoder_do_not_leak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = pictures._gray

    def loud(image: Image.Image) -> np.ndarray:
        warnings.warn("Pillow would say something here", UserWarning, stacklevel=1)
        return convert(image)

    monkeypatch.setattr(pictures, "_gray", loud)
    assert np.array_equal(read_frame(saved(tmp_path / "x.png", Image.fromarray(GRAY))).pixels, GRAY)


def test_file_is_closed_when_a_reader_stops_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Image.fromarray(GRAY)
    path = saved(tmp_path / "x.gif", page, save_all=True, append_images=[Image.fromarray(GRAY[::-1])])
    opened: list[io.BufferedReader] = []
    real: Callable[..., io.BufferedReader] = builtins.open

    def remember(*args: object, **kwargs: object) -> io.BufferedReader:
        opened.append(real(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(builtins, "open", remember)
    read_frame(path)
    assert opened
    assert all(stream.closed for stream in opened)


def test_real_frames(shared_data: Path) -> None:
    frame = read_frame(shared_data / "psfhs/images/03754.png")
    with Image.open(shared_data / "psfhs/images/03754.png") as image:
        assert np.array_equal(frame.pixels, np.array(image))
