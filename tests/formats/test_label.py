"""A label is checked where it is made, and its picture is opened once."""

from pathlib import Path

import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import AOP
from aop_pose.formats.label import Boxes, Label, LabelError
from aop_pose.formats.registry import read_labels
from tests.formats.made_up import iugc_folder


def label(coords, size=(60, 40)):
    return Label("a.png", "a.png", size, Keypoints.from_points(AOP, coords))


@pytest.mark.parametrize(
    ("coords", "reason"),
    [
        ([[59.6, 10], [10, 10], [30, 20]], r"PS1: expected a point inside 60x40, found \(59.6, 10\)"),
        ([[30, 10], [10, -0.6], [30, 20]], r"PS2: expected a point inside 60x40, found \(10, -0.6\)"),
        ([[30, 10], [10, 10], [30, np.inf]], "FH1: expected numbers, found an infinite one"),
        ([[30, 10], [10, 10], [10, 10]], r"expected PS2 and FH1 apart, found both at \(10, 10\)"),
    ],
)
def test_an_impossible_point_makes_no_label(coords, reason):
    with pytest.raises(LabelError, match=reason):
        label(coords)


def test_the_edges_lie_half_a_pixel_outside_the_outer_centres():
    edges = [[-0.5, -0.5], [59.5, 39.5], [59.5, -0.5]]
    assert label(edges).points.tolist() == edges


def test_without_a_picture_nothing_is_outside():
    assert label([[900, 10], [10, 10], [30, 20]], size=None).points[0, 0] == 900


def test_a_label_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="expected points, a mask or boxes"):
        Label("a.png", "a.png")
    assert Label("a.png", "a.png", boxes=Boxes((), np.zeros((0, 4)))).boxes.classes == ()


@pytest.mark.parametrize("method", ["unet", "yolo"])
def test_each_labelled_picture_is_opened_once_before_the_first_epoch(tmp_path, monkeypatch, method):
    pytest.importorskip("torch")
    from aop_pose.pipelines.data import split_frames

    if method == "yolo":
        pytest.importorskip("ultralytics")
        from aop_pose.pipelines.yolo.stages import read_examples
    else:
        from aop_pose.pipelines.data import read_examples
    folder, opened = iugc_folder(tmp_path, rows=6), []
    real_open = open

    def counting(file, *arguments, **settings):
        if str(file).endswith(".png"):
            opened.append(str(file))
        return real_open(file, *arguments, **settings)

    monkeypatch.setattr("builtins.open", counting)
    labels = read_labels(folder / "labels.csv", folder, keep=True)
    training, checking = split_frames(labels, None, 0.3, 0)
    assert len(read_examples(training)) + len(read_examples(checking)) == 6
    assert len(opened) == len(set(opened)) == 6


def test_the_labels_of_a_set_are_its_own_wherever_a_person_works(tmp_path, monkeypatch):
    from aop_pose.errors import UsageError
    from aop_pose.formats.label import resolve

    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    for name in ("labels.csv", "set/labels.csv", "val.csv", "set/val.csv", "set/train.csv"):
        (tmp_path / name).write_text("")
    data = Path("set")
    assert resolve("labels.csv", data, own=True) == Path("set/labels.csv")
    assert resolve("labels.csv", data) == Path("labels.csv")
    assert resolve("val.csv", data, own=True) == Path("val.csv")
    assert resolve("train.csv", data) == Path("set/train.csv")
    (tmp_path / "set" / "labels.csv").unlink()
    assert resolve("labels.csv", data, own=True) == Path("labels.csv")
    with pytest.raises(UsageError, match="no file gone"):
        resolve("gone.csv", data)
