import shutil

import numpy as np
import pytest
import yaml

from aop_pose.core.keypoints import Keypoints, to_centres, to_edges
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.label import Boxes, Label, LabelError
from aop_pose.formats.yolo import (
    label_path,
    parse_pose_line,
    read_yolo_detect,
    read_yolo_pose,
    write_yolo_detect,
    write_yolo_pose,
)
from tests.fakes import require_ultralytics
from tests.formats.made_up import picture, save


def labelled(folder, name, coords, size=(100, 50), seed=0):
    path = save(folder / name, picture(seed, *size))
    return Label(name, path, size, Keypoints.from_points(AOP, coords))


def label(dst, split, stem):
    return [float(cell) for cell in (dst / "labels" / split / f"{stem}.txt").read_text().split()]


COORDS = [[50, 10], [20, 10], [50, 30]]


def test_edges_are_half_a_pixel_from_centres():
    # The centre of the top-left pixel is (0, 0) for us and (0.5, 0.5) counted from the picture's edge.
    assert to_edges(np.array([0.0, 0.0])).tolist() == [0.5, 0.5]
    assert to_centres(np.array([[0.5, 0.5]])).tolist() == [[0.0, 0.0]]


def test_a_pose_label_is_what_is_worked_out_by_hand(tmp_path):
    # Points (50, 10), (20, 10), (50, 30) of 100x50, written as x / 100, y / 50. Their box is 30x20; a margin of a
    # tenth of the longer side adds 3 on each side: 17..53 by 7..33, centre (35, 20), size (36, 26).
    frame = labelled(tmp_path / "src", "a.png", COORDS)
    write_yolo_pose([frame], [frame], tmp_path / "out", box_margin=0.1)
    expected = [0, 0.35, 0.4, 0.36, 0.52, 0.5, 0.2, 0.2, 0.2, 0.5, 0.6]
    np.testing.assert_allclose(label(tmp_path / "out", "train", "a"), expected, atol=1e-9)


def test_the_box_stays_on_the_picture(tmp_path):
    frame = labelled(tmp_path / "src", "a.png", [[99, 0], [0, 0], [99, 49]])
    write_yolo_pose([frame], [], tmp_path / "out")
    _, x, y, width, height = label(tmp_path / "out", "train", "a")[:5]
    assert x - width / 2 >= 0
    assert x + width / 2 <= 1
    assert y - height / 2 >= 0
    assert y + height / 2 <= 1


def test_the_data_file_says_what_the_trainer_relies_on(tmp_path):
    frame = labelled(tmp_path / "src", "a.png", COORDS)
    path = write_yolo_pose([frame], [frame], tmp_path / "out", oks_sigma=0.07)
    data = yaml.safe_load(path.read_text())
    assert path == tmp_path / "out" / "data.yaml"
    assert data["names"] == {0: "aop"}
    assert data["kpt_shape"] == [3, 2]
    assert data["flip_idx"] == [0, 1, 2]
    assert data["kpt_oks_sigmas"] == [0.07, 0.07, 0.07]
    assert "path" not in data


def test_without_held_out_frames_val_repeats_train_and_says_so(tmp_path):
    path = write_yolo_pose([labelled(tmp_path / "src", "a.png", COORDS)], [], tmp_path / "out")
    assert yaml.safe_load(path.read_text())["val"] == "images/train"
    assert "No frame was held out" in path.read_text()


def test_same_names_in_sub_folders_stay_two_pictures(tmp_path):
    frames = [
        labelled(tmp_path / "src", name, np.array(COORDS) + i, seed=i)
        for i, name in enumerate(("p1/1.png", "p2/1.png", "2.png"))
    ]
    write_yolo_pose(frames[:1], frames[1:], tmp_path / "out")
    found = {path.name for path in (tmp_path / "out").rglob("*.png")}
    assert found == {"p1__1.png", "p2__1.png", "2.png"}
    assert label(tmp_path / "out", "val", "p2__1")[5] == pytest.approx(0.51)


def test_points_come_back_within_a_ten_thousandth_of_a_pixel(tmp_path):
    rng = np.random.default_rng(3)
    sizes = [(100, 50), (333, 777), (2000, 1500)]
    frames = [
        labelled(tmp_path / "src", f"{i}.png", rng.uniform(0, min(size) - 1, (3, 2)), size, i)
        for i, size in enumerate(sizes)
    ]
    write_yolo_pose(frames[:2], frames[2:], tmp_path / "out")
    back = read_yolo_pose(tmp_path / "out")
    assert [frame.name for frame in back] == ["train/0.png", "train/1.png", "val/2.png"]
    for frame, again in zip(frames, back, strict=True):
        assert (again.width, again.height) == (frame.width, frame.height)
        np.testing.assert_allclose(again.keypoints.coords, frame.keypoints.coords, atol=1e-4)


