"""``pretrain --method hrnet-gan``: run folder, exact resume with its queue, start, collapse, refusals."""

import json
import math

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.errors import AopPoseError, UsageError  # noqa: E402
from aop_pose.pipelines.hrnet_gan import pretraining as moco_training  # noqa: E402
from aop_pose.pipelines.hrnet_gan.network import Encoder  # noqa: E402
from tests.fakes import textured  # noqa: E402
from tests.pipelines.hrnet_tiny import train_hrnet  # noqa: E402
from tests.pipelines.killing import Killed, kill_at, rows_of  # noqa: E402

HELD = "moco_holdout=0.3"


def pretrain(data, out, *changes, frames=None, **settings):
    options = {"frames": str(frames)} if frames is not None else {}
    return train_hrnet(data, out, HELD, *changes, verb="pretrain", options=options, **settings)


def everything(run):
    """The state that a resume goes on from, flat."""
    content = torch.load(run / "weights" / "resume.ckpt", weights_only=True)
    optimizer = content["optimizer_states"][0]
    moments = {
        f"{number}.{name}": value for number, state in optimizer["state"].items() for name, value in state.items()
    }
    return {**content["state_dict"], **moments}, [group["lr"] for group in optimizer["param_groups"]]


def killed(*_):
    raise Killed


@pytest.fixture(scope="module")
def finished(phantom_set, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("moco") / "run", []
    return out, pretrain(phantom_set, out, "epochs=2", say=said.append), said


def test_a_run_says_how_it_began_and_whether_it_collapsed(finished):
    out, record, said = finished
    assert any(line.startswith("start: scratch (random weights)") for line in said)
    assert said[-1].startswith("spread of embeddings: ")
    assert "chance" in said[-1]
    assert json.loads((out / "run.json").read_text())["collapse"] == record["collapse"]
    assert record["collapse"]["why"] is None
    assert record["collapse"]["frames"] == record["data"]["checked_frames"]
    assert record["collapse"]["chance"] == pytest.approx(1 / record["data"]["checked_frames"], abs=1e-4)
    rows = rows_of(out)
    assert [list(row)[-4:] for row in rows] == [["val/loss", "val/spread", "val/retrieval", "lr/rate"]] * 2
    assert all(math.isfinite(float(row["val/loss"])) for row in rows)
    assert record["best"]["epoch"] == min((float(row["val/loss"]), int(row["epoch"])) for row in rows)[1]


def test_training_takes_the_encoder_over(finished, phantom_set, tmp_path):
    out, _, _ = finished
    record = train_hrnet(phantom_set, tmp_path / "run", "epochs=1", init=str(out))
    state = torch.load(out / "weights" / "best.pt", weights_only=True)["state"]
    encoder = [key for key in state if key.startswith("encoder.")]
    assert record["tensors_transferred"][0] == len(encoder) > 0.8 * len(state)


def test_pretraining_starts_from_a_run(finished, phantom_set, tmp_path):
    out, _, _ = finished
    record = pretrain(phantom_set, tmp_path / "run", "epochs=1", init=str(out))
    assert record["start"].startswith("best.pt (sha256 ")
    assert record["tensors_transferred"][0] == record["tensors_transferred"][1]


def test_a_resumed_run_equals_a_straight_one_with_its_queue(phantom_set, tmp_path):
    changes = ("epochs=3", "moco_batch=2", "moco_queue=32", "moco_pairs=matched")
    with pytest.raises(Killed):
        pretrain(phantom_set, tmp_path / "straight", *changes, on_batch=kill_at(3, 1))
    with pytest.raises(Killed):
        pretrain(phantom_set, tmp_path / "broken", *changes, on_batch=kill_at(2, 2))
    with pytest.raises(Killed):
        pretrain(phantom_set, tmp_path / "broken", *changes, on_batch=kill_at(3, 1), resume=True)
    states, rates = zip(*(everything(tmp_path / run) for run in ("straight", "broken")), strict=True)
    assert {"queue.vectors", "queue.position", "key.head.0.weight", "network.head.0.weight"} <= states[0].keys()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert rates[0] == rates[1]
    # Steps of 8 keys: the position has moved on, and nothing of the random start is left.
    assert int(states[0]["queue.position"]) > 0
    for run in ("straight", "broken"):
        pretrain(phantom_set, tmp_path / run, *changes, resume=True)
    assert rows_of(tmp_path / "broken") == rows_of(tmp_path / "straight")
    for name in ("best.pt", "last.pt"):
        kept = [torch.load(tmp_path / run / "weights" / name, weights_only=True) for run in ("straight", "broken")]
        assert all(torch.equal(kept[0]["state"][key], kept[1]["state"][key]) for key in kept[0]["state"])


@pytest.mark.parametrize("held", ["moco_holdout=0.3", "moco_holdout=0"])
def test_a_run_killed_in_its_check_for_collapse_is_resumed_there(phantom_set, tmp_path, monkeypatch, held):
    straight = pretrain(phantom_set, tmp_path / "straight", "epochs=2", held)
    check = moco_training.ContrastiveTraining.check_for_collapse
    monkeypatch.setattr(moco_training.ContrastiveTraining, "check_for_collapse", killed)
    with pytest.raises(Killed):
        pretrain(phantom_set, tmp_path / "broken", "epochs=2", held)
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["finished"] is False
    monkeypatch.setattr(moco_training.ContrastiveTraining, "check_for_collapse", check)
    # Nothing is trained again.
    resumed = pretrain(phantom_set, tmp_path / "broken", "epochs=2", held, on_batch=killed, resume=True)
    assert resumed["finished"]
    assert (resumed["collapse"], resumed["best"]) == (straight["collapse"], straight["best"])
    assert rows_of(tmp_path / "broken") == rows_of(tmp_path / "straight")
    files = [sorted(path.name for path in (tmp_path / run).rglob("*")) for run in ("straight", "broken")]
    assert files[0] == files[1]


def test_it_learns_to_tell_positions_apart(tmp_path):
    """The loss against the queue falls well below that of guessing among it."""
    for number in range(12):
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), textured(number, 64, 64))
    rates = [f"moco_lr_{part}=0.003" for part in ("stage4", "stage3", "rest", "head")]
    record = pretrain(tmp_path, tmp_path / "run", "epochs=12", "moco_momentum=0.9", "moco_holdout=0", *rates)
    losses = [float(row["train/loss"]) for row in rows_of(tmp_path / "run")]
    assert losses[-1] < 0.75 * math.log(65)
    assert losses[-1] < max(losses) - 0.5
    # None held out: the last epoch is kept, and frames that trained are checked.
    assert record["best"] == {"epoch": 12, "val/loss": None, "val/spread": None, "val/retrieval": None}
    assert record["collapse"]["frames"] == 12


