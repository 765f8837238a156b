import numpy as np
import pytest
from PIL import Image

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.errors import UnreadableError
from aop_pose.formats.format import Reading
from aop_pose.formats.label import Label, Mask, Skipped
from aop_pose.formats.masks import MASKS, boxes_from_mask, points_from_mask
from aop_pose.formats.pictures import read_mask
from aop_pose.formats.registry import read_labels
from tests.formats.made_up import HEIGHT, WIDTH, mask, masks_folder, picture, save, save_mha


def masked(folder, pixels, points=None, **fields):
    keypoints = None if points is None else Keypoints.from_points(AOP, points)
    mask_file = Mask(save(folder / "m.png", pixels), **fields)
    return Label("a.png", save(folder / "a.png", picture(0)), keypoints=keypoints, mask=mask_file)


def read_masks(folder):
    return list(MASKS.read(folder, Reading()))


def test_pictures_are_paired_with_their_masks(tmp_path):
    masks_folder(tmp_path, 2)
    save(tmp_path / "images" / "p1" / "x.png", picture(5))
    save_mha(tmp_path / "masks" / "p1" / "x.mha", mask())
    save(tmp_path / "images" / "lonely.png", picture(6))
    found = list(read_masks(tmp_path))
    assert [item.name for item in found] == ["00.png", "01.png", "lonely.png", "p1/x.png"]
    assert isinstance(found[2], Skipped)
    np.testing.assert_array_equal(found[3].mask.read(), mask())


def test_boxes_end_at_the_outer_edges_of_their_pixels(tmp_path):
    # Pixels x 5-14, y 5-7 cover 4.5..14.5 by 4.5..7.5 where centres are whole numbers.
    frame = boxes_from_mask(masked(tmp_path, mask()))
    assert frame.boxes.classes == (0, 1)
    assert frame.boxes.corners.tolist() == [[4.5, 4.5, 14.5, 7.5], [19.5, 14.5, 40.5, 30.5]]
    assert (frame.width, frame.height) == (WIDTH, HEIGHT)


def test_specks_do_not_widen_a_box(tmp_path):
    values = mask()
    values[0, 0] = 1
    assert boxes_from_mask(masked(tmp_path, values)).boxes.corners[0].tolist() == [4.5, 4.5, 14.5, 7.5]


def test_one_structure_alone_has_a_box_and_no_points(tmp_path):
    frame = masked(tmp_path, mask(fh=0))
    assert boxes_from_mask(frame).boxes.classes == (0,)
    assert isinstance(points_from_mask(frame), Skipped)


def test_an_empty_mask_is_left_out_with_a_reason(tmp_path):
    frame = masked(tmp_path, mask(0, 0))
    assert boxes_from_mask(frame) == Skipped("a.png", "empty mask: neither PS nor FH")
    assert points_from_mask(frame).reason


def test_points_of_the_data_set_go_before_those_of_the_mask(tmp_path):
    points = np.array([[14.0, 5], [5, 5], [40, 20]])
    assert points_from_mask(masked(tmp_path, mask(), points=points)).keypoints.coords.tolist() == points.tolist()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (mask(ps=9), r"m\.png: expected mask values 0, 1, 2, found 9"),
        (mask()[:-1], r"m\.png: expected 60x40 as its picture, found 60x39"),
        (np.dstack([mask(), mask(0, 0), mask()]), r"m\.png: expected a mask of one channel"),
    ],
)
def test_a_mask_that_does_not_fit_is_left_out_with_a_reason(tmp_path, values, reason):
    frame = masked(tmp_path, values)
    for convert in (boxes_from_mask, points_from_mask):
        skipped = convert(frame)
        with pytest.raises(UnreadableError, match=reason):
            raise UnreadableError(skipped.reason)


def test_other_values_are_translated(tmp_path):
    np.testing.assert_array_equal(masked(tmp_path, mask(7, 8), values={0: 0, 7: 1, 8: 2}).mask.read(), mask())


def test_palette_masks_give_their_indices(tmp_path):
    image = Image.fromarray(mask(), mode="P")
    image.putpalette([0, 0, 0, 200, 30, 30, 30, 200, 30])
    image.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "p.png"), mask())


def test_written_folders_are_read_back(tmp_path):
    masks_folder(tmp_path / "src", 2)
    frames = list(read_masks(tmp_path / "src"))
    save(tmp_path / "src" / "masks" / "01.png", mask(ps=5))
    (left_out,) = MASKS.write(frames, tmp_path / "out", [False, False])
    assert left_out.name == "01.png"
    back = list(read_masks(tmp_path / "out"))
    assert [frame.name for frame in back] == ["00.png"]
    np.testing.assert_array_equal(back[0].mask.read(), mask())


def test_points_of_real_masks_are_those_of_the_label_file(shared_data):

    folder = shared_data / "psfhs"
    truth = {frame.name: frame.keypoints.coords for frame in read_labels(folder / "val.csv", folder)}
    found = [frame for frame in read_masks(folder) if frame.name in truth]
    assert len(found) == len(truth) == 132
    same = [(points_from_mask(frame).keypoints.coords == truth[frame.name]).all() for frame in found]
    assert all(same)
