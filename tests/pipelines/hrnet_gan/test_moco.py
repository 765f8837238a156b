"""MoCo on maps: equations 1 to 5 against loops, the queue, pairs through the warps, learning rates, a paper's step."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("timm", reason="timm comes with the train extra")
pytest.importorskip("lightning", reason="lightning comes with the train extra")

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines.config import load_config  # noqa: E402
from aop_pose.pipelines.examples import Example  # noqa: E402
from aop_pose.pipelines.hrnet_gan.augment import Draw, draw  # noqa: E402
from aop_pose.pipelines.hrnet_gan.config import PRESETS, HrnetConfig  # noqa: E402
from aop_pose.pipelines.hrnet_gan.moco import Projector, flat, follow, info_nce, partners  # noqa: E402
from aop_pose.pipelines.hrnet_gan.moco_settings import AugmentSettings, MocoSettings  # noqa: E402
from aop_pose.pipelines.hrnet_gan.moco_training import ContrastiveTraining, groups, projector_of  # noqa: E402
from aop_pose.pipelines.hrnet_gan.queue import NegativeQueue, check_size  # noqa: E402
from aop_pose.pipelines.hrnet_gan.views import ViewDataset, places_in  # noqa: E402
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


# --- queue ---


def test_the_queue_forgets_the_oldest_first():
    queue = NegativeQueue(6, 2)
    torch.testing.assert_close(queue.vectors.norm(dim=1), torch.ones(6))
    for step in range(5):
        queue.enqueue(torch.full((2, 2), float(step)))
    # Of steps 0 to 4 the latest three are left: 3 and 4 took the places of 0 and 1.
    assert queue.vectors[:, 0].tolist() == [3, 3, 4, 4, 2, 2]
    assert int(queue.position) == 4
    other = NegativeQueue(6, 2)
    other.load_state_dict(queue.state_dict())
    other.enqueue(torch.full((2, 2), 5.0))
    assert other.vectors[:, 0].tolist() == [3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(("size", "enqueued", "fitting"), [(8192, 300, 8100), (100, 64, 128), (10, 64, 64)])
def test_a_queue_that_is_no_multiple_is_refused_with_one_that_is(size, enqueued, fitting):
    with pytest.raises(UsageError, match=f"multiple of the {enqueued} keys of a step .* found {size}; {fitting} fits"):
        check_size(size, enqueued)
    check_size(fitting, enqueued)


def enqueue_in_a_process(rank, folder):
    """Two steps of three keys that say whose they are and when."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    queue = NegativeQueue(12, 2)
    for step in range(2):
        queue.enqueue(torch.full((3, 2), float(10 * step + rank)))
    torch.save(queue.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_of_two_processes_both_queues_hold_the_keys_of_both(tmp_path):
    torch.multiprocessing.spawn(enqueue_in_a_process, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        held = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert held["vectors"][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 10, 10, 10, 11, 11, 11]
        assert int(held["position"]) == 0


# --- pairs ---


def test_partners_are_bilinear_between_positions():
    keys = torch.nn.functional.normalize(torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    places = torch.rand(2, 3, 4, 2, generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2
    found, seen = partners(keys, places)
    for frame in range(2):
        for number, (x, y) in enumerate(places[frame].view(-1, 2).tolist()):
            place = frame * 12 + number
            assert bool(seen[place]) == (abs(x) <= 1 and abs(y) <= 1)
            # From edges at -1 and 1 to positions counted at their centres.
            column, row = min(max((x + 1) * 2 - 0.5, 0), 3), min(max((y + 1) * 1.5 - 0.5, 0), 2)
            left, top = min(int(column), 2), min(int(row), 1)
            mixed = torch.zeros(5)
            for dx in (0, 1):
                for dy in (0, 1):
                    share = (1 - abs(column - left - dx)) * (1 - abs(row - top - dy))
                    mixed += share * keys[frame, :, top + dy, left + dx]
            torch.testing.assert_close(found[place], mixed / mixed.norm(), atol=1e-5, rtol=1e-4)


def test_places_go_back_by_one_warp_and_forward_by_the_other():
    still = np.array([[1.0, 0, 0], [0, 1, 0]])
    moved, turned = np.array([[1.0, 0, 8], [0, 1, -4]]), np.array([[0.0, -1, 63], [1, 0, 0]])
    centres = np.stack(np.meshgrid([15.5, 47.5], [15.5, 47.5]), axis=2)

    def pixels(query, key):
        return (places_in(Draw((64, 64), affine=query), Draw((64, 64), affine=key), 2) + 1) * 32 - 0.5

    np.testing.assert_allclose(pixels(still, moved) - centres, [[[8, -4]] * 2] * 2, atol=1e-4)
    np.testing.assert_allclose(pixels(moved, still) - centres, [[[-8, 4]] * 2] * 2, atol=1e-4)
    np.testing.assert_allclose(pixels(moved, moved), centres, atol=1e-4)
    # A quarter turn: (x, y) -> (63 - y, x).
    np.testing.assert_allclose(pixels(still, turned)[0, 1], [63 - 15.5, 47.5], atol=1e-4)


def test_places_show_the_same_anatomy():
    """The gray around a position of the query view and around its place in the key view: one picture, two warps."""
    picture, settings = textured(3), AugmentSettings(aug_elastic_p=1, aug_tone_p=0, aug_blur_p=0, aug_speckle_p=0)
    rng = np.random.default_rng(0)
    query, key = (draw(rng, (256, 256), settings) for _ in range(2))
    places = (places_in(query, key, 8).reshape(-1, 2) + 1) * 128 - 0.5
    centres = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) * 32 - 0.5] * 2), axis=2).reshape(-1, 2)
    assert np.abs(places - centres).max() > 3

    def at(view, points):
        import cv2

        return cv2.remap(view, points[:, None].astype(np.float32), None, cv2.INTER_LINEAR)[:, 0]

    inside = (np.abs(places - 127.5) < 120).all(axis=1)
    shown, matched = at(query.apply(picture), centres[inside]), at(key.apply(picture), places[inside])
    unmatched = at(key.apply(picture), centres[inside])
    assert np.abs(shown - matched).mean() < 0.2 * np.abs(shown - unmatched).mean()


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


def test_views_follow_from_seed_epoch_and_index_alone():
    examples = [Example("a", textured(0, 80, 120), np.zeros((0, 2)))] * 3
    one, other = (ViewDataset(examples, 64, 2, AugmentSettings(), 0) for _ in range(2))
    last = one[2]
    assert [tuple(value.shape) for value in last[:3]] == [(1, 64, 64), (1, 64, 64), (2, 2, 2)]
    torch.testing.assert_close(last[0], [other[i] for i in range(3)][2][0], rtol=0, atol=0)
    assert not torch.equal(last[0], last[1])
    assert not torch.equal(last[0], one[1][0])
    one.epoch = 1
    assert not torch.equal(last[0], one[2][0])


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
    with torch.autocast("cpu", torch.bfloat16):
        loss = training.training_step((query[None], key[None], places[None], torch.tensor([index])), 0)
    loss.backward()
    optimizer.step()
    # 16 x 16 queries, 8192 random negatives.
    assert int(training.queue.position) == 256
    assert places.shape == (16, 16, 2)
    assert math.log(1 + 8192 * math.exp(-10)) < float(loss.detach()) < math.log(1 + 8192 * math.exp(10))
    # Adam's first step is the learning rate, whatever the gradient.
    assert float((training.network.head[2].weight.detach() - before).abs().max()) == pytest.approx(1e-3, rel=0.05)
