"""Detection pre-training: boxes on disk, restart, hand-corrected boxes, and the step into the pose network.

The trainings are stubs but for one: what is promised of the others is what they read and what they hand on.
"""

import csv
import json
import shlex
import shutil

import attrs
import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402

from aop_pose.cli import main  # noqa: E402
from aop_pose.core.keypoints import Keypoints  # noqa: E402
from aop_pose.core.schemas import AOP  # noqa: E402
from aop_pose.errors import AopPoseError, UsageError  # noqa: E402
from aop_pose.formats.label import box_iou  # noqa: E402
from aop_pose.formats.registry import read_labels  # noqa: E402
from aop_pose.formats.yolo import read_yolo_detect  # noqa: E402
from aop_pose.pipelines import pipeline  # noqa: E402
from aop_pose.pipelines.yolo.trainers import SquaredBoxLoss, centre_size  # noqa: E402
from tests.pipelines.conftest import TINY, train_tiny  # noqa: E402
from tests.pipelines.killing import Killed  # noqa: E402
from tests.pipelines.stub_trainer import stubbed  # noqa: E402


@pytest.fixture
def stubs():
    with stubbed():
        yield


def pretrain_tiny(data, out, *changes, segmenter="geometry", boxes=None, **settings):
    options = {"segmenter": segmenter} if boxes is None else {"boxes": boxes}
    return train_tiny(data, out, "epochs=1", *changes, verb="pretrain", options=options, **settings)


@pytest.fixture(scope="module")
def box_run(phantom_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("boxes") / "run"
    with stubbed():
        pretrain_tiny(phantom_set, out)
    return out


def test_every_step_lies_on_disk(box_run):
    record = json.loads((box_run / "run.json").read_text())
    frames = read_yolo_detect(box_run / "boxes")
    with (box_run / "boxes" / "left_out.csv").open() as file:
        left_out = list(csv.DictReader(file))
    assert len(frames) + len(left_out) == 10
    assert all(row["reason"] for row in left_out)
    with (box_run / "boxes" / "strokes.csv").open() as file:
        strokes = list(csv.DictReader(file))
    assert {row["structure"] for row in strokes} == {"PS", "FH"}
    assert len({row["Filename"] for row in strokes}) >= len(frames)
    assert record["left_out"] == len(left_out)
    assert record["boxes"]["train"] + record["boxes"]["val"] == len(frames)
    assert len(list((box_run / "boxes" / "masks").iterdir())) == len(frames)
    assert "geometry" in record["segmenter"]
    assert record["best"]["epoch"] == 1
    assert (box_run / "weights" / "best.pt").is_file()


def test_boxes_enclose_the_landmarks(box_run, phantom_set):

    points = {frame.name: frame.keypoints.coords for frame in read_labels(phantom_set / "labels.csv", phantom_set)}
    for frame in read_yolo_detect(box_run / "boxes"):
        left, top, right, bottom = frame.boxes.corners[frame.boxes.classes.index(0)]
        ps1, ps2, _ = points[frame.name.split("/")[1]]
        for x, y in (ps1, ps2):
            assert left - 2 <= x <= right + 2
            assert top - 2 <= y <= bottom + 2


@pytest.mark.usefixtures("stubs")
def test_the_pose_network_takes_backbone_and_neck(box_run, phantom_set, tmp_path):
    said = []
    record = train_tiny(phantom_set, tmp_path / "pose", "epochs=1", init=str(box_run), say=said.append)
    moved, whole = record["tensors_transferred"]
    assert 0.9 * whole < moved < whole
    assert any(f"{moved} of {whole} tensors transferred" in line for line in said)


def test_weights_of_another_size_are_refused(box_run, phantom_set, tmp_path):
    with pytest.raises(UsageError, match="backbone and neck tensors of yolo11s"):
        train_tiny(phantom_set, tmp_path / "pose", "epochs=1", "model=yolo11s", init=str(box_run))
    assert not (tmp_path / "pose").exists()


def test_the_count_is_what_ultralytics_moves():
    """Also where the start's head is wider: that of a detector of 80 classes has 80 features, ours 64."""
    from ultralytics.nn.tasks import DetectionModel, PoseModel

    from aop_pose.pipelines.start import Start
    from aop_pose.pipelines.yolo.network import transfer

    for classes in (2, 80):
        given = DetectionModel("yolo11n.yaml", nc=classes, verbose=False)
        with torch.no_grad():
            for value in given.state_dict().values():
                value.fill_(7)
        filled = PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=[3, 2], verbose=False)
        filled.load(given, verbose=False)
        tensors = filled.state_dict().values()
        moved = sum(bool((value == 7).all()) for value in tensors)
        assert transfer(Start(given, "detector"), "yolo11n") == (moved, len(tensors))


