"""What a training verb is asked with is checked before anything is written."""

import pytest

from aop_pose.errors import UsageError
from aop_pose.pipelines.job import Job

torch = pytest.importorskip("torch", reason="torch comes with the train extra")


@pytest.mark.parametrize("device", ["tpu", "", "-1", "0,1", "2"])
def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=r"--device: expected cpu, cuda or the number .* \(2 here\), found"):
        Job(tmp_path, tmp_path / "out", device=device)


@pytest.mark.parametrize("device", ["cpu", "0", "1"])
def test_a_device_that_is_there_is_taken(tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Job(tmp_path, tmp_path / "out", device=device).device == device


def test_cuda_is_the_first_device(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Job(tmp_path, tmp_path / "out", device="cuda").device == "0"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="0 here"):
        Job(tmp_path, tmp_path / "out", device="cuda")
