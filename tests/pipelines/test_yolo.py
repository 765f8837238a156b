"""The YOLO pipeline: what a run leaves behind, that a resumed run is a straight one, and that its export agrees."""

import json

import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.inference.predictor import load  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.pipelines import load_weights, pipeline  # noqa: E402
from tests.pipelines.conftest import train_tiny, weights_of  # noqa: E402
from tests.pipelines.killing import Killed, rows_of  # noqa: E402


def test_a_run_folder_is_whole(tiny_run):
    names = {path.relative_to(tiny_run).as_posix() for path in tiny_run.rglob("*") if path.is_file()}
    expected = {"run.json", "config.yaml", "metrics.csv", "curves.png", "weights/best.pt", "weights/last.pt"}
    assert names == expected
    record = json.loads((tiny_run / "run.json").read_text())
    assert record["finished"] is True
    assert record["data"]["frames"] + record["data"]["checked_frames"] == 10
    assert record["start"].startswith("scratch")
    assert record["wall_seconds"] > 0
    assert record["peak_memory_mb"] > 100
    assert record["config"]["epochs"] == 2
    assert len(record["data"]["fingerprint"]) == 64


def test_the_kept_epoch_is_the_one_with_the_least_mre(tiny_run):
    record = json.loads((tiny_run / "run.json").read_text())
    errors = [float(row["val/mre_px"]) for row in rows_of(tiny_run)]
    assert record["best"]["epoch"] == len(errors) - int(np.argmin(errors[::-1]))
    assert record["best"]["val/mre_px"] == pytest.approx(min(errors))


def test_of_equal_epochs_the_last_is_kept(tmp_path):
    from aop_pose.pipelines.run import best_row

    (tmp_path / "metrics.csv").write_text("epoch,val/mre_px\n1,9\n2,7\n3,7\n4,8\n")
    assert best_row(tmp_path / "metrics.csv", ["val/mre_px"])["epoch"] == 3


def test_a_run_killed_after_its_last_epoch_is_only_finished(phantom_set, tmp_path, tiny_run, monkeypatch):
    """It trains no epoch more, and none again; what it holds is what a run of the same seed holds."""
    from aop_pose.pipelines.run import RunFolder

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", kill)
        with pytest.raises(Killed):
            train_tiny(phantom_set, tmp_path / "run", "epochs=2")
    epochs = []
    record = train_tiny(phantom_set, tmp_path / "run", "epochs=2", resume=True, on_epoch=epochs.append)
    assert (epochs, record["finished"]) == ([], True)
    straight, resumed = weights_of(tiny_run), weights_of(tmp_path / "run")
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    assert {file.name for file in (tmp_path / "run" / "weights").iterdir()} == {"best.pt", "last.pt"}


def test_another_seed_is_another_run(phantom_set, tmp_path, tiny_run):
    """Its first epoch differs already; that the same seed is the same run is seen above."""
    train_tiny(phantom_set, tmp_path / "other", "epochs=1", seed=1)
    assert rows_of(tmp_path / "other")[0]["train/pose_loss"] != rows_of(tiny_run)[0]["train/pose_loss"]


def test_export_and_native_prediction_agree(tiny_run, phantom_set, tmp_path):
    exported = pipeline("yolo").export(tiny_run, tmp_path / "tiny.onnx", threshold=0.001, decode="best")
    assert (exported.contract.threshold, exported.contract.decode) == (0.001, "best")
    native = load_weights(str(tiny_run))
    pictures = [read_frame(path).pixels for path in sorted((phantom_set / "images").iterdir())]
    for one, other in zip(native.find(pictures), exported.find(pictures), strict=True):
        np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=0.05)
        assert one.score == pytest.approx(other.score, abs=1e-3)
    assert exported.contract.image_size == 64
    assert exported.contract.training_run["name"] == "tiny"
    assert exported.model_id.startswith("tiny@")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]


def test_the_batch_does_not_change_the_answer(tiny_run, phantom_set, tmp_path):
    predictor = pipeline("yolo").export(tiny_run, tmp_path / "tiny.onnx")
    pictures = [read_frame(path).pixels for path in sorted((phantom_set / "images").iterdir())]
    alone = [predictor.find([picture])[0] for picture in pictures]
    for one, other in zip(alone, predictor.find(pictures), strict=True):
        np.testing.assert_allclose(one.keypoints.coords, other.keypoints.coords, atol=1e-3)


