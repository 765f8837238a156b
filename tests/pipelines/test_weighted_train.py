"""Training with pseudo-labels: who meets whom, resume, weights that follow the network, and what run.json says."""

import csv
import json

import numpy as np
import pytest

from tests.fakes import POINTS, require_ultralytics

require_ultralytics()

import torch  # noqa: E402

from aop_pose.pipelines.yolo.config import YoloConfig  # noqa: E402
from aop_pose.pipelines.yolo.network import FrameWeight, WeightedPoseLoss  # noqa: E402
from aop_pose.pipelines.yolo.trainers import Confidence  # noqa: E402
from aop_pose.pseudo.label import COLUMNS_OF_TABLE  # noqa: E402
from aop_pose.pseudo.run import Origin  # noqa: E402
from aop_pose.pseudo.signals import Noise  # noqa: E402
from tests.pipelines.conftest import train_tiny, weights_of  # noqa: E402
from tests.pipelines.killing import Killed, rows_of  # noqa: E402

WEIGHTS = (0.25, 1.0, 0.0, 0.5)


@pytest.fixture(scope="module")
def semi_set(phantom_set, tmp_path_factory):
    """Six phantoms with labels, four with pseudo-labels, in the folder of ten."""
    with (phantom_set / "labels.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key in COLUMNS_OF_TABLE} for row in csv.DictReader(file)]
    folder = tmp_path_factory.mktemp("semi")
    tables = {
        "labels.csv": rows[:6],
        "pseudo.csv": [{**row, "keep": 1, "weight": w} for row, w in zip(rows[6:], WEIGHTS, strict=True)],
    }
    for name, content in tables.items():
        with (folder / name).open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS_OF_TABLE if name == "pseudo.csv" else list(rows[0]), restval="")
            table.writeheader()
            table.writerows(content)
    (folder / "pseudo.run.json").write_text(json.dumps({"model": "teacher@01234567", "confidence": "noise"}))
    return folder


def train_semi(data, semi, out, *changes, dynamic=False, **settings):
    options = {"pseudo": semi / "pseudo.csv", "dynamic": dynamic}
    changes = ("holdout=0", "translate=0", "scale=0", *changes)
    return train_tiny(data, out, *changes, labels=str(semi / "labels.csv"), options=options, **settings)


def killed_in_epoch_two(step):
    if (step.epoch, step.batch) == (2, 1):
        raise Killed


@pytest.fixture
def seen(monkeypatch):
    """Names and weights of each batch that the loss is given."""
    batches = []

    def spy(loss, preds, batch, plain=WeightedPoseLoss.loss):
        batches.append((list(batch["im_file"]), dict(loss.table)))
        return plain(loss, preds, batch)

    monkeypatch.setattr(WeightedPoseLoss, "loss", spy)
    return batches


def test_the_weights_of_the_table_are_trained_with(phantom_set, semi_set, tmp_path, seen):
    record = train_semi(phantom_set, semi_set, tmp_path / "straight", "epochs=2")
    _check_batches(seen)
    _check_weights(seen, dynamic=False)
    _check_record(record, dynamic=False)


def test_a_resumed_run_with_weights_anew_equals_a_straight_one(phantom_set, semi_set, tmp_path, seen):
    record = train_semi(phantom_set, semi_set, tmp_path / "straight", "epochs=2", dynamic=True)
    straight_seen, seen[:] = list(seen), []
    with pytest.raises(Killed):
        train_semi(phantom_set, semi_set, tmp_path / "broken", "epochs=2", dynamic=True, on_batch=killed_in_epoch_two)
    train_semi(phantom_set, semi_set, tmp_path / "broken", "epochs=2", dynamic=True, resume=True)
    straight, resumed = weights_of(tmp_path / "straight"), weights_of(tmp_path / "broken")
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    assert rows_of(tmp_path / "broken") == rows_of(tmp_path / "straight")
    # Two epochs of six labelled frames in halves of two; one step of the killed epoch was taken twice.
    assert len(straight_seen) == 6
    assert [names for names, _ in straight_seen[3:]] == [names for names, _ in seen[4:]]
    _check_batches(straight_seen)
    _check_weights(straight_seen, dynamic=True)
    _check_record(record, dynamic=True)


def _check_batches(seen):
    for names, _ in seen:
        assert [int(name[:4]) >= 6 for name in names] == [False, False, True, True]
    for begin in (0, 3):
        assert sorted(name for names, _ in seen[begin : begin + 3] for name in names[:2]) == [
            f"{i:04}.png" for i in range(6)
        ]
    pseudo = [name for names, _ in seen for name in names[2:]]
    assert all(len(set(pseudo[begin : begin + 4])) == 4 for begin in range(0, 12, 4))


