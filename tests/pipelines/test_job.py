"""What a training verb is asked with is checked before anything is written."""

import pytest

from aop_pose.errors import UsageError
from aop_pose.pipelines.config import precision_of
from aop_pose.pipelines.job import Job, gpus_of
from aop_pose.pipelines.run import device_facts, peak_memory

torch = pytest.importorskip("torch", reason="torch comes with the train extra")


@pytest.mark.parametrize("device", ["tpu", "", "-1", "0,2", "2", "cuda:2", "cuda:", "1,1", "0,cpu"])
def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=r"--device: expected cpu, cuda or the number .* \(2 here\), found"):
        Job(tmp_path, tmp_path / "out", device=device)


@pytest.mark.parametrize(("device", "kept", "predicts"), [
    ("cpu", "cpu", "cpu"), ("0", "0", "cuda:0"), ("1", "1", "cuda:1"), ("cuda:1", "1", "cuda:1"),
    ("0,1", "0,1", "cuda:0"),
])  # fmt: skip
def test_a_device_that_is_there_is_taken(tmp_path, monkeypatch, device, kept, predicts):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    job = Job(tmp_path, tmp_path / "out", device=device)
    assert (job.device, job.predicts_on) == (kept, predicts)


def test_several_devices_are_those_that_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert gpus_of("cpu", 1) == []
    assert gpus_of("1,3", 1) == gpus_of("1,3", 2) == [1, 3]
    assert gpus_of("2", 2) == [2, 3]
    with pytest.raises(UsageError, match="gpus: expected 2, as many as --device 1,3 names, found 3"):
        gpus_of("1,3", 3)
    with pytest.raises(UsageError, match="gpus: expected at most 2 from --device 2 on, found 3"):
        gpus_of("2", 3)


@pytest.mark.parametrize(("native", "capability", "found"), [
    (True, (8, 0), "bf16"), (False, (7, 5), "fp16"), (False, (6, 1), "fp32"),
])  # fmt: skip
def test_a_gpu_gets_the_numbers_that_it_has(monkeypatch, native, capability, found):
    """Emulated bfloat16, which older GPUs say yes to, does not count."""
    from contextlib import nullcontext

    monkeypatch.setattr(torch.cuda, "device", lambda number: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capability)
    assert precision_of("auto", "0,1") == found
    assert precision_of("fp32", "0") == "fp32"
    with pytest.raises(UsageError, match="precision fp16: expected --device cuda, found cpu"):
        precision_of("fp16", "cpu")


def test_run_json_names_gpus_and_the_memory_that_all_of_them_took(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    assert device_facts("cuda") == {"device": "cuda", "device_name": "GPU 0"}
    assert device_facts("0,2") == {"device": "0,2", "device_name": "GPU 0, GPU 2"}
    assert device_facts("1", 2)["device_name"] == "GPU 1, GPU 2"
    assert "peak_gpu_memory_mb" not in peak_memory()
    for asked in ("is_available", "is_initialized"):
        monkeypatch.setattr(torch.cuda, asked, lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda number: (number + 1) * 2**30)
    assert peak_memory()["peak_gpu_memory_mb"] == 6 * 1024


def test_ultralytics_trains_on_one_device(tmp_path, monkeypatch):
    from aop_pose.pipelines import pipeline

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    (tmp_path / "labels.csv").write_text("Filename,PS1,PS2,FH1\n")
    with pytest.raises(UsageError, match="expected one CUDA device with --method yolo, found 0,1: Ultralytics starts"):
        pipeline("yolo").train(Job(tmp_path, tmp_path / "out", device="0,1", init="scratch"))


def test_cuda_is_the_first_device(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Job(tmp_path, tmp_path / "out", device="cuda").device == "0"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="0 here"):
        Job(tmp_path, tmp_path / "out", device="cuda")
