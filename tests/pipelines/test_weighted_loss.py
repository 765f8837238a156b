"""A weight a frame: 1 is the stock loss bit for bit, 0 gives nothing, between them a slow reference."""

import math
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402
from ultralytics.nn.tasks import PoseModel  # noqa: E402
from ultralytics.utils.loss import v8PoseLoss  # noqa: E402

from aop_pose.pipelines.yolo.config import YoloConfig  # noqa: E402
from aop_pose.pipelines.yolo.data import Example  # noqa: E402
from aop_pose.pipelines.yolo.network import FrameWeight, SquaredPointLoss, VisiblePointLoss, WeightedPoseLoss  # noqa: E402
from aop_pose.pipelines.yolo.trainers import FrameTrainer, frame_weight  # noqa: E402

SIZE, STRIDES, NAMES = 64, (8, 16, 32), ("a.png", "b.png", "c.png", "d.png")
ANCHORS = sum((SIZE // stride) ** 2 for stride in STRIDES)
TERMS = ("boxes", "scores", "kpts")
GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5, "pose": 12.0, "kobj": 1.0}
BOX, POSE, VISIBLE, CLASS, DFL = range(5)


@pytest.fixture(scope="module")
def model():
    network = PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=[3, 2], verbose=False)
    network.args, network.kpt_oks_sigmas = SimpleNamespace(**GAINS), [0.05] * 3
    return network