def test_one_gray_channel_equals_three(tiny_run):
    """The folded first convolution against the network as it was trained."""
    from aop_pose.pipelines.yolo.network import FoldedPose, GrayPose, fold_gray, load_checkpoint

    picture = torch.rand(2, 1, 64, 64)
    three = GrayPose(load_checkpoint(tiny_run / "weights" / "best.pt"))
    folded = load_checkpoint(tiny_run / "weights" / "best.pt")
    fold_gray(folded)
    with torch.no_grad():
        torch.testing.assert_close(FoldedPose(folded)(picture), three(picture), atol=1e-3, rtol=1e-4)


def test_training_labels_are_where_the_points_are(phantom_set):
    """Ultralytics' dataset gives the points of each example in pixel centres of the letterboxed input."""
    from aop_pose.core.letterbox import fit
    from aop_pose.formats.registry import read_labels
    from aop_pose.pipelines.yolo.config import YoloConfig
    from aop_pose.pipelines.yolo.data import FrameDataset
    from aop_pose.pipelines.yolo.stages import read_examples

    examples = read_examples(read_labels(phantom_set / "labels.csv", phantom_set))[:2]
    config = YoloConfig(image_size=128, brightness=0, gamma=0, speckle=0)
    data = {"names": {0: "aop"}, "nc": 1, "channels": 3, "kpt_shape": [3, 2], "flip_idx": [0, 1, 2]}
    item = FrameDataset(examples, config, data=data, augment=False)[0]
    _, box = fit(examples[0].pixels, 128)
    found = item["keypoints"][0, :, :2].numpy() * 128
    np.testing.assert_allclose(found, box.forward(examples[0].points), atol=1e-3)


def test_named_weights_must_be_there(phantom_set, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="--init"):
        train_tiny(phantom_set, tmp_path / "run", "epochs=1", init=str(tmp_path / "none.pt"))
    monkeypatch.setenv("AOP_POSE_INIT", str(tmp_path / "none.pt"))
    with pytest.raises(UsageError, match="AOP_POSE_INIT"):
        train_tiny(phantom_set, tmp_path / "other", "epochs=1", init="auto")
    assert not list(tmp_path.iterdir()), "nothing is written when the call does not fit"


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("save", [lambda o, p: p.write_bytes(__import__("pickle").dumps(o)), torch.save])
def test_a_pickle_is_refused_before_it_runs(tmp_path, phantom_set, save):
    save({"model": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match="not an Ultralytics checkpoint"):
        load_weights(str(tmp_path / "evil.pt"))
    with pytest.raises(UsageError, match="not an Ultralytics checkpoint"):
        train_tiny(phantom_set, tmp_path / "run", "epochs=1", init=str(tmp_path / "evil.pt"))
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"method": "magic"}'])
def test_a_broken_run_folder_is_one_line(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError):
        load_weights(str(tmp_path))


def test_a_frame_in_labels_and_val_is_named(phantom_set, tmp_path):
    with pytest.raises(UsageError, match=r"000\d*\.png|\.png stands in --labels too"):
        train_tiny(phantom_set, tmp_path / "run", "epochs=1", options={"val": "labels.csv"})


def test_a_val_file_without_a_frame_is_named(phantom_set, tmp_path):
    """Else the last epoch would be kept where the user asked for the best one."""
    (tmp_path / "val.csv").write_text("Filename,PS1,PS2,FH1\n")
    with pytest.raises(UsageError, match="--val: expected at least one labelled frame"):
        train_tiny(phantom_set, tmp_path / "run", options={"val": str(tmp_path / "val.csv")})
    assert not (tmp_path / "run").exists()


def test_nothing_but_an_artefact_of_ours_is_loaded(tmp_path):
    import onnx

    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UsageError, match="not a readable ONNX"):
        load(tmp_path / "text.onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(UsageError, match="without an aop-pose contract"):
        load(tmp_path / "foreign.onnx")
