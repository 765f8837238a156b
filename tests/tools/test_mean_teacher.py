"""Mean Teacher: the ramp, what is compared, and that the teacher follows the student."""

import csv
import json
import math

import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402
from mean_teacher import (  # noqa: E402
    DECAY,
    ConsistentLoss,
    MeanTeacherTrainer,
    Said,
    consistency,
    disturbed,
    ramp_up,
    said,
    train,
)

from aop_pose.pipelines.job import Job  # noqa: E402
from aop_pose.pipelines.yolo.config import YoloConfig  # noqa: E402

SIZE = 64
TINY = ["image_size=64", "batch=8", "epochs=2", "holdout=0", "precision=fp32", "warmup_epochs=1", "threshold=0.0"]


@pytest.fixture(scope="module")
def network():
    """A pose network of random weights, its stock loss, and a batch of three frames with one label each."""
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import PoseModel

    torch.manual_seed(0)
    model = PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=[3, 2], verbose=False)
    model.args = get_cfg()
    batch = {
        "img": torch.rand(3, 3, SIZE, SIZE), "batch_idx": torch.arange(3.0), "cls": torch.zeros(3, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.6, 0.4]] * 3), "keypoints": torch.rand(3, 3, 3) * 0.5 + 0.25,
    }  # fmt: skip
    return model.train(), model.init_criterion(), batch


def test_ramp():
    assert ramp_up(0) == pytest.approx(0.0067379, abs=1e-7)
    assert ramp_up(0.5) == pytest.approx(0.2865048, abs=1e-7)
    assert ramp_up(1) == ramp_up(7) == 1


def slow_consistency(student, teacher, sigma):
    places, scores, trust = 0.0, 0.0, 0.0
    for f in range(len(teacher.scores)):
        best = int(teacher.scores[f].argmax())
        (left, top), (right, bottom) = teacher.places[f, best, -2].tolist(), teacher.places[f, best, -1].tolist()
        area = (right - left) * (bottom - top)
        for a in range(teacher.scores.shape[1]):
            exponent = 0.0
            for one, two in zip(student.places[f, a].tolist(), teacher.places[f, a].tolist(), strict=True):
                exponent += math.dist(one, two) ** 2 / (2 * (2 * sigma) ** 2 * area) / 5
            score = float(teacher.scores[f, a])
            places += score * exponent
            scores += (student.scores[f, a].item() - score) ** 2
            trust += score
    return places / trust, scores / trust


def test_consistency_is_that_of_the_slow_reference():
    torch.manual_seed(1)

    def one():
        places = torch.rand(2, 7, 5, 2) * 20
        places[:, :, 3] = torch.rand(2, 7, 2) * 10
        places[:, :, 4] = 30 + torch.rand(2, 7, 2) * 10
        return Said(places, torch.rand(2, 7))

    student, teacher = one(), one()
    found = [float(term) for term in consistency(student, teacher, 0.05)]
    assert found == pytest.approx(slow_consistency(student, teacher, 0.05), rel=1e-5)
    assert [float(term) for term in consistency(teacher, teacher, 0.05)] == [0, 0]


def test_places_and_scores_are_those_that_the_network_answers_when_measuring(network):
    model, stock, batch = network
    model.eval()
    with torch.no_grad():
        decoded, raw = model(batch["img"])
    model.train()
    found = said(stock, raw)
    points = decoded[:, 5:].permute(0, 2, 1).reshape(3, -1, 3, 2)
    assert torch.allclose(found.places[:, :, :3], points, atol=1e-3)
    corners = found.places[:, :, 3:]
    centre, extent = corners.mean(dim=2), corners[:, :, 1] - corners[:, :, 0]
    assert torch.allclose(torch.cat([centre, extent], dim=-1), decoded[:, :4].permute(0, 2, 1), atol=1e-3)
    assert torch.allclose(found.scores, decoded[:, 4], atol=1e-6)


