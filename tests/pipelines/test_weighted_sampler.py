"""Half a batch labelled, half pseudo-labelled: who comes when, and that (seed, epoch) alone says so."""

from collections import Counter

import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

from torch.utils.data import BatchSampler  # noqa: E402

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines.data import HalfSampler  # noqa: E402


def epochs_of(sampler, count, batch):
    """Batches of each epoch, each split into labelled and pseudo-labelled."""
    for epoch in range(count):
        sampler.set_epoch(epoch)
        yield [
            ([i for i in batch if i < sampler.labelled], [i - sampler.labelled for i in batch if i >= sampler.labelled])
            for batch in BatchSampler(sampler, batch, drop_last=False)
        ]


@pytest.mark.parametrize(("labelled", "pseudo", "batch"), [(20, 50, 8), (18, 7, 8), (5, 2, 8), (9, 40, 2), (3, 9, 16)])
def test_every_batch_is_halved_and_an_epoch_is_one_pass(labelled, pseudo, batch):
    sampler = HalfSampler(labelled, pseudo, batch, seed=1)
    for batches in epochs_of(sampler, 4, batch):
        assert all(len(ours) == len(theirs) for ours, theirs in batches)
        assert all(len(ours) == batch // 2 for ours, _ in batches[:-1])
        assert sorted(i for ours, _ in batches for i in ours) == list(range(labelled))
        assert sum(len(ours) + len(theirs) for ours, theirs in batches) == len(sampler) == 2 * labelled


def test_the_paper_takes_four_and_four():
    sampler = HalfSampler(300, 600, 8, seed=0)
    batches = next(epochs_of(sampler, 1, 8))
    assert len(batches) == 75
    assert {(len(ours), len(theirs)) for ours, theirs in batches} == {(4, 4)}


@pytest.mark.parametrize(("labelled", "pseudo"), [(20, 50), (20, 13), (7, 7), (6, 1)])
def test_pseudo_labelled_frames_come_in_turn_across_epochs(labelled, pseudo):
    """After k rounds of the cycle everyone came k times, wherever an epoch ends."""
    sampler, seen, orders = HalfSampler(labelled, pseudo, 8, seed=2), [], set()
    for batches in epochs_of(sampler, 12, 8):
        seen += [i for _, theirs in batches for i in theirs]
    for begin in range(0, len(seen) - pseudo + 1, pseudo):
        assert sorted(seen[begin : begin + pseudo]) == list(range(pseudo))
        orders.add(tuple(seen[begin : begin + pseudo]))
    assert len(orders) > 1 or pseudo == 1, "each round has an order of its own"


@pytest.mark.parametrize("seed", range(20))
def test_no_batch_holds_a_frame_twice(seed):
    """12 pseudo-labelled frames are one and a half batches of 8; a round ends within many batches."""
    sampler = HalfSampler(17, 12, 8, seed)
    for batches in epochs_of(sampler, 12, 8):
        assert all(len(set(theirs)) == len(theirs) for _, theirs in batches)


def test_an_epoch_follows_from_seed_and_number_alone():
    straight, other = HalfSampler(11, 30, 4, seed=5), HalfSampler(11, 30, 4, seed=5)
    orders = []
    for epoch in range(5):
        straight.set_epoch(epoch)
        orders.append(list(straight))
    other.set_epoch(3)
    assert list(other) == orders[3]
    assert len({tuple(order) for order in orders}) == 5
    assert list(HalfSampler(11, 30, 4, seed=6)) != orders[0]


@pytest.mark.parametrize("labelled", [16, 19])
def test_processes_share_each_batch(labelled):
    """Together two processes take what one would, in the same batches; halves stay halves."""
    one = HalfSampler(labelled, 40, 8, seed=4)
    two = [HalfSampler(labelled, 40, 8, seed=4, rank=rank, world=2) for rank in (0, 1)]
    whole = [ours for batches in epochs_of(one, 1, 8) for ours in batches]
    parts = [[ours for batches in epochs_of(sampler, 1, 4) for ours in batches] for sampler in two]
    assert len(two[0]) == len(two[1]) == sum(len(a) + len(b) for a, b in parts[0])
    for joint, first, second in zip(whole, *parts, strict=True):
        assert len(first[0]) == len(first[1]) == len(second[0]) == len(second[1])
        if len(joint[0]) % 2 == 0:
            assert sorted(joint[0]) == sorted(first[0] + second[0])
            assert sorted(joint[1]) == sorted(first[1] + second[1])
        assert not set(first[0]) & set(second[0])
        assert not set(first[1]) & set(second[1])
    twice = Counter(i for part in parts for ours, _ in part for i in ours)
    assert sorted(twice) == list(range(labelled))
    assert sum(twice.values()) - labelled == labelled % 2, "one comes twice where they do not divide"


@pytest.mark.parametrize(("batch", "world"), [(7, 1), (6, 2)])
def test_a_batch_that_cannot_be_halved_is_an_error(batch, world):
    with pytest.raises(UsageError, match=f"multiple of {2 * world}"):
        HalfSampler(10, 10, batch, 0, 0, world)
