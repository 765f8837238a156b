"""The queue of negatives: what it forgets, what sizes fit, and that several processes share it."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

# The processes below import this file again, so that it imports little.
from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.pipelines.hrnet_gan.moco import NegativeQueue, check_size  # noqa: E402


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
