"""Training of generator and discriminator: resume, refusals, what is frozen, where it starts, and that it learns."""

import shutil

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")

from aop_pose.errors import AopPoseError, UsageError  # noqa: E402
from aop_pose.formats.registry import read_labels  # noqa: E402
from aop_pose.io.images import read_frame  # noqa: E402
from aop_pose.pipelines import load_weights, method_of, pipeline  # noqa: E402
from aop_pose.pipelines.hrnet_gan import training as training_module  # noqa: E402
from tests.pipelines.hrnet_tiny import train_hrnet  # noqa: E402
from tests.pipelines.killing import Killed, kill_at, rows_of  # noqa: E402

NO_CHANGE = ("aug_elastic_p=0", "aug_tone_p=0", "aug_blur_p=0", "aug_speckle_p=0")


def weights_of(run, name="last.pt"):
    return torch.load(run / "weights" / name, weights_only=True)["state"]


def read_set(folder):
    frames = read_labels(folder / "labels.csv", folder)
    return frames, [read_frame(frame.path).pixels for frame in frames]


@pytest.mark.parametrize("changes", [("attention=true",), ("averaging=0.5", "clip=1", "precision=bf16")])
def test_a_resumed_run_equals_a_straight_one(phantom_set, tmp_path, monkeypatch, changes):
    """Both networks, both optimisers, bit for bit."""
    states = []
    ended = training_module.AdversarialTraining.on_fit_end

    def keep(self):
        states.append((self.discriminator.state_dict(), [one.state_dict() for one in self.trainer.optimizers]))
        ended(self)

    monkeypatch.setattr(training_module.AdversarialTraining, "on_fit_end", keep)
    train_hrnet(phantom_set, tmp_path / "straight", "epochs=2", *changes)
    with pytest.raises(Killed):
        train_hrnet(phantom_set, tmp_path / "broken", "epochs=2", *changes, on_batch=kill_at(2, 2))
    train_hrnet(phantom_set, tmp_path / "broken", "epochs=2", *changes, resume=True)
    assert rows_of(tmp_path / "broken") == rows_of(tmp_path / "straight")
    for name in ("best.pt", "last.pt"):
        one, other = weights_of(tmp_path / "straight", name), weights_of(tmp_path / "broken", name)
        assert all(torch.equal(one[key], other[key]) for key in one)
    (judge, optimizers), (judge_again, optimizers_again) = states[0], states[-1]
    assert all(torch.equal(judge[key], judge_again[key]) for key in judge)
    assert len(optimizers) == 2
    for one, other in zip(optimizers, optimizers_again, strict=True):
        for key, moments in one["state"].items():
            assert all(torch.equal(moments[name], other["state"][key][name]) for name in moments)


@pytest.mark.parametrize(
    "changes",
    [
        ("adversary=false", "attention=true"), ("output=coordinates", "adversary=false"),
        ("coordinate_rule=softmax10", "gan=bce", "attention=true"),
        ("averaging=0.5", "schedule=constant", "phantoms=2"),
    ],
)  # fmt: skip
def test_every_switch_trains_exports_and_predicts(phantom_set, tmp_path, changes):
    record = train_hrnet(phantom_set, tmp_path / "run", "epochs=1", *changes)
    assert record["best"]["epoch"] == 1
    exported = pipeline("hrnet-gan").export(tmp_path / "run", tmp_path / "made.onnx")
    assert exported.contract.head == ("coordinates" if "output=coordinates" in changes else "heatmap")
    assert method_of(tmp_path / "run" / "weights" / "last.pt") == "hrnet-gan"
    pictures = read_set(phantom_set)[1]
    for one, other in zip(
        load_weights(str(tmp_path / "run")).raw_outputs(pictures), exported.raw_outputs(pictures), strict=True
    ):
        np.testing.assert_allclose(one.output, other.output, atol=2e-3 if "heat" in exported.contract.head else 0.05)


def few_often(folder, out, count, times):
    """The first frames of a set, each under several names: as many steps in fewer epochs, each of which is kept."""
    (out / "images").mkdir(parents=True)
    header, *lines = (folder / "labels.csv").read_text().splitlines()
    labels = [header]
    for line in lines[:count]:
        name = line.split(",")[0]
        for number in range(times):
            shutil.copyfile(folder / "images" / name, out / "images" / f"{number}-{name}")
            labels.append(f"{number}-{line}")
    (out / "labels.csv").write_text("\n".join(labels) + "\n")
    return out