def test_labelled_half_has_the_stock_loss_and_the_other_is_drawn_to_the_teacher(network):
    model, stock, batch = network
    raw = stock.parse_output(model(batch["img"]))
    whole = {"batch_idx": batch["batch_idx"][:2], **{key: batch[key][:2] for key in ("cls", "bboxes", "keypoints")}}
    first = {key: [one[:2] for one in value] if isinstance(value, list) else value[:2] for key, value in raw.items()}
    plain, _ = stock(first, {**whole, "img": batch["img"][:2]})
    torch.manual_seed(3)
    last = {key: [one[2:] for one in value] if isinstance(value, list) else value[2:] for key, value in raw.items()}
    student = said(stock, last)
    teacher = Said(student.places.detach() + 3, student.scores.detach() * 0.9)
    config = YoloConfig(gain_pose=12, gain_class=0.5)
    for weight in (0.0, 0.7):
        loss, items = ConsistentLoss(stock, config, lambda weight=weight: weight)(
            raw, {**whole, "img": batch["img"], "teacher": teacher}
        )
        assert torch.equal(loss[:5], plain)
        places, scores = slow_consistency(student, teacher, config.oks_sigma)
        assert loss[5].item() == pytest.approx(weight * (12 * places + 0.5 * scores), rel=1e-4)
        assert items["consistency_loss"] == loss[5]
        # Labelled frames are not moved by the consistency, the other is, unless its weight is 0.
        (slope,) = torch.autograd.grad(loss[5], raw["kpts"], retain_graph=True)
        assert not slope[:2].any()
        assert bool(slope[2:].any()) == (weight > 0)


def test_noise_differs_by_frame_and_draw_and_is_absent_without_bounds():
    frames = torch.rand(1, 3, 8, 8).expand(2, -1, -1, -1)
    config = YoloConfig(brightness=0.4, gamma=0.3, speckle=0.1)
    one, two = disturbed(frames, config), disturbed(frames, config)
    assert not torch.equal(one, two)
    assert not torch.equal(one[0], one[1])
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert torch.equal(disturbed(frames, YoloConfig(brightness=0, gamma=0, speckle=0)), frames)


def test_a_run(rehearsal, tmp_path, monkeypatch):
    seen, weights, stepped = [], [], []
    plain_batch, plain_step = MeanTeacherTrainer.preprocess_batch, MeanTeacherTrainer.optimizer_step

    def watch(trainer, batch):
        seen.append(trainer.turns[trainer.batches_done * 4 : trainer.batches_done * 4 + len(batch["img"])].tolist())
        weights.append(trainer.weight())
        labelled = len(batch["img"])
        batch = plain_batch(trainer, batch)
        assert len(batch["img"]) == 2 * labelled == 2 * len(batch["teacher"].scores)
        assert not batch["teacher"].places.requires_grad
        return batch

    def step(trainer):
        before = next(trainer.ema.ema.parameters()).clone()
        plain_step(trainer)
        student, teacher = next(trainer.model.parameters()), next(trainer.ema.ema.parameters())
        assert torch.allclose(teacher, DECAY * before + (1 - DECAY) * student, atol=1e-7)
        stepped.append(trainer.epoch)

    monkeypatch.setattr(MeanTeacherTrainer, "preprocess_batch", watch)
    monkeypatch.setattr(MeanTeacherTrainer, "optimizer_step", step)
    job = Job(rehearsal, tmp_path / "run", labels="labelled.csv", init="scratch", changes=TINY)
    record = train(job, "unlabelled.txt")
    assert record["finished"]
    # 8 labelled frames, 4 a step beside 4 of the 8 unlabelled ones: each of these once an epoch.
    assert stepped == [0, 0, 1, 1]
    for epoch in (seen[:2], seen[2:]):
        assert sorted(i for turns in epoch for i in turns) == list(range(8))
    assert weights == pytest.approx([ramp_up(step / (4 * 40 / 150)) for step in range(4)])
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(float(row["train/consistency_loss"]) > 0 for row in rows)
    data = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert (data["frames"], data["unlabelled_frames"]) == (8, 8)
    assert np.isfinite([float(value) for value in rows[-1].values() if value != "nan"]).all()
