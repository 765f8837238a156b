import numpy as np
import pytest
from PIL import Image

from aop_pose.errors import UnreadableError
from aop_pose.formats.pictures import picture_size, place_picture, read_gray, unique_stems, volume_shape
from aop_pose.io.images import read_frame
from tests.formats.made_up import picture, save, save_mha, save_nifti, save_video


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_size_is_that_of_the_decoded_picture_however_it_is_turned(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture(0)).save(path, exif=exif)
    assert picture_size(path) == read_frame(path).pixels.shape[::-1]


@pytest.mark.parametrize("side", [9000, 20000])
def test_a_picture_that_is_too_large_is_refused_from_its_header(tmp_path, side):
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(UnreadableError, match=r"a\.png: .*(too large|exceeds limit)"):
        picture_size(tmp_path / "a.png")


def test_the_size_of_planes_is_that_of_one(tmp_path):
    assert picture_size(save_mha(tmp_path / "a.mha", np.zeros((3, 40, 60)))) == (60, 40)


def test_a_gray_picture_is_copied_byte_for_byte(tmp_path):
    source = save(tmp_path / "a.png", picture(0))
    source.chmod(0o400)
    placed = place_picture(source, tmp_path, "b")
    assert placed == tmp_path / "b.png"
    assert placed.read_bytes() == source.read_bytes()
    assert placed.stat().st_mode & 0o200


def test_a_png_called_jpg_gets_its_own_suffix(tmp_path):
    save(tmp_path / "a.png", picture(0)).rename(tmp_path / "a.jpg")
    assert place_picture(tmp_path / "a.jpg", tmp_path, "b") == tmp_path / "b.png"


@pytest.mark.parametrize("kind", ["colour", "16 bit", "planes", "turned"])
def test_other_pictures_are_stored_as_the_predictor_sees_them(tmp_path, kind):
    if kind == "planes":
        source = save_mha(tmp_path / "a.mha", np.repeat(picture(0)[None], 3, axis=0))
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        source = tmp_path / "a.png"
        Image.fromarray(picture(0)).save(source, exif=exif)
    else:
        wide = picture(0).astype(np.uint16) * 200
        source = save(tmp_path / "a.png", wide if kind == "16 bit" else np.dstack([picture(i) for i in range(3)]))
    placed = place_picture(source, tmp_path, "b")
    with Image.open(placed) as opened:
        assert opened.mode == "L"
        np.testing.assert_array_equal(np.asarray(opened), read_frame(source).pixels)


def test_a_frame_of_a_video_is_the_one_that_was_asked_for(tmp_path):
    frames = [picture(i, 64, 48) for i in range(5)]
    video = save_video(tmp_path / "a.avi", frames)
    assert picture_size(video) == (64, 48)
    for i in (0, 3):
        assert np.abs(read_gray(video, i).astype(int) - frames[i]).max() <= 2
    with pytest.raises(UnreadableError, match="with frame 9, found none"):
        read_gray(video, 9)


@pytest.mark.parametrize("name", ["a.png", "a.mha", "a.avi"])
def test_a_file_that_is_no_picture_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(range(256)))
    for read in (picture_size, read_gray):
        with pytest.raises(UnreadableError, match=name):
            read(tmp_path / name)


def test_the_shape_of_a_volume_is_in_its_header(tmp_path):
    assert volume_shape(save_nifti(tmp_path / "a.nii.gz", (7, 6, 5))) == (7, 6, 5)
    (tmp_path / "b.nii.gz").write_bytes(b"hello")
    with pytest.raises(UnreadableError, match=r"b\.nii\.gz"):
        volume_shape(tmp_path / "b.nii.gz")


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a/1.png", "b/2.png"], ["1", "2"]),
        (["a/1.png", "b/1.png"], ["a__1", "b__1"]),
        (["1.png", "1.jpg"], ["1", "1__2"]),
        (["A.png", "a.png"], ["A", "a__2"]),
        (["../x/1.png", "/1.png"], ["x__1", "1"]),
        (["a/1.png", "b/1.png", "a__1.png"], ["a__1__2", "b__1", "a__1"]),
    ],
)
def test_stems_are_unique_on_any_file_system(names, stems):
    assert unique_stems(names) == stems