def test_it_learns_what_it_is_shown(phantom_set, tmp_path):
    """Overfitted to a few phantoms, the points are found, by maps that peak near 1."""
    few = few_often(phantom_set, tmp_path / "few", 4, 12)
    changes = (
        "epochs=10", "holdout=0", "lr_generator=0.003", "weight_decay=0", "lambda_h=100", "decoder=[32,32,24,16,16]",
        "sigma=4", "averaging=0.7", "attention=true", "clip=1",
    )  # fmt: skip
    record = train_hrnet(few, tmp_path / "run", *changes, *NO_CHANGE)
    assert record["data"]["chosen_by"] == "the last epoch"
    frames, pictures = read_set(few)
    found = load_weights(str(tmp_path / "run")).find(pictures)
    errors = [
        np.linalg.norm(f.keypoints.coords - t.keypoints.coords, axis=1).mean()
        for f, t in zip(found, frames, strict=True)
    ]
    assert np.mean(errors) < 4
    assert np.median([one.score for one in found]) > 0.4


def test_the_discriminator_learns_to_tell_maps_apart(phantom_set, tmp_path):
    changes = ("epochs=12", "lr_discriminator=0.01", "lr_generator=0.00001", "discriminator=8")
    train_hrnet(phantom_set, tmp_path / "run", *changes)
    rows = rows_of(tmp_path / "run")
    # One that knows nothing answers a half, whose loss is an eighth for each of both terms.
    assert float(rows[-1]["train/discriminator"]) < 0.8 * float(rows[0]["train/discriminator"])
    assert float(rows[-1]["train/discriminator"]) < 0.2
    assert float(rows[-1]["train/adversarial"]) > 0.2


# --- what is frozen ---


def test_a_frozen_encoder_stays_and_thaws_by_the_list(phantom_set, tmp_path):
    """Of MobileNet the last blocks are freed after the first epoch; running means of frozen layers stay too."""
    first = ("frozen=true", "thaw=[[1,blocks.5],[2,blocks.0]]", "averaging=0", "save_every=1")
    train_hrnet(phantom_set, tmp_path / "start", "epochs=1")
    train_hrnet(phantom_set, tmp_path / "run", *first, "epochs=3", init=str(tmp_path / "start"))
    states = [weights_of(tmp_path / "start", "best.pt")]
    states += [weights_of(tmp_path / "run", f"epoch_{epoch:03}.pt") for epoch in (1, 2, 3)]

    def changed(epoch):
        one, other = states[epoch - 1], states[epoch]
        return {key for key in one if not torch.equal(one[key], other[key])}

    freed = tuple(f"encoder.body.{name}" for name in ("blocks.5", "blocks.0"))
    assert all(key.startswith("decoder.") for key in changed(1))
    assert changed(1)
    for epoch in (2, 3):
        moved = {key for key in changed(epoch) if key.startswith("encoder.")}
        assert moved
        assert all(key.startswith(freed[: epoch - 1]) for key in moved)
        assert any("running_mean" in key for key in moved)
    assert any(key.startswith(freed[1]) for key in changed(3))


@pytest.mark.parametrize(("frozen", "warned"), [("true", True), ("false", False)])
def test_an_encoder_frozen_at_random_weights_is_said(phantom_set, tmp_path, frozen, warned):
    said = []
    with pytest.raises(Killed):
        train_hrnet(phantom_set, tmp_path / "run", f"frozen={frozen}", on_batch=kill_at(1, 1), say=said.append)
    assert any("warning: the encoder is frozen at random weights" in line for line in said) is warned


def test_a_layer_that_the_encoder_has_not_is_refused(phantom_set, tmp_path):
    with pytest.raises(UsageError, match=r"thaw: expected .* mobilenetv3_small_050.*found 'stage9'"):
        train_hrnet(phantom_set, tmp_path / "run", "epochs=1", "frozen=true", "thaw=[[0,stage9]]")
    assert not (tmp_path / "run").exists()


# --- where it starts ---


def test_it_starts_from_a_run_of_itself_and_says_how_many_tensors(phantom_set, tmp_path):
    said = []
    train_hrnet(phantom_set, tmp_path / "first", "epochs=1")
    whole = train_hrnet(phantom_set, tmp_path / "whole", "epochs=1", init=str(tmp_path / "first"), say=said.append)
    moved, tensors = whole["tensors_transferred"]
    assert moved == tensors
    assert any(f"{moved} of {tensors} tensors transferred" in line for line in said)
    other = ("output=coordinates", "adversary=false")
    encoder = train_hrnet(phantom_set, tmp_path / "other", "epochs=1", *other, init=str(tmp_path / "first"))
    inside = [key for key in weights_of(tmp_path / "first") if key.startswith("encoder.")]
    assert len(inside) <= encoder["tensors_transferred"][0] < encoder["tensors_transferred"][1]
    with pytest.raises(UsageError, match=r"--init: .*best.pt does not fit: encoder\."):
        train_hrnet(phantom_set, tmp_path / "no", "encoder=lcnet_035", init=str(tmp_path / "first"))
    assert not (tmp_path / "no").exists()


