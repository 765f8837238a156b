"""What a training of the U-Net shows and says, and in which numbers its coordinates are calculated."""

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.core.schemas import HEAD  # noqa: E402
from aop_pose.draw.frame import colours  # noqa: E402
from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.run import draw_curves  # noqa: E402
from aop_pose.pipelines.unet.config import PRESETS, UnetConfig  # noqa: E402
from aop_pose.pipelines.unet.network import build  # noqa: E402
from tests.pipelines.unet_tiny import train_unet, write_heads  # noqa: E402


def test_coordinates_are_not_rounded_in_bfloat16():
    network = build(load_config(UnetConfig, PRESETS, "fast", ["head=coordinates", "image_size=64"]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        shares = network(torch.rand(8, 1, 64, 64))
    assert shares.dtype == torch.float32
    assert (shares != shares.bfloat16().float()).float().mean() > 0.9


def test_settings_that_do_not_go_together_are_one_short_line():
    with pytest.raises(UsageError) as caught:
        load_config(UnetConfig, PRESETS, "head_fast", ["points=aop"])
    assert str(caught.value) == "head_fast: region ellipse does not belong to points aop"


def test_sample_predictions_are_drawn_at_the_end_in_the_colours_of_an_overlay(tmp_path):
    train_unet(write_heads(tmp_path / "set"), tmp_path / "run", "epochs=2", "points=head", "region=none", "batch=4")
    (sample,) = (tmp_path / "run" / "samples").iterdir()
    assert sample.name == "epoch_002.png"
    painted = {tuple(pixel) for pixel in cv2.imread(str(sample))[:, :256].reshape(-1, 3).tolist()}
    assert set(colours(HEAD.points)) <= painted
    assert (40, 220, 255) not in painted


def test_sample_predictions_have_a_legend_above():
    from aop_pose.pipelines.lightning import LINE, SIDE, _legend

    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "aop_pose.pipelines.lightning.put_text", lambda canvas, text, *rest: said.append((text, rest[-1]))
        )
        strip = _legend(("PS1", "PS2"), [(1, 2, 3), (4, 5, 6)], 2 * SIDE)
    assert strip.shape == (2 * LINE, 2 * SIDE, 3)
    assert said == [
        ("dot: label, cross: found, right: its maps", (255, 255, 255)), ("PS1", (1, 2, 3)), ("PS2", (4, 5, 6)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "titles"),
    [
        ("epoch,train/loss,val/mre_px,val/loss", [["train/loss", "val/loss"], ["val/mre_px"]]),
        ("epoch,train/box_loss,train/pose_loss,val/mre_px", [["train/box_loss", "train/pose_loss"], ["val/mre_px"]]),
    ],
)
def test_losses_of_training_and_validation_share_a_panel(tmp_path, monkeypatch, header, titles):
    from matplotlib.figure import Figure

    drawn = []
    kept = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), kept(self, *a, **k))[1])
    numbers = np.arange(1, 4)[:, None] * np.ones(header.count(",") + 1)
    lines = [",".join(map(str, row)) for row in numbers]
    (tmp_path / "metrics.csv").write_text("\n".join([header, *lines]) + "\n")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png", kept=2.0)
    lines = [[line.get_label() for line in axis.lines] for axis in drawn[0].axes]
    assert [[label.split(" (")[0] for label in labels[:-1]] for labels in lines] == titles
    assert {labels[-1] for labels in lines} == {"kept: epoch 2"}
    assert [axis.get_title() for axis in drawn[0].axes] == ["loss", "mean radial error, px"]
    assert all(axis.get_ylim()[0] == 0 and axis.get_ylim()[1] > 3 for axis in drawn[0].axes)


def test_losses_that_fall_far_are_drawn_by_their_logarithm(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    kept = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), kept(self, *a, **k))[1])
    (tmp_path / "metrics.csv").write_text("epoch,train/loss,val/mre_px\n1,100,50\n2,5,1\n")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert [axis.get_yscale() for axis in drawn[0].axes] == ["log", "linear"]


def test_a_training_of_one_epoch_has_names_and_whole_epochs_on_its_axes(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn = []
    kept = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), kept(self, *a, **k))[1])
    (tmp_path / "metrics.csv").write_text("epoch,train/loss,val/box_iou_ps,val/spread\n1,2,0.5,0.9\n")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert not any("_" in axis.get_title() for axis in drawn[0].axes)
    assert all(float(tick).is_integer() for axis in drawn[0].axes for tick in axis.get_xticks())


@pytest.mark.parametrize("counts", [(0, 0), (3, 1)])
def test_frames_that_were_not_found_are_counted_in_whole_numbers(tmp_path, monkeypatch, counts):
    from matplotlib.figure import Figure

    drawn = []
    kept = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), kept(self, *a, **k))[1])
    rows = "".join(f"{epoch},2,{count}\n" for epoch, count in enumerate(counts, 1))
    (tmp_path / "metrics.csv").write_text(f"epoch,train/loss,val/missing\n{rows}")
    draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    axis = drawn[0].axes[1]
    assert axis.get_ylim()[0] == 0
    assert axis.get_ylim()[1] >= max(1, *counts)
    assert all(float(tick).is_integer() for tick in axis.get_yticks())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("widths=[0,8]", "widths.0: .* greater than or equal to 1"), ("widths=[8,-1]", "widths.1: "),
        ("sigma=.inf", "sigma: .* finite"), ("patient=(", r"patient: .* regular expression"),
        ("patient=abc", "patient: .* bracket around the patient"),
    ],
)  # fmt: skip
def test_a_value_that_no_training_could_use_is_named(change, said):
    with pytest.raises(UsageError, match=said):
        load_config(UnetConfig, PRESETS, "fast", [change])
