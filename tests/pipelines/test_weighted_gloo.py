"""Loss and sampler in two processes (gloo, CPU), against one.

Ultralytics multiplies each process's loss by the number of processes and DDP takes the mean of the gradients: what is
applied is the sum over processes of the gradient of their own losses. Each process divides by its own sum of target
scores and its own number of candidates, so the sum is the joint batch's gradient with these two numbers in place of
the joint ones. Both statements are checked. Ultralytics' own launch needs two GPUs and is not run here.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

import torch  # noqa: E402
from torch import distributed as dist  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402
from torch.utils.data import BatchSampler  # noqa: E402
from ultralytics.nn.tasks import PoseModel  # noqa: E402

from aop_pose.pipelines.data import HalfSampler  # noqa: E402
from aop_pose.pipelines.yolo.network import FrameWeight, WeightedPoseLoss  # noqa: E402

SIZE, LABELLED, PSEUDO, BATCH, WORLD, EPOCH = 64, 8, 13, 8, 2, 3
WEIGHTS = [1.0] * LABELLED + [i / (PSEUDO - 1) for i in range(PSEUDO)]
POSE = 1


def network():
    """The same weights in every process; its batch norms use fixed numbers, so that a frame's answer is its own."""
    torch.manual_seed(0)
    model = PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=[3, 2], verbose=False)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, pose=12.0, kobj=1.0)
    model.kpt_oks_sigmas = [0.05] * 3
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    table = {f"{i}.png": FrameWeight(weight, weight) for i, weight in enumerate(WEIGHTS)}
    model.criterion = WeightedPoseLoss(model, table, SIZE)
    return model


def batch_of(indices):
    draws = [np.random.default_rng([7, i]) for i in indices]
    corners = [np.array([draw.uniform(0.1, 0.3, 2), draw.uniform(0.6, 0.9, 2)]) for draw in draws]
    points = [
        one[0] + draw.uniform(0, 1, (3, 2)) * np.ptp(one, axis=0) for one, draw in zip(corners, draws, strict=True)
    ]
    visible = [np.concatenate([one, np.ones((3, 1))], axis=1) for one in points]
    boxes = [np.concatenate([one.mean(axis=0), np.ptp(one, axis=0)]) for one in corners]
    images = [draw.uniform(0, 1, (3, SIZE, SIZE)) for draw in draws]
    return {
        "im_file": [f"{i}.png" for i in indices],
        "img": torch.tensor(np.stack(images), dtype=torch.float32),
        "batch_idx": torch.arange(len(indices), dtype=torch.float32),
        "cls": torch.zeros(len(indices), 1),
        "bboxes": torch.tensor(np.stack(boxes), dtype=torch.float32),
        "keypoints": torch.tensor(np.stack(visible), dtype=torch.float32),
    }


def batches_of(rank, world):
    sampler = HalfSampler(LABELLED, PSEUDO, BATCH, seed=1, rank=rank, world=world)
    sampler.set_epoch(EPOCH)
    return list(BatchSampler(sampler, BATCH // world, drop_last=False))


def gradients(model):
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def work(rank, folder):
    """One process: its batches of an epoch, and the gradient DDP makes of the first, as Ultralytics takes a step."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    model = DistributedDataParallel(network(), find_unused_parameters=True)
    mine = batches_of(rank, WORLD)
    loss, _ = model(batch_of(mine[0]))
    (loss.sum() * WORLD).backward()
    torch.save({"batches": mine, "gradients": gradients(model.module)}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    torch.multiprocessing.spawn(work, args=(str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def alone(indices):
    """One process on these frames: its loss terms with their graph, the network, and what the terms are divided by."""
    model, seen = network(), {}
    assign = model.criterion.assigner.forward

    def spy(*arguments, **options):
        out = assign(*arguments, **options)
        seen["scores"], seen["candidates"] = float(out[2].sum()), int(out[3].sum())
        return out

    model.criterion.assigner.forward = spy
    loss, _ = model(batch_of(indices))
    return loss, model, seen


def close(one, other):
    assert one.keys() == other.keys()
    assert len(one) > 200
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4, msg=name)


def test_each_process_has_both_halves_and_no_frame_comes_twice(processes):
    first, second = (found["batches"] for found in processes)
    assert len(first) == len(second) == LABELLED // (BATCH // 2)
    for one, other, joint in zip(first, second, batches_of(0, 1), strict=True):
        assert [i < LABELLED for i in one] == [i < LABELLED for i in other] == [True, True, False, False]
        assert sorted(one + other) == sorted(joint)
        assert len(set(joint)) == BATCH
    labelled = [i for batch in first + second for i in batch if i < LABELLED]
    assert sorted(labelled) == list(range(LABELLED))


def test_both_processes_take_the_same_step(processes):
    one, other = (found["gradients"] for found in processes)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_step_is_the_sum_of_each_process_s_own_loss(processes):
    total: dict[str, torch.Tensor] = {}
    for found in processes:
        loss, model, _ = alone(found["batches"][0])
        loss.sum().backward()
        total = {name: value + total.get(name, 0) for name, value in gradients(model).items()}
    close(processes[0]["gradients"], total)


def test_with_the_joint_divisors_it_is_the_joint_batch_s_gradient(processes):
    """Terms of each process times (its divisor / the joint one) x (joint frames / its frames)."""
    joint, model, everyone = alone(batches_of(0, 1)[0])
    joint.sum().backward()
    wanted = gradients(model)
    total: dict[str, torch.Tensor] = {}
    values = torch.zeros(5)
    for found in processes:
        loss, model, own = alone(found["batches"][0])
        assert own["scores"] > 1, "the divisor is not clamped"
        share = torch.full((5,), WORLD * own["scores"] / everyone["scores"])
        share[POSE] = WORLD * own["candidates"] / everyone["candidates"]
        (loss * share).sum().backward()
        values += (loss * share).detach()
        total = {name: value + total.get(name, 0) for name, value in gradients(model).items()}
    torch.testing.assert_close(values, joint.detach(), rtol=1e-4, atol=1e-4)
    close(wanted, total)