# --- bad input ---


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_batch(phantom_set, tmp_path, monkeypatch):
    """Nothing of that batch is learned, and the epoch before stays."""
    names = []
    supervised = training_module.AdversarialTraining._supervised

    def spoiled(self, output, points):
        loss = supervised(self, output, points)
        if self.training and self.current_epoch == 1 and len(self.losses) == 1:
            return loss * float("nan")
        return loss

    def told(self, loss, indices, real=training_module.AdversarialTraining.demand_finite):
        names[:] = [self.frames.examples[index].name for index in indices.tolist()]
        real(self, loss, indices)

    monkeypatch.setattr(training_module.AdversarialTraining, "_supervised", spoiled)
    monkeypatch.setattr(training_module.AdversarialTraining, "demand_finite", told)
    train_hrnet(phantom_set, tmp_path / "one", "epochs=1", "schedule=constant")
    with pytest.raises(AopPoseError, match=r"epoch 2: the loss is nan on the batch .*\.png") as stopped:
        train_hrnet(phantom_set, tmp_path / "run", "epochs=3", "schedule=constant")
    assert "\n" not in str(stopped.value)
    assert all(name in str(stopped.value) for name in names)
    assert len(rows_of(tmp_path / "run")) == 1
    for name in ("best.pt", "last.pt"):
        one, other = weights_of(tmp_path / "one", name), weights_of(tmp_path / "run", name)
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_weights_that_the_last_step_of_an_epoch_spoiled_replace_no_checkpoint(phantom_set, tmp_path, monkeypatch):
    """No loss of that epoch tells of them."""
    step = training_module.AdversarialTraining._step

    def spoiling(self, optimizer, loss, indices, clip=False):
        step(self, optimizer, loss, indices, clip)
        if clip and self.current_epoch == 1 and len(self.losses) == self.trainer.num_training_batches - 1:
            with torch.no_grad():
                self.network.decoder.out.weight[0] = torch.nan

    monkeypatch.setattr(training_module.AdversarialTraining, "_step", spoiling)
    with pytest.raises(AopPoseError, match="epoch 2: the last step left weights that are not finite"):
        train_hrnet(phantom_set, tmp_path / "run", "epochs=3")
    for name in ("best.pt", "last.pt"):
        assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "run", name).values())
    assert len(rows_of(tmp_path / "run")) == 1


def test_frames_of_mixed_sizes_and_fewer_than_a_batch(tmp_path):
    """Each is letterboxed: wide, high, larger and smaller than the input."""
    from tests.fakes import textured

    (tmp_path / "images").mkdir()
    lines = ["Filename,PS1,PS2,FH1"]
    for number, (height, width) in enumerate([(48, 120), (200, 90), (64, 64)]):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), textured(number, height, width))
        points = ", ".join(f'"({x * width:.0f}, {y * height:.0f})"' for x, y in ((0.6, 0.3), (0.3, 0.4), (0.7, 0.8)))
        lines.append(f"{number}.png,{points.replace(', ' + chr(34), ',' + chr(34))}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    record = train_hrnet(tmp_path, tmp_path / "run", "epochs=1", "batch=16", "holdout=0")
    assert record["data"]["frames"] == 3
    found = load_weights(str(tmp_path / "run")).raw_outputs(read_set(tmp_path)[1])
    assert [one.output.shape for one in found] == [(3, 64, 64)] * 3


def test_a_map_without_a_place_counts_as_missing(phantom_set):
    """A map that is nowhere positive has no point, whatever the threshold."""
    from aop_pose.core.letterbox import Letterbox
    from aop_pose.pipelines.config import load_config
    from aop_pose.pipelines.data import read_examples
    from aop_pose.pipelines.hrnet_gan.config import PRESETS, HrnetConfig
    from aop_pose.pipelines.hrnet_gan.network import Generator
    from tests.pipelines.hrnet_tiny import TINY

    config = load_config(HrnetConfig, PRESETS, "fast", TINY)
    examples = read_examples(read_set(phantom_set)[0][:1])
    training = training_module.AdversarialTraining(
        config, Generator(config), 0, examples, examples, pipeline("hrnet-gan").contract(config, "a", {})
    )
    found = training.errors(np.full((3, 64, 64), -1.0), examples[0], Letterbox(1, 1, 0, 0))
    assert found == {"val/mre_px": pytest.approx(96 * 2**0.5), "val/missing": 1.0, "val/aop_mae_deg": 180.0}