@pytest.mark.usefixtures("stubs")
def test_corrected_boxes_are_trained_on(box_run, phantom_set, tmp_path):
    shutil.copytree(box_run / "boxes", tmp_path / "corrected")
    said = []
    record = pretrain_tiny(phantom_set, tmp_path / "run", boxes=tmp_path / "corrected", say=said.append)
    assert "segmenter" not in record
    assert len(record["data"]["fingerprint"]) == 64
    assert not (tmp_path / "run" / "boxes").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--boxes: expected a YOLO detection folder"),
        ("", "--boxes: expected training pictures with boxes"),
        ("2 0.5 0.5 0.1 0.1", "expected a class below 2, found 2"),
        ("0 0.5 0.5 0.1", r"\.txt:1: expected 5 numbers, found 4"),
        ("0 120 60 50 40", r"\.txt:1: expected shares of width and height from 0 to 1, found 120 60 50 40"),
        ("0 0.5 0.5 0 0.1", r"\.txt:1: expected a box with an area"),
    ],
)
def test_boxes_that_do_not_fit_leave_nothing_behind(box_run, phantom_set, tmp_path, text, message):
    if text is not None:
        shutil.copytree(box_run / "boxes", tmp_path / "corrected")
        for label in (tmp_path / "corrected" / "labels").rglob("*.txt"):
            label.write_text(text)
    with pytest.raises(UsageError, match=message):
        pretrain_tiny(phantom_set, tmp_path / "other", boxes=tmp_path / "corrected")
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("stubs")
def test_a_resumed_run_keeps_its_segmenter(phantom_set, tmp_path):
    def kill(*_):
        raise Killed

    with pytest.raises(Killed):
        pretrain_tiny(phantom_set, tmp_path / "run", on_batch=kill)
    with pytest.raises(UsageError, match="was started with another data"):
        pretrain_tiny(phantom_set, tmp_path / "run", segmenter="classical", resume=True)


def test_masks_are_named_as_the_labels_beside_frames_of_equal_names(phantom_set, tmp_path):
    """``b/one.png`` is left out, ``a/one.png`` stays; one reason for both structures is told once."""
    from aop_pose.pipelines.yolo.boxes import write_boxes
    from aop_pose.scribbles.segmenters.rules import Geometric

    frame = read_labels(phantom_set / "labels.csv", phantom_set)[0]
    points = frame.keypoints.coords.copy()
    # Apart for a label, too near for a stroke.
    points[1] = points[0] + 0.01
    coincide = attrs.evolve(frame, name="b/one.png", keypoints=Keypoints.from_points(AOP, points))
    kept = attrs.evolve(frame, name="a/one.png")
    left_out = write_boxes([coincide, kept], Geometric(), tmp_path / "boxes", holdout=0, seed=0)
    assert [(left.name, left.reason) for left in left_out] == [("b/one.png", "PS1 and PS2 coincide")]
    names = {path.relative_to(tmp_path / "boxes").as_posix() for path in (tmp_path / "boxes").rglob("a__one.*")}
    assert names == {"images/train/a__one.png", "labels/train/a__one.txt", "masks/a__one.png"}
    with pytest.raises(AopPoseError, match="expected boxes on at least one frame") as failed:
        write_boxes([coincide], Geometric(), tmp_path / "none", holdout=0, seed=0)
    assert failed.value.exit_code == 1