@pytest.mark.parametrize("coords", [[[100, 9], [5, 9], [9, 20]], [[50, -1], [5, 9], [9, 20]]])
def test_a_point_outside_makes_no_label(tmp_path, coords):
    with pytest.raises(LabelError, match="PS1: expected a point inside 100x50"):
        labelled(tmp_path / "src", "a.png", coords)


def test_a_missing_point_is_refused(tmp_path):
    frame = labelled(tmp_path / "src", "a.png", [[np.nan, np.nan], [5, 9], [9, 20]])
    with pytest.raises(UsageError, match="expected PS1, PS2, FH1, found one missing"):
        write_yolo_pose([frame], [], tmp_path / "out")


def test_invisible_points_of_others_are_missing():
    line = "0 .5 .5 .2 .2 .5 .5 2 .25 .5 0 .5 .75 1"
    coords = parse_pose_line(line, (3, 3), (100, 50))
    np.testing.assert_allclose(coords, [[50, 25], [np.nan, np.nan], [50, 37.5]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 .5 .5 .2 .2 .5 .5\n", r"a\.txt:1: expected 11 numbers, found 7"),
        ("\n0 .5 .5 .2 x .5 .5 .2 .2 .1 .1\n", r"a\.txt:2: number 5: expected a number, found 'x'"),
        ("0.5 .5 .5 .2 .2 .5 .5 .2 .2 .1 .1\n", r"a\.txt:1: expected a whole class number"),
        ("", r"a\.txt: expected one line, found none"),
    ],
)
def test_a_bad_label_is_named_by_file_and_line(tmp_path, text, message):
    write_yolo_pose([labelled(tmp_path / "src", "a.png", COORDS)], [], tmp_path / "out")
    (tmp_path / "out" / "labels" / "train" / "a.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_yolo_pose(tmp_path / "out")


def test_labels_stand_where_the_last_images_folder_is_exchanged(tmp_path):
    assert label_path(tmp_path / "images" / "x" / "images" / "train" / "a.png") == (
        tmp_path / "images" / "x" / "labels" / "train" / "a.txt"
    )


def boxed(folder, name):
    path = save(folder / name, picture(0, 100, 50))
    return Label(
        name, path, (100, 50), boxes=Boxes((0, 1), np.array([[9.5, 4.5, 29.5, 14.5], [49.5, -0.5, 99.5, 49.5]]))
    )


def test_boxes_go_out_by_hand_and_come_back(tmp_path):
    write_yolo_detect([boxed(tmp_path / "src", "a.png")], [], tmp_path / "out")
    lines = (tmp_path / "out" / "labels" / "train" / "a.txt").read_text().splitlines()
    assert [[float(cell) for cell in line.split()] for line in lines] == [
        [0, 0.2, 0.2, 0.2, 0.2],
        [1, 0.75, 0.5, 0.5, 1.0],
    ]
    back = read_yolo_detect(tmp_path / "out")[0]
    assert back.boxes.classes == (0, 1)
    np.testing.assert_allclose(back.boxes.corners, boxed(tmp_path / "src", "a.png").boxes.corners, atol=1e-5)


@pytest.fixture
def ultralytics_data():
    """Ultralytics' own reader of data files."""
    require_ultralytics()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    def read(folder, split, task):
        data = check_det_dataset(folder / "data.yaml", autodownload=False)
        return YOLODataset(img_path=data[split], data=data, task=task, augment=False, imgsz=64).labels

    return read


def test_ultralytics_opens_a_pose_folder_as_it_is_after_a_move(tmp_path, monkeypatch, ultralytics_data):
    frames = [labelled(tmp_path / "src", f"{i}.png", np.array(COORDS) + i, seed=i) for i in range(3)]
    write_yolo_pose(frames[:2], frames[2:], tmp_path / "out")
    shutil.move(tmp_path / "out", tmp_path / "moved")
    # A folder of the same name in the working directory must not be taken for the data.
    monkeypatch.chdir(tmp_path / "src")
    train = ultralytics_data(tmp_path / "moved", "train", "pose")
    val = ultralytics_data(tmp_path / "moved", "val", "pose")
    assert [len(train), len(val)] == [2, 1]
    points = val[0]["keypoints"]
    assert points.shape == (1, 3, 3)
    assert (points[0, :, 2] == 1).all()
    np.testing.assert_allclose(points[0, :, :2] * [100, 50], frames[2].keypoints.coords, atol=1e-4)


def test_ultralytics_opens_a_detection_folder_as_it_is(tmp_path, ultralytics_data):
    write_yolo_detect([boxed(tmp_path / "src", "a.png")], [boxed(tmp_path / "src", "b.png")], tmp_path / "out")
    found = ultralytics_data(tmp_path / "out", "val", "detect")[0]
    assert found["cls"].ravel().tolist() == [0, 1]
    np.testing.assert_allclose(found["bboxes"][0], [0.2, 0.2, 0.2, 0.2], atol=1e-6)