def _check_weights(seen, dynamic):
    fixed = {f"{6 + i:04}.png": FrameWeight(w, w) for i, w in enumerate(WEIGHTS)}
    for names, table in seen:
        assert all(table[name] == FrameWeight(1, 1) for name in names[:2])
        assert len(table) == 10
        if not dynamic:
            assert {name: table[name] for name in fixed} == fixed
    if dynamic:
        assert seen[0][1] == seen[2][1] != seen[3][1]
        assert seen[3][1] == seen[5][1]


def _check_record(record, dynamic):
    found = record["data"]["pseudo"]
    assert found["frames"] == 4
    assert found["weights"] == {"min": 0.0, "mean": 0.4375, "median": 0.375, "max": 1.0, "zero": 1}
    assert (found["model"], found["confidence"]) == ("teacher@01234567", "noise")
    assert found["dynamic"] == ({"confidence": "noise", "draws": 1} if dynamic else None)
    assert record["data"]["frames"] == 6


def test_weights_decide_the_run(phantom_set, semi_set, tmp_path):
    """With every weight 0 the pseudo-labels cannot matter: other points, same network. With weight 1 they do."""
    networks = []
    for weight, shift in (("0", 0), ("0", 3), ("1", 3)):
        folder = tmp_path / f"{weight}-{shift}"
        folder.mkdir()
        with (semi_set / "pseudo.csv").open() as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            x, y = row["FH1"].strip("()").split(",")
            row |= {"weight": weight, "FH1": f"({float(x) - shift}, {y})"}
        with (folder / "pseudo.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS_OF_TABLE)
            table.writeheader()
            table.writerows(rows)
        (folder / "labels.csv").write_bytes((semi_set / "labels.csv").read_bytes())
        # With a wide box margin the pose box is the whole picture's either way, and so is what is divided by.
        train_semi(phantom_set, folder, folder / "run", "epochs=1", "box_margin=20")
        networks.append(weights_of(folder / "run"))
    first, moved, counted = networks
    assert all(torch.equal(first[key], moved[key]) for key in first)
    assert not all(torch.equal(moved[key], counted[key]) for key in first)


def network_of(spread):
    """Two candidates whose points lie apart, by ``spread`` pixels of the input of 64."""

    def network(inputs):
        output = np.zeros((len(inputs), 11, 2), np.float32)
        output[:, :4] = np.array([32, 32, 40, 40])[:, None]
        output[:, 4] = 0.5
        output[:, 5:] = POINTS.ravel()[:, None] / 4
        output[:, 5:, 1] += spread
        return output

    return network


def test_weights_anew_follow_the_network_and_the_rule():
    pictures = {"a.png": np.full((64, 64), 90, np.uint8), "b.png": np.full((64, 64), 40, np.uint8)}
    config = YoloConfig(image_size=64)
    rule = Confidence("entropy", Noise(), draws=1, seed=3)
    sure, unsure = (rule.weights(network_of(spread), config, pictures, 0) for spread in (0.0, 2.0))
    assert sure == {"a.png": 1.0, "b.png": 1.0}
    # Both candidates lie sqrt(2) pixels from their mean: exp(-spread / side / 0.01).
    assert unsure["a.png"] == pytest.approx(np.exp(-np.sqrt(2) / 64 / 0.01))
    broken = Confidence("paper", Noise(), 1, 3).weights(lambda x: np.full((len(x), 11, 2), np.nan), config, pictures, 0)
    assert broken == {"a.png": 0.0, "b.png": 0.0}


def test_noise_is_drawn_anew_each_epoch():
    pictures = {"a.png": np.full((64, 64), 90, np.uint8)}
    config, rule = YoloConfig(image_size=64), Confidence("noise", Noise(), draws=1, seed=3)
    found = [rule.weights(network_of(0.0), config, pictures, epoch)["a.png"] for epoch in (0, 1, 0)]
    assert found[0] == found[2] != found[1]


def test_the_rule_is_the_table_s_or_the_default():
    config = YoloConfig(dynamic_draws=3)
    assert Confidence.of(Origin(), config, 7) == Confidence("steady", Noise(), 3, 7)
    given = Origin(confidence="paper", noise=Noise(shift=0.01))
    assert Confidence.of(given, config, 7) == Confidence("paper", Noise(shift=0.01), 3, 7)
