"""An artefact that does not keep its contract is refused before anything is written."""

import json

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.inference.predictor import METADATA_KEY, load
from tests.fakes import contract
from tests.tiny_artefact import write_artefact


def test_a_whole_artefact_is_loaded_and_answers(tmp_path):
    predictor = load(write_artefact(tmp_path / "tiny.onnx"))
    assert predictor.model_id.startswith("tiny@")
    found = predictor.find([np.full((100, 80), 200, np.uint8)] * 3)
    assert len(found) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": "xyz"}, "schema: Value error, expected one of aop, head, found 'xyz'"),
        ({"image_size": -3}, "image_size: Input should be greater than 0"),
        ({"format": 9}, "format: Input should be 1"),
        ({"colour": 1}, "colour: Extra inputs are not permitted"),
        (
            {"schema": "head"},
            r"expected an answer of shape \(1, 13, candidates\) for schema head, found \(1, 11, 176\)",
        ),
        ({"image_size": 64}, r"does not take the \(1, 1, 64, 64\) that its contract says"),
    ],
)
def test_a_contract_that_is_not_kept_is_refused(tmp_path, changes, said):
    file = write_artefact(tmp_path / "tiny.onnx", **changes)
    with pytest.raises(UsageError, match=said) as caught:
        load(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", "", "null"])
def test_a_contract_that_is_none_is_refused(tmp_path, text):
    file = write_artefact(tmp_path / "tiny.onnx", metadata={METADATA_KEY: text})
    with pytest.raises(UsageError, match="does not fit this version"):
        load(file)


@pytest.mark.parametrize("change", [{"letterbox_value": 0}, {"normalisation": "mean 0, deviation 1"}])
def test_a_contract_that_this_runtime_would_not_keep_is_refused(tmp_path, change):
    file = write_artefact(tmp_path / "tiny.onnx", **change)
    with pytest.raises(UsageError, match=f"does not fit this version .*{next(iter(change))}"):
        load(file)


def test_an_onnx_of_somebody_else_is_refused(tmp_path):
    file = write_artefact(tmp_path / "tiny.onnx", metadata={"names": json.dumps({0: "cat"})})
    with pytest.raises(UsageError, match="without an aop-pose contract"):
        load(file)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_artefact_is_refused(tmp_path, share):
    whole = write_artefact(tmp_path / "tiny.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UsageError, match=r"cut\.onnx"):
        load(tmp_path / "cut.onnx")


def test_an_artefact_that_cannot_be_opened_is_refused(tmp_path, monkeypatch):
    def refusing(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refusing)
    (tmp_path / "locked.onnx").touch()
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        load(tmp_path / "locked.onnx")


def test_the_contract_survives_its_way_through_the_file(tmp_path):
    file = write_artefact(tmp_path / "tiny.onnx", threshold=0.3)
    assert load(file).contract == contract(name="tiny", image_size=44, threshold=0.3)


def test_maps_are_read_as_points_in_pixels_of_each_picture():
    from aop_pose.inference.decode import encode, to_map
    from aop_pose.inference.predictor import Predictor

    truth = np.array([[100.0, 60.0], [30.5, 80.25], [200.0, 150.0]])
    maps = encode(to_map(truth, 4), (64, 64), 2.0) * np.array([1.0, 0.7, 0.9])[:, None, None]
    predictor = Predictor(
        contract(head="heatmap", decode="subpixel"), lambda inputs: np.stack([maps] * len(inputs)), "m@0"
    )
    # A picture of twice the size is shrunk to the input: its points lie at twice the place, and half a pixel.
    small, large = predictor.find([np.zeros((256, 256), np.uint8), np.zeros((512, 512), np.uint8)])
    np.testing.assert_allclose(small.keypoints.coords, truth, atol=0.05)
    np.testing.assert_allclose(large.keypoints.coords, truth * 2 + 0.5, atol=0.1)
    np.testing.assert_allclose(small.keypoints.scores, [0.97, 0.69, 0.88], atol=0.01)
    assert small.score == small.keypoints.scores.min()


def test_a_map_below_the_threshold_or_not_finite_is_no_anatomy():
    from aop_pose.inference.predictor import Predictor

    maps = np.full((1, 3, 8, 8), 0.5)
    maps[0, 1] = 0.2
    predictor = Predictor(contract(head="heatmap", decode="argmax"), lambda inputs: maps, "m@0")
    found = predictor.find([np.zeros((256, 256), np.uint8)])[0]
    assert found.keypoints is None
    assert found.score == pytest.approx(0.2)
    maps[0, 1] = np.nan
    assert predictor.find([np.zeros((256, 256), np.uint8)])[0].score == 0


def test_the_ends_of_a_head_axis_are_told_apart():
    from aop_pose.inference.decode import encode, to_map
    from aop_pose.inference.predictor import Predictor

    truth = np.array([[128.0, 40.0], [130.0, 210.0], [60.0, 120.0], [200.0, 130.0]])
    maps = encode(to_map(truth, 4), (64, 64), 2.0)
    # A vertical OFD: the network cannot say which end has the smaller x, so that both maps show both.
    maps[:2] = maps[:2].mean(axis=0) * np.array([1.0, 0.99])[:, None, None]
    predictor = Predictor(contract(schema="head", head="heatmap", decode="subpixel"), lambda inputs: maps[None], "m@0")
    found = predictor.find([np.zeros((256, 256), np.uint8)])[0].keypoints.coords
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(np.linalg.norm(truth[0] - truth[1]), abs=0.2)
    np.testing.assert_allclose(found[2:], truth[2:], atol=0.1)


def test_coordinates_are_points_without_doubt():
    from aop_pose.inference.predictor import Predictor

    points = np.array([[[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]], np.float32)
    predictor = Predictor(contract(head="coordinates", decode="direct"), lambda inputs: points, "m@0")
    found = predictor.find([np.zeros((256, 256), np.uint8)])[0]
    np.testing.assert_allclose(found.keypoints.coords, points[0])
    assert found.score == 1.0
    points[0, 2, 1] = np.nan
    assert predictor.find([np.zeros((256, 256), np.uint8)])[0].keypoints is None


@pytest.mark.parametrize(("head", "shape"), [("heatmap", "h, h"), ("coordinates", "2")])
def test_an_answer_of_another_head_is_refused(tmp_path, head, shape):
    decode = {"heatmap": "argmax", "coordinates": "direct"}[head]
    file = write_artefact(tmp_path / "tiny.onnx", head=head, decode=decode)
    with pytest.raises(UsageError, match=rf"expected an answer of shape \(1, 3, {shape}\)"):
        load(file)


def test_a_rule_of_another_head_is_refused(tmp_path):
    file = write_artefact(tmp_path / "tiny.onnx", decode="argmax")
    with pytest.raises(UsageError, match="expected one of best, weighted for head pose, found 'argmax'"):
        load(file)


def test_why_an_artefact_is_not_opened_is_said(tmp_path):
    onnx = pytest.importorskip("onnx")
    tiny = write_artefact(tmp_path / "tiny.onnx")

    def changed(change):
        model = onnx.load(tiny)
        change(model)
        (tmp_path / "changed.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(UsageError) as caught:
            load(tmp_path / "changed.onnx")
        return str(caught.value)

    def custom(model):
        model.graph.node[0].domain = "mine"
        model.opset_import.append(onnx.helper.make_opsetid("mine", 1))

    def outside(model):
        shape = model.graph.initializer[0]
        shape.data_location = onnx.TensorProto.EXTERNAL
        shape.external_data.add(key="location", value="../shape.bin")

    def damaged(model):
        model.metadata_props[0].value = "seldom"

    assert "was written for a newer onnxruntime (IR version: 99" in changed(
        lambda model: setattr(model, "ir_version", 99)
    )
    assert "was written for a newer onnxruntime (Opset 99" in changed(
        lambda model: setattr(model.opset_import[0], "version", 99)
    )
    assert "has the operator mine:Reshape" in changed(custom)
    assert "keeps weights in a second file (external data), which is refused" in changed(outside)
    assert "the contract in" in changed(damaged)
    tiny.write_bytes(tiny.read_bytes().replace(b"gray / 255", b"gray \xff 255"))
    with pytest.raises(UsageError, match="not a readable ONNX file"):
        load(tiny)
