"""An artefact that does not keep its contract is refused before anything is written."""

import json

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.runtime import METADATA_KEY, load
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