def test_without_frames_nothing_is_written(phantom_set, tmp_path):
    (tmp_path / "empty.csv").write_text("Filename,PS1,PS2,FH1\n")
    with pytest.raises(UsageError, match="expected at least one labelled frame"):
        pretrain_tiny(phantom_set, tmp_path / "run", labels=str(tmp_path / "empty.csv"))
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("stubs")
def test_the_command_tells_the_next_one(phantom_set, tmp_path, capsys):
    """Ready to be pasted also where a name has a space; ``train --boxes`` takes what ``pretrain`` wrote."""
    out, common = tmp_path / "my run", ["--data", str(phantom_set), "--init", "scratch"]

    def tiny(stage):
        useful = pipeline("yolo").useful(stage, [*TINY, "epochs=1"])
        return [*common, *(word for change in useful for word in ("--set", change))]

    assert main.run(["pretrain", "--segmenter", "geometry", "--out", str(out), *tiny("pretrain")]) == 0
    told = shlex.split(capsys.readouterr().out.splitlines()[-1].split(": ", 1)[1])
    assert told[:2] == ["aop-pose", "train"]
    assert told[told.index("--init") + 1] == str(out)
    assert main.run(["train", "--boxes", str(out / "boxes"), "--out", str(tmp_path / "pose"), *tiny("train")]) == 0
    assert "auxiliary boxes: on " in capsys.readouterr().err


@pytest.mark.usefixtures("stubs")
def test_a_resumed_run_keeps_its_boxes(phantom_set, tmp_path):
    def kill(*_):
        raise Killed

    with pytest.raises(Killed):
        pretrain_tiny(phantom_set, tmp_path / "run", on_batch=kill)
    label = next((tmp_path / "run" / "boxes" / "labels").rglob("*.txt"))
    stamp = label.stat().st_mtime_ns
    said = []
    pretrain_tiny(phantom_set, tmp_path / "run", resume=True, say=said.append)
    assert label.stat().st_mtime_ns == stamp
    assert not any("segmenter" in line for line in said)


def test_the_squared_box_term_against_a_slow_reference():
    generator = torch.Generator().manual_seed(0)
    frames, anchors, size = 2, 5, torch.tensor([64.0, 64.0])
    stride = torch.tensor([[8.0], [8.0], [8.0], [16.0], [32.0]])
    corner = torch.rand(frames, anchors, 2, generator=generator) * 4
    predicted = torch.cat([corner, corner + 1 + torch.rand(frames, anchors, 2, generator=generator)], -1)
    target = torch.cat([corner + 0.3, corner + 2], -1)
    scores = torch.rand(frames, anchors, 2, generator=generator)
    chosen = torch.tensor([[True, False, True, False, True], [False, True, False, True, False]])
    total = scores[chosen].sum()
    distances = torch.zeros(frames, anchors, 4 * 16)
    loss, _ = SquaredBoxLoss(16)(
        distances, predicted, torch.rand(anchors, 2) * 4, target, scores, total, chosen, size, stride
    )
    expected = 0.0
    for i in range(frames):
        for j in range(anchors):
            if chosen[i, j]:
                step = float(stride[j]) / 64
                one, other = centre_size(predicted[i, j]) * step, centre_size(target[i, j]) * step
                expected += float(((one - other) ** 2).sum()) * float(scores[i, j].sum())
    assert float(loss) == pytest.approx(expected / float(total), rel=1e-5)


def test_the_squared_box_term_trains(box_run, phantom_set, tmp_path):
    record = pretrain_tiny(phantom_set, tmp_path / "run", "box_loss=mse", boxes=box_run / "boxes")
    assert record["config"]["box_loss"] == "mse"
    assert record["finished"]


def test_iou_by_hand():
    assert box_iou(np.array([0, 0, 4, 2.0]), np.array([2, 0, 6, 2.0])) == pytest.approx(1 / 3)
    assert box_iou(np.array([0, 0, 1, 1.0]), np.array([2, 2, 3, 3.0])) == 0
    assert box_iou(np.zeros(4), np.zeros(4)) == 0
