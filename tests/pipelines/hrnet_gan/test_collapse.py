"""The check for collapse: its numbers by hand and by loops, and what it must and must not call a collapse."""

import math

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.pipelines.hrnet_gan.pretraining import Collapse, check, embed, held_loss, retrieval, spread  # noqa: E402


def units(*shape, seed=0):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_spread_of_even_vectors_is_1_and_of_one_vector_0():
    assert spread(units(40, 25, 128)) == pytest.approx(1, abs=0.02)
    assert spread(units(1, 1, 128).expand(40, 25, 128)) == pytest.approx(0, abs=1e-6)


def test_spread_by_hand():
    """Two opposite vectors along the first of 4 axes: deviations 1, 0, 0, 0; their mean 1/4, times sqrt(4)."""
    axis = torch.eye(4)[0]
    assert spread(torch.stack([axis, -axis])[None]) == pytest.approx(0.5)


def test_retrieval_by_loops():
    key = units(9, 4, 6, seed=1)
    query = torch.nn.functional.normalize(key + 2 * units(9, 4, 6, seed=2), dim=-1)
    hits = 0
    for frame in range(9):
        nearness = []
        for other in range(9):
            cosines = [float(query[frame, place] @ key[other, place]) for place in range(4)]
            nearness.append(sum(cosines) / 4)
        hits += nearness.index(max(nearness)) == frame
    assert 2 < hits < 9
    assert retrieval(query, key) == pytest.approx(hits / 9)


def test_retrieval_of_a_known_order():
    key = torch.eye(4)[:, None]
    assert retrieval(key, key) == 1
    assert retrieval(key[[1, 0, 2, 3]], key) == 0.5
    # A tie is no hit.
    assert retrieval(key, key[[0, 0, 2, 3]]) == 0.5


def test_the_held_loss_by_loops():
    query, key, total = units(3, 2, 5, seed=1), units(3, 2, 5, seed=2), 0.0
    for frame in range(3):
        for place in range(2):
            near = math.exp(float(query[frame, place] @ key[frame, place]) / 0.2)
            far = [
                math.exp(float(query[frame, place] @ key[other, where]) / 0.2)
                for other in range(3) if other != frame for where in range(2)
            ]  # fmt: skip
            total -= math.log(near / (near + sum(far)))
    assert held_loss(query, key, 0.2) == pytest.approx(total / 6, rel=1e-5)


def test_one_vector_for_everything_is_a_collapse():
    same = units(1, 1, 128).expand(20, 16, 128)
    found = check(same, same)
    assert found.reason is not None
    assert found.reason.startswith("expected embeddings that spread by 0.005 or more, found 0.0000")
    assert found.facts()["why"] == found.reason


def test_vectors_that_tell_places_but_not_frames_are_a_collapse():
    """They spread as they should, and say nothing of the frame."""
    same = units(1, 16, 128).expand(20, 16, 128)
    found = check(same, same)
    assert found.spread > 0.5
    assert found.retrieval == 0
    assert found.reason == (
        "expected a frame's other view to be found more often than by chance, found 0.0% of 20 frames (chance 5.0%)"
    )


def test_what_tells_frames_apart_is_none():
    key = units(20, 16, 128, seed=1)
    query = torch.nn.functional.normalize(key + 0.5 * units(20, 16, 128, seed=2), dim=-1)
    found = check(query, key)
    assert found.reason is None
    assert found.facts() == {
        "spread": pytest.approx(1, abs=0.05), "retrieval": 1, "chance": 0.05, "frames": 20, "why": None,
    }  # fmt: skip
    assert "other view retrieved: 100.0% of 20 frames (chance 5.0%)" in str(found)


def test_numbers_that_are_none_are_a_collapse():
    assert Collapse(math.nan, 0.5, 10).reason is not None
    assert Collapse(0.9, math.nan, 20).reason is not None


def test_few_frames_are_judged_by_their_spread_alone():
    assert Collapse(0.9, 0.0, 19).reason is None
    assert Collapse(0.9, 0.0, 20).reason is not None
    assert Collapse(0.004, 1.0, 19).reason is not None
    assert str(Collapse(0.9, 0.0, 19)).endswith("; too few to judge: 20 would do")


def test_embeddings_are_those_of_evaluation_mode():
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))
    batches = [(torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5), "more") for _ in range(2)]
    query, key = embed(network, batches)
    assert query.shape == key.shape == (4, 20, 3)
    torch.testing.assert_close(key[3, 7], batches[1][1][1, :, 1, 2], rtol=1e-4, atol=1e-5)
