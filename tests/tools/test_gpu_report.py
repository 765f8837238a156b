"""The report of what a GPU does runs on a CPU with the smallest sizes; a device that is not there is one line."""

import pytest

pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

import gpu_report

from tests.tools.page_commands import words_of


@pytest.fixture(autouse=True)
def loaders(monkeypatch):
    """The loader that the tool puts in place is taken away again."""
    from aop_pose.pipelines import lightning

    monkeypatch.setattr(lightning, "DataLoader", lightning.DataLoader)


def test_a_rehearsal_measures_and_compares_the_artefact(capsys):
    small = ["--tiny", "--device", "cpu", "--steps", "2", "--methods", "unet"]
    assert gpu_report.main([*words_of("gpu_report"), *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| train")][1:]
    assert [row[0] for row in rows] == ["train unet iugc2025", "train unet head_biometry"]
    for row in rows:
        assert row[1:4] == ["64", "2", "fp32"]
        assert float(row[4]) > 0
        assert float(row[5]) > 0
        assert row[6].endswith(" %")
        assert float(row[7]) < 0.001
        assert row[8] == "no provider" or float(row[8]) < 0.01


def test_a_device_that_is_not_there_is_one_line(capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu_report.main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("gpu_report: error: --device: expected cpu, cuda or the number")


def test_a_training_that_breaks_off_says_why_in_its_row(tmp_path, capsys):
    wrong = ["--tiny", "--device", "cpu", "--steps", "2", "--methods", "unet", "--set", "map_stride=3"]
    assert gpu_report.main(wrong) == 0
    assert "map_stride has to be a multiple of stem" in capsys.readouterr().out
