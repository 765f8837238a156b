"""The stance fitted on features: what is separable is told, a run goes all the way; means of checkpoints."""

import sys

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

import fit_stance  # noqa: E402
import mean_checkpoint  # noqa: E402

from aop_pose.core.stances import STANCES  # noqa: E402
from aop_pose.phantom.write import write_phantoms  # noqa: E402
from tests.pipelines.unet_tiny import train_unet  # noqa: E402


def test_what_is_separable_is_told_apart_and_shift_and_scale_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    stances = torch.arange(160) % len(STANCES)
    features = torch.randn(160, 12, generator=generator)
    features[torch.arange(160), stances] += 6
    features = 1000 + 50 * features
    weight, bias = fit_stance.regression(features, stances)
    assert (torch.argmax(features @ weight.T + bias, dim=1) == stances).float().mean() > 0.98


def test_the_mean_of_two_checkpoints():
    states = [
        {"a": torch.tensor([1.0, 3.0]), "n": torch.tensor(4)},
        {"a": torch.tensor([2.0, 5.0]), "n": torch.tensor(6)},
    ]
    found = mean_checkpoint.mean_of(states)
    assert found["a"].tolist() == [1.5, 4.0]
    assert int(found["n"]) == 6


def test_a_run_gets_a_checkpoint_whose_other_tensors_are_the_same(tmp_path, monkeypatch, capsys):
    data = write_phantoms(tmp_path / "data", count=5, seed=5, size=96)
    train_unet(data, tmp_path / "run", "epochs=1", "turned=0.3")
    best, last = (tmp_path / "run" / "weights" / name for name in ("best.pt", "last.pt"))
    monkeypatch.setattr(sys, "argv", ["mean", str(best), str(last), "--out", str(tmp_path / "run/weights/mean.pt")])
    assert mean_checkpoint.main() == 0
    words = ["fit", str(tmp_path / "run/weights/mean.pt"), "--data", str(data), "--labels", "labels.csv",
             "--check", "labels.csv", "--times", "1"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    assert fit_stance.main() == 0
    assert "| mirrored and turned by 270 degrees | 5 |" in capsys.readouterr().out
    before, after = (torch.load(tmp_path / "run/weights" / name)["state"] for name in ("mean.pt", "stance.pt"))
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["turn.weight", "turn.bias"]


def test_a_network_that_was_not_taught_is_refused(tmp_path, monkeypatch, capsys):
    data = write_phantoms(tmp_path / "data", count=5, seed=5, size=96)
    train_unet(data, tmp_path / "run", "epochs=1")
    monkeypatch.setattr(sys, "argv", ["fit", str(tmp_path / "run"), "--data", str(data), "--labels", "labels.csv"])
    assert fit_stance.main() == 2
    assert "turned above 0" in capsys.readouterr().err
