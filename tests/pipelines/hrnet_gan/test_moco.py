"""MoCo on maps: equations 1 to 5 against loops, a step, learning rates, a paper's step."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.pipelines.config import load_config, precision_of  # noqa: E402
from aop_pose.pipelines.data import Example  # noqa: E402
from aop_pose.pipelines.hrnet_gan.config import (  # noqa: E402
    PRESETS,
    HrnetConfig,
    MocoSettings,
)
from aop_pose.pipelines.hrnet_gan.moco import Projector, flat, follow, info_nce, partners  # noqa: E402
from aop_pose.pipelines.hrnet_gan.pretraining import ContrastiveTraining, groups, projector_of  # noqa: E402
from tests.fakes import textured  # noqa: E402
from tests.pipelines.hrnet_tiny import TINY  # noqa: E402


def config_of(preset="fast", *changes):
    return load_config(HrnetConfig, PRESETS, preset, changes)


def units(*shape, seed=0):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def training_of(*changes, frames=8, preset="fast"):
    config = config_of(preset, *TINY, *changes)
    torch.manual_seed(0)
    examples = [Example(f"{i}.png", textured(i, 64, 64), np.zeros((0, 2))) for i in range(frames)]
    return ContrastiveTraining(config, projector_of(config), 0, examples, [])


def test_the_papers_numbers_are_the_paper_presets():
    for settings in (MocoSettings(), config_of("paper")):
        assert (settings.moco_epochs, settings.moco_batch, settings.moco_queue) == (25, 4, 8192)
        assert (settings.moco_momentum, settings.moco_temperature, settings.moco_pairs) == (0.999, 0.2, "paper")
        assert (settings.moco_lr_stage4, settings.moco_lr_stage3, settings.moco_lr_rest) == (1e-4, 0.5e-4, 0.1e-4)
        assert (settings.moco_lr_head, settings.moco_weight_decay) == (1e-3, 1e-6)
        assert (settings.moco_hidden, settings.moco_features, settings.moco_image_size) == (256, 128, None)
        assert (settings.aug_alpha, settings.aug_sigma, settings.aug_affine) == (5, 10, 10)


# --- equations 1 to 5 ---


def test_info_nce_is_equation_4_by_loops():
    queries, keys, negatives = units(7, 5, seed=1), units(7, 5, seed=2), units(11, 5, seed=3)
    total = 0.0
    for query, key in zip(queries.tolist(), keys.tolist(), strict=True):
        near = math.exp(sum(a * b for a, b in zip(query, key, strict=True)) / 0.2)
        far = [math.exp(sum(a * b for a, b in zip(query, other, strict=True)) / 0.2) for other in negatives.tolist()]
        total += -math.log(near / (near + sum(far)))
    assert float(info_nce(queries, keys, negatives, 0.2)) == pytest.approx(total / 7, rel=1e-5)


def test_info_nce_by_hand():
    """One query that equals its key, and one negative at a right angle: -log(e^5 / (e^5 + 1))."""
    query = torch.tensor([[1.0, 0.0]])
    found = info_nce(query, query, torch.tensor([[0.0, 1.0]]), 0.2)
    assert float(found) == pytest.approx(math.log(1 + math.exp(-5)), rel=1e-4)


def test_info_nce_keeps_float32_under_autocast():
    queries, keys, negatives = units(64, 128, seed=1), units(64, 128, seed=2), units(256, 128, seed=3)
    with torch.autocast("cpu", torch.bfloat16):
        found = info_nce(queries, keys, negatives, 0.2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, info_nce(queries, keys, negatives, 0.2), rtol=0, atol=0)


def test_a_projection_is_two_convolutions_of_length_1_at_every_position():
    class Maps(torch.nn.Module):
        def forward(self, gray):
            return gray.expand(-1, 6, -1, -1) * torch.arange(1, 7).view(1, 6, 1, 1)

    projector = Projector(Maps(), 6)
    shapes = [tuple(value.shape) for value in projector.head.parameters()]
    assert shapes == [(256, 6, 1, 1), (256,), (128, 256, 1, 1), (128,)]
    gray = torch.rand(2, 1, 3, 4)
    maps = projector(gray)
    assert maps.shape == (2, 128, 3, 4)
    first, _, second = projector.head
    feature = gray[1, 0, 2, 1] * torch.arange(1, 7)
    hidden = (first.weight[:, :, 0, 0] @ feature + first.bias).clamp_min(0)
    embedding = second.weight[:, :, 0, 0] @ hidden + second.bias
    torch.testing.assert_close(maps[1, :, 2, 1], embedding / embedding.norm())
    # Frame by frame, row by row.
    assert flat(maps).shape == (24, 128)
    torch.testing.assert_close(flat(maps)[12 + 2 * 4 + 1], maps[1, :, 2, 1])


def test_the_key_encoder_follows_by_equation_5():
    query, key = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    before, theirs = key.weight.detach().clone(), query.weight.detach().clone()
    follow(key, query, 0.9)
    torch.testing.assert_close(key.weight.detach(), 0.9 * before + 0.1 * theirs)
    torch.testing.assert_close(query.weight.detach(), theirs)


def test_keys_get_no_gradient_and_every_query_does():
    training = training_of()
    batch = next(iter(training.train_dataloader()))
    before = [value.clone() for value in training.key.parameters()]
    loss = training.training_step(batch, 0)
    loss.backward()
    assert not any(value.requires_grad or value.grad is not None for value in training.key.parameters())
    assert all(value.grad is not None for value in training.network.head.parameters())
    assert sum(value.grad is not None for value in training.network.encoder.parameters()) > 10
    # Both start as one, so that the first step moves nothing but rounding.
    for mine, theirs in zip(training.key.parameters(), before, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_step_is_the_loss_of_its_maps_and_fills_the_queue_with_its_keys():
    training = training_of("moco_queue=32")
    query, key, places, indices = next(iter(training.train_dataloader()))
    negatives = training.queue.vectors.clone()
    loss = float(training.training_step((query, key, places, indices), 0).detach())
    keys = training.queue.vectors[:16].clone()
    assert int(training.queue.position) == 16
    torch.testing.assert_close(training.queue.vectors[16:], negatives[16:], rtol=0, atol=0)
    with torch.no_grad():
        # The batch's own statistics in both encoders: the same answers when asked again.
        queries = flat(training.network(query.contiguous(memory_format=torch.channels_last)))
        torch.testing.assert_close(flat(training.key(key.contiguous(memory_format=torch.channels_last))), keys)
    assert loss == pytest.approx(float(info_nce(queries, keys, negatives, 0.2)), rel=1e-5)
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(16))


def test_matched_pairs_drop_what_is_not_seen_and_enqueue_every_key():
    training = training_of("moco_pairs=matched", "moco_queue=32")
    query, key, places, indices = next(iter(training.train_dataloader()))
    places[0] = 1.5
    negatives = training.queue.vectors.clone()
    loss = float(training.training_step((query, key, places, indices), 0).detach())
    with torch.no_grad():
        queries = flat(training.network(query.contiguous(memory_format=torch.channels_last)))
        keys = training.key(key.contiguous(memory_format=torch.channels_last))
    positives, seen = partners(keys, places)
    assert not seen[:4].any()
    assert seen[4:].sum() > 6
    assert loss == pytest.approx(float(info_nce(queries[seen], positives[seen], negatives, 0.2)), rel=1e-5)
    torch.testing.assert_close(training.queue.vectors[:16], flat(keys))


# --- learning rates ---


@pytest.mark.parametrize("encoder", ["hrnet_w18_small", "resnet18"])
def test_learning_rates_by_stage(encoder):
    config = config_of("paper", f"encoder={encoder}")
    network = projector_of(config)
    made = groups(network, config)
    assert [group["lr"] for group in made] == [1e-4, 0.5e-4, 0.1e-4, 1e-3]
    given = [id(value) for group in made for value in group["params"]]
    assert sorted(given) == sorted(id(value) for value in network.parameters())
    body, numbers = network.encoder.body, {"hrnet_w18_small": "stage", "resnet18": "layer"}
    for group, number in zip(made, (4, 3), strict=False):
        wanted = {id(value) for value in getattr(body, f"{numbers[encoder]}{number}").parameters()}
        assert {id(value) for value in group["params"]} == wanted
    assert {id(value) for value in made[3]["params"]} == {id(value) for value in network.head.parameters()}


def test_an_encoder_without_stages_learns_at_one_rate():
    config = config_of("paper", "encoder=mobilenetv3_small_050")
    made = groups(projector_of(config), config)
    assert [bool(group["params"]) for group in made] == [True, False, False, True]


def test_the_optimiser_is_adam_with_a_cosine_over_all_epochs():
    training = training_of("moco_epochs=4")
    made = training.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert type(optimizer) is torch.optim.Adam
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-6}
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[-1]["lr"] / optimizer.param_groups[-1]["initial_lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(rates, [(1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)])


def test_the_paper_preset_takes_a_step():
    """HRNet-W48 at 512 x 512 on one frame; nothing more is claimed of it without a GPU."""
    config = config_of("paper")
    torch.manual_seed(0)
    training = ContrastiveTraining(
        config, projector_of(config), 0, [Example("a", textured(0, 512, 512), np.zeros((0, 2)))], []
    )
    optimizer = training.configure_optimizers()["optimizer"]
    before = training.network.head[2].weight.detach().clone()
    query, key, places, index = training.frames[0]
    with torch.autocast("cpu", torch.bfloat16, enabled=precision_of("auto", "cpu") == "bf16"):
        loss = training.training_step((query[None], key[None], places[None], torch.tensor([index])), 0)
    loss.backward()
    optimizer.step()
    # 16 x 16 queries, 8192 random negatives.
    assert int(training.queue.position) == 256
    assert places.shape == (16, 16, 2)
    assert math.log(1 + 8192 * math.exp(-10)) < float(loss.detach()) < math.log(1 + 8192 * math.exp(10))
    # Adam's first step is the learning rate, whatever the gradient.
    assert float((training.network.head[2].weight.detach() - before).abs().max()) == pytest.approx(1e-3, rel=0.05)
