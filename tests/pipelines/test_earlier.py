"""Checkpoints made before pipelines were classes (commit 7e8297e) are read: names, shapes and settings are recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

from aop_pose.core.frame import Volume  # noqa: E402
from aop_pose.pipelines import method_of, open_weights, pipeline  # noqa: E402
from aop_pose.pipelines.checkpoint import read_checkpoint  # noqa: E402

RECORDED = sorted((Path(__file__).parent / "earlier").glob("*.json"))


@pytest.fixture(params=RECORDED, ids=lambda file: file.stem)
def checkpoint(request, tmp_path):
    """The recorded checkpoint with weights drawn at random; and what it says."""
    content = json.loads(request.param.read_text(encoding="utf-8"))
    torch.manual_seed(0)
    drawn = {key: torch.rand(shape).to(getattr(torch, kind)) * 0.1 for key, (kind, shape) in content["state"].items()}
    torch.save({**content, "state": drawn}, tmp_path / "earlier.pt")
    return tmp_path / "earlier.pt", content


def test_an_earlier_checkpoint_fills_the_network_of_its_settings(checkpoint):
    file, content = checkpoint
    assert method_of(file) == content["method"]
    chosen = pipeline(content["method"])
    found = read_checkpoint(file, "weights", content["method"], chosen.stored())
    network = chosen.network(content["stage"], found.config)
    start = chosen.start(str(file), network)
    assert start.moved == start.tensors == len(content["state"])


def test_an_earlier_checkpoint_finds_points(checkpoint):
    file, content = checkpoint
    if content["stage"] != "train":
        pytest.skip("a pre-training finds no points")
    predictor = open_weights(str(file))
    if pipeline(content["method"]).image == "volume":
        volume = Volume(np.random.default_rng(0).random((16, 14, 12), dtype=np.float32), np.eye(4), source="a.nii.gz")
        assert np.isfinite(predictor.maps(volume).maps).all()
    else:
        assert len(predictor.find([np.random.default_rng(0).integers(0, 255, (48, 64), dtype=np.uint8)])) == 1