def predictions(seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = {"boxes": 64, "scores": 1, "kpts": 6}
    found = {key: torch.randn(len(NAMES), rows, ANCHORS, generator=draw) for key, rows in shapes.items()}
    # Boxes of some extent, so that candidates overlap the labels.
    found["boxes"] = found["boxes"] * 2
    feats = [torch.zeros(len(NAMES), 1, SIZE // stride, SIZE // stride) for stride in STRIDES]
    return {**{key: value.requires_grad_() for key, value in found.items()}, "feats": feats}


def batch_of(frames=(0, 1, 2, 3)):
    draw = np.random.default_rng(3)
    corners = np.sort(draw.uniform(0.1, 0.9, (len(NAMES), 2, 2)), axis=1)
    corners[:, 1] = np.maximum(corners[:, 1], corners[:, 0] + 0.3)
    points = corners[:, :1] + draw.uniform(0, 1, (len(NAMES), 3, 2)) * (corners[:, 1:] - corners[:, :1])
    chosen = list(frames)
    boxes = np.concatenate([corners.mean(axis=1), np.ptp(corners, axis=1)], axis=1)[chosen]
    keypoints = np.concatenate([points, np.ones((len(NAMES), 3, 1))], axis=2)[chosen]
    return {
        "im_file": [NAMES[i] for i in chosen],
        "batch_idx": torch.arange(len(chosen), dtype=torch.float32),
        "cls": torch.zeros(len(chosen), 1),
        "bboxes": torch.tensor(boxes, dtype=torch.float32),
        "keypoints": torch.tensor(keypoints, dtype=torch.float32),
    }


def table(*weights):
    return {name: FrameWeight(weight, weight) for name, weight in zip(NAMES, weights, strict=True)}


def outcome(loss, found, batch):
    """Values, reported values, and the gradients of their sum at every prediction."""
    values, told = loss(found, batch)
    grads = torch.autograd.grad(values.sum(), [found[key] for key in TERMS])
    return values.detach(), told, dict(zip(TERMS, grads, strict=True))


def test_weight_one_is_the_stock_loss_bit_for_bit(model):
    for seed in range(3):
        stock = outcome(v8PoseLoss(model), predictions(seed), batch_of())
        ours = outcome(WeightedPoseLoss(model, table(1, 1, 1, 1), SIZE), predictions(seed), batch_of())
        assert torch.equal(stock[0], ours[0])
        assert stock[0][[BOX, POSE, CLASS, DFL]].min() > 0, "every term takes part"
        assert stock[1].keys() == ours[1].keys()
        assert all(torch.equal(stock[1][key], ours[1][key]) for key in stock[1])
        assert all(torch.equal(stock[2][key], ours[2][key]) for key in TERMS)


def test_weight_one_in_the_network_bit_for_bit(model):
    """The same through a forward pass: gradients of all parameters."""
    images = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    grads = []
    for loss in (v8PoseLoss(model), WeightedPoseLoss(model, table(1, 1, 1, 1), SIZE)):
        state = {key: value.clone() for key, value in model.state_dict().items()}
        values, _ = loss(model.train()(images), batch_of())
        grads.append(torch.autograd.grad(values.sum(), weights, allow_unused=True))
        model.load_state_dict(state)
    assert sum(one is not None for one in grads[0]) > 200
    for one, other in zip(*grads, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_weight_one_in_bfloat16_bit_for_bit(model):
    """As under autocast: predictions of less precision than the weights."""
    results = []
    for loss in (v8PoseLoss(model), WeightedPoseLoss(model, table(1, 1, 1, 1), SIZE)):
        found = {k: v.detach().bfloat16().requires_grad_() if k in TERMS else v for k, v in predictions().items()}
        with torch.autocast("cpu", torch.bfloat16):
            results.append(outcome(loss, found, batch_of()))
    assert torch.equal(results[0][0], results[1][0])
    assert all(torch.equal(results[0][2][key], results[1][2][key]) for key in TERMS)


@pytest.mark.parametrize("squared", [False, True])
def test_weight_zero_gives_no_gradient(model, squared):
    values, _, grads = outcome(WeightedPoseLoss(model, table(1, 0, 1, 0), SIZE, squared), predictions(), batch_of())
    assert values.isfinite().all()
    for key in TERMS:
        assert not grads[key][[1, 3]].any(), key
        assert grads[key][0].any(), key
        assert grads[key][2].any(), key
    nothing, _, grads = outcome(WeightedPoseLoss(model, table(0, 0, 0, 0), SIZE, squared), predictions(), batch_of())
    assert not nothing.any()
    assert not any(grads[key].any() for key in TERMS)


def test_weight_zero_stays_in_what_is_divided_by(model):
    """The others' gradients are those of the stock loss: a frame that does not count takes nothing from them."""
    stock = outcome(v8PoseLoss(model), predictions(), batch_of())[2]
    ours = outcome(WeightedPoseLoss(model, table(1, 0, 1, 0), SIZE), predictions(), batch_of())[2]
    for key in TERMS:
        assert torch.equal(ours[key][[0, 2]], stock[key][[0, 2]]), key


def alone(model, frame):
    """Of one frame by the stock loss: the five terms, what they were divided by, and the predictions."""
    loss, seen = v8PoseLoss(model), {}
    assign = loss.assigner.forward

    def spy(*arguments, **options):
        out = assign(*arguments, **options)
        seen["scores"], seen["candidates"] = float(out[2].sum()), int(out[3].sum())
        return out

    loss.assigner.forward = spy
    found = predictions()
    one = {key: value[frame : frame + 1] for key, value in found.items() if key in TERMS}
    one["feats"] = [feat[:1] for feat in found["feats"]]
    values, _ = loss(one, {**batch_of([frame]), "batch_idx": torch.zeros(1)})
    return values, seen, found


def test_weights_between_by_a_slow_reference(model):
    """Frame by frame with the stock loss, divided by the whole batch's sums by hand."""
    weights = (1.0, 0.5, 0.25, 0.8)
    values, _, grads = outcome(WeightedPoseLoss(model, table(*weights), SIZE), predictions(), batch_of())
    single = [alone(model, frame) for frame in range(len(NAMES))]
    scores = max(sum(seen["scores"] for _, seen, _ in single), 1)
    candidates = sum(seen["candidates"] for _, seen, _ in single)
    expected, gradient = torch.zeros(5), {key: torch.zeros_like(grads[key]) for key in TERMS}
    for weight, (own, seen, found) in zip(weights, single, strict=True):
        share = torch.full((5,), max(seen["scores"], 1) / scores)
        share[POSE] = seen["candidates"] / candidates
        part = len(NAMES) * weight * share * own
        expected += part.detach()
        for key, value in zip(TERMS, torch.autograd.grad(part.sum(), [found[key] for key in TERMS]), strict=True):
            gradient[key] += value
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    for key in TERMS:
        torch.testing.assert_close(grads[key], gradient[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("terms", "scaled", "whole", "gone"), [
    ("all", [BOX, POSE, CLASS, DFL], [], []),
    ("points", [POSE], [BOX, CLASS, DFL], []),
    ("points-only", [POSE], [], [BOX, CLASS, DFL]),
])  # fmt: skip
def test_which_terms_a_weight_multiplies(model, terms, scaled, whole, gone):
    """All frames pseudo-labelled with 0.5, which halves exactly."""
    config = YoloConfig(weighted_terms=terms)
    weights = {name: frame_weight(0.5, config) for name in NAMES}
    ours = WeightedPoseLoss(model, weights, SIZE)(predictions(), batch_of())[0]
    stock = v8PoseLoss(model)(predictions(), batch_of())[0]
    assert torch.equal(ours[scaled], stock[scaled] * 0.5)
    assert torch.equal(ours[whole], stock[whole])
    assert not ours[gone].any()
    assert frame_weight(None, config) == FrameWeight(1, 1)


def test_a_frame_without_a_weight_is_an_error(model):
    with pytest.raises(KeyError, match=r"d\.png"):
        WeightedPoseLoss(model, {name: FrameWeight() for name in NAMES[:3]}, SIZE)(predictions(), batch_of())


def test_equation_12_by_hand(model):
    """Candidates of one frame: mean over candidates and points of the squared distance in (2 sigma x side)^2."""
    loss = WeightedPoseLoss(model, table(1, 0.5, 1, 1), SIZE, squared=True)
    masks = torch.zeros(4, ANCHORS, dtype=torch.bool)
    # A candidate of stride 8 in frame 0, one of stride 16 in frame 1.
    masks[0, 5] = masks[1, 64 + 3] = True
    keypoints = torch.ones(4, 1, 3, 3)
    keypoints[..., :2] = torch.tensor([[16.0, 24.0], [32.0, 40.0], [8.0, 56.0]])
    strides = torch.cat([torch.full((64, 1), 8.0), torch.full((16, 1), 16.0), torch.full((4, 1), 32.0)])
    found = torch.zeros(4, ANCHORS, 3, 2)
    found[0, 5] = keypoints[0, 0, :, :2] / 8 + torch.tensor([[0.5, 0], [0, 1.0], [0, 0]])
    found[1, 67] = keypoints[1, 0, :, :2] / 16 + torch.tensor([[0, 0], [0, 0], [0.3, 0.4]])
    loss.point_weights = torch.tensor([1.0, 0.5, 1, 1])
    boxes = torch.rand(4, ANCHORS, 4) * 30
    value, _ = loss.calculate_keypoints_loss(
        masks, torch.zeros(4, ANCHORS, dtype=int), keypoints, strides, boxes, found
    )
    unit = (2 * 0.05 * SIZE) ** 2
    expected = ((0.5 * 8) ** 2 + 8**2 + 0.5 * (0.5 * 16) ** 2) / unit / 6
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_equation_12_begins_as_oks_on_a_box_of_half_the_input():
    """The docstring's promise of the unit: equal terms for small errors, and a far point still pulls."""
    sigmas = torch.full((3,), 0.05)
    squared, oks = SquaredPointLoss(sigmas), VisiblePointLoss(sigmas)
    squared.area = torch.tensor([[8.0**2]])
    truth, mask, box = torch.ones(1, 3, 3), torch.ones(1, 3, dtype=torch.bool), torch.tensor([[8.0**2 / 2]])
    near, far = truth[..., :2] + 0.01, (truth[..., :2] + 6).requires_grad_()
    assert float(squared(near, truth, mask, box)) == pytest.approx(float(oks(near, truth, mask, box)), rel=1e-3)
    pulls = [torch.autograd.grad(term(far, truth, mask, box), far)[0].abs().max() for term in (squared, oks)]
    assert pulls[0] > 1
    assert pulls[1] < 1e-6
    assert math.isfinite(float(pulls[0]))


@pytest.mark.parametrize(("keypoint_loss", "weight"), [("mse", None), ("mse", 0.5), ("oks", 0.5)])
def test_the_trainer_puts_the_loss_in_place(model, keypoint_loss, weight):
    examples = [Example("a.png", np.zeros((8, 8), np.uint8), np.zeros((3, 2)), weight=w) for w in (None, weight)]
    config = YoloConfig(image_size=SIZE, keypoint_loss=keypoint_loss)
    trainer = SimpleNamespace(
        config=config, examples=[attrs.evolve(one, name=n) for one, n in zip(examples, "ab", strict=True)]
    )
    loss = FrameTrainer.make_loss(trainer, model)
    assert isinstance(loss, WeightedPoseLoss)
    assert isinstance(loss.keypoint_loss, SquaredPointLoss) is (keypoint_loss == "mse")
    assert loss.table == {"a": FrameWeight(1, 1), "b": FrameWeight(1, 1) if weight is None else FrameWeight(0.5, 0.5)}
    assert loss.table is trainer.table, "weights that are computed anew reach the loss"