def test_an_encoder_with_constant_output_fails_and_its_run_is_kept(phantom_set, tmp_path, monkeypatch):
    answer = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, gray: answer(self, gray) * 0 + 1)
    with pytest.raises(
        AopPoseError, match=r"pre-training collapsed: expected embeddings that spread by 0\.005"
    ) as raised:
        pretrain(phantom_set, tmp_path / "run", "epochs=1")
    assert raised.value.exit_code == 1
    assert "\n" not in str(raised.value)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["finished"]
    assert record["collapse"]["spread"] < 0.001
    assert record["collapse"]["why"]
    for file in ("metrics.csv", "curves.png", "weights/best.pt", "weights/last.pt"):
        assert (tmp_path / "run" / file).is_file()


def test_a_loss_that_is_none_stops_the_run_and_names_the_batch(phantom_set, tmp_path, monkeypatch):
    loss, calls = moco_training.info_nce, []

    def broken(*given):
        calls.append(1)
        return loss(*given) * (math.nan if len(calls) == 4 else 1)

    monkeypatch.setattr(moco_training, "info_nce", broken)
    with pytest.raises(AopPoseError, match=r"epoch 2: the loss is nan on the batch \S+\.png, \S+\.png;") as raised:
        pretrain(phantom_set, tmp_path / "run", "epochs=3", "moco_batch=2", "moco_queue=32", "moco_holdout=0.4")
    assert "\n" not in str(raised.value)
    state = torch.load(tmp_path / "run" / "weights" / "last.pt", weights_only=True)["state"]
    assert all(torch.isfinite(value).all() for value in state.values())
    assert [row["epoch"] for row in rows_of(tmp_path / "run")] == ["1"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is False


def test_frames_of_mixed_sizes_are_letterboxed(tmp_path):
    (tmp_path / "images").mkdir()
    for number, (height, width) in enumerate([(64, 64), (90, 40), (33, 200), (128, 128), (5, 7), (50, 64)]):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), textured(number, height, width))
    record = pretrain(tmp_path, tmp_path / "run", "epochs=1", "moco_holdout=0")
    assert record["data"]["frames"] == 6


def test_a_list_is_followed_and_labels_are_refused(phantom_set, tmp_path):
    names = sorted(path.name for path in (phantom_set / "images").iterdir())[:6]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
    record = pretrain(phantom_set, tmp_path / "run", "epochs=1", "moco_holdout=0", frames=tmp_path / "list.txt")
    assert record["data"]["frames"] == 6
    with pytest.raises(UsageError, match="reads no labels"):
        pretrain(phantom_set, tmp_path / "other", "epochs=1", labels="labels2.csv")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ("moco_batch=16", "moco_queue=128", "moco_holdout=0"),
            "at least 16 frames to train on .* found 10 and 0 held",
        ),
        (("moco_queue=100",), "multiple of the 16 keys of a step .* found 100; 96 fits"),
        (("moco_queue=8192", "moco_batch=3"), "multiple of the 12 keys of a step .* found 8192; 8196 fits"),
        (("moco_image_size=100",), "moco_image_size: Input should be a multiple of 32; found 100"),
        (("moco_pairs=other",), "moco_pairs: Input should be 'paper' or 'matched'"),
        (("moco_tau=0.1",), "unknown setting 'moco_tau'; did you mean 'moco_"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(phantom_set, tmp_path, changes, said):
    with pytest.raises(UsageError, match=said) as raised:
        pretrain(phantom_set, tmp_path / "run", *changes)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_the_size_of_pretraining_may_differ(phantom_set, tmp_path):
    record = pretrain(phantom_set, tmp_path / "run", "epochs=1", "moco_image_size=96", "moco_queue=72")
    assert record["config"]["moco_image_size"] == 96
    assert np.isfinite(record["best"]["val/loss"])
