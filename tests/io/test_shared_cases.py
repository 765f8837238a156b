"""Inputs that went wrong for others (``../shared/cases``), each with its right outcome; skipped where absent."""

from pathlib import Path

import numpy as np
import pytest

from aop_pose.core.schemas import AOP
from aop_pose.errors import UnreadableError
from aop_pose.formats.pictures import picture_size, place_picture, read_mask
from aop_pose.geometry import angle_of_progression, landmarks_from_masks
from aop_pose.io.images import read_frame
from aop_pose.io.table import ResultsWriter, columns
from aop_pose.io.volumes import read_volume
from tests.picture_files import frames, refusal

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")
PICTURES, VOLUMES = CASES / "pictures", CASES / "volumes"


def test_a_mask_that_is_stored_turned_gives_the_angle_of_its_picture() -> None:
    points, reason = landmarks_from_masks(read_mask(PICTURES / "mask_exif" / "masks" / "03754.png"))
    assert not reason
    assert angle_of_progression(*points) == pytest.approx(136.8, abs=0.1)


def test_exif_behind_the_pixels_turns_the_copy_too(tmp_path: Path) -> None:
    source = PICTURES / "exif_behind_idat" / "images"
    assert picture_size(source / "e.png") == (256, 200)
    copy = place_picture(source / "e.png", tmp_path, "e")
    assert np.array_equal(read_frame(copy).pixels, read_frame(source / "ref.png").pixels)


def test_a_transparent_gray_value_is_black_in_the_copy(tmp_path: Path) -> None:
    copy = place_picture(PICTURES / "gray_trns" / "images" / "a.png", tmp_path, "a")
    assert copy.read_bytes() != (PICTURES / "gray_trns" / "images" / "a.png").read_bytes()
    assert read_frame(copy).pixels.max() == 254


def test_hot_pixels_change_themselves_alone() -> None:
    for path in sorted((PICTURES / "hot_pixel" / "plain").iterdir()):
        hot = read_frame(PICTURES / "hot_pixel" / "hot" / path.name).pixels
        assert (hot != read_frame(path).pixels).sum() == 1


def test_what_is_whole_is_read() -> None:
    assert len(frames(PICTURES / "cine_150kB_header.mha")) == 5
    assert len(frames(PICTURES / "jpeg_with_trailer.jpg")) == 1
    assert len(frames(PICTURES / "one_bit_flipped" / "real_dpi96.png")) == 1


def test_what_is_damaged_or_no_picture_is_refused() -> None:
    assert refusal(PICTURES / "one_bit_flipped" / "dpi96_wrong_angle.png").startswith("damaged")
    assert "a\\x00b" in refusal(PICTURES / "nul_in_mhd" / "b.mhd")
    for path in (PICTURES / "damaged_tiff_mask" / "masks" / "a.tif", PICTURES / "postscript_named.png"):
        with pytest.raises(UnreadableError):
            read_mask(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flipped_bit.nii.gz", "damaged"),
        ("flipped_bit.mha", "damaged"),
        ("flipped_bit.nrrd", "damaged"),
        ("npz_object_array/b.npz", "damaged"),
        ("sform_against_qform/unit.nii.gz", "two statements of spacing disagree"),
    ],
)
def test_volumes_that_cannot_be_trusted_are_refused(name: str, said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        read_volume(VOLUMES / name)


def test_rows_from_a_carriage_return_on_are_made_again(tmp_path: Path) -> None:
    """The case was written before the last columns were there: they are put behind its rows, empty."""
    header, *rows = (CASES / "results" / "carriage_return" / "results.csv").read_bytes().rstrip().split(b"\n")
    today = ",".join(columns(AOP)).encode()
    assert today.startswith(header)
    more = b"," * (today.count(b",") - header.count(b","))
    path = tmp_path / "results.csv"
    path.write_bytes(b"".join(line + b"\n" for line in (today, *(row + more for row in rows))))
    with ResultsWriter(path, AOP, resume=True) as writer:
        assert writer.done == {("03758.png", 0), ("03759.png", 0), ("03823.png", 0)}
        assert "results.csv:5 is damaged" in writer.damaged
    assert path.read_bytes().count(b"\n") == 4
