"""Turns of a cube: there and back, never a mirror, and maps averaged over them."""

import numpy as np
import pytest

from aop_pose.inference.decode import encode
from aop_pose.inference.grid import TURNS, turned_maps, turns_of

SIDES = (((1,), (2,)),)


def test_there_are_24_and_none_is_a_mirror():
    assert len({turn.matrix.tobytes() for turn in TURNS}) == 24
    for turn in TURNS:
        assert np.linalg.det(turn.matrix) == pytest.approx(1)
        np.testing.assert_array_equal(turn.matrix @ turn.matrix.T, np.eye(3))
    np.testing.assert_array_equal(TURNS[0].matrix, np.eye(3))


@pytest.mark.parametrize("turn", TURNS)
def test_a_voxel_goes_where_the_matrix_says_and_comes_back(turn):
    values, voxel = np.zeros((5, 6, 7)), np.array([1, 4, 2])
    values[tuple(voxel)] = 1
    turned = turn.forward(values)
    before, after = ((np.array(one.shape) - 1) / 2 for one in (values, turned))
    there = turn.matrix @ (voxel - before) + after
    assert np.argwhere(turned).tolist() == [there.round().astype(int).tolist()]
    np.testing.assert_array_equal(turn.backward(turned[None]), values[None])


@pytest.mark.parametrize(("shape", "count"), [((8, 8, 8), 24), ((8, 8, 16), 8), ((16, 8, 16), 8), ((8, 16, 24), 4)])
def test_only_turns_that_keep_the_shape_are_taken(shape, count):
    kept = turns_of(shape, 24)
    assert len(kept) == count
    assert all(turn.forward(np.zeros(shape)).shape == shape for turn in kept)
    assert turns_of(shape, 1) == TURNS[:1]


def test_a_network_that_turns_with_its_input_says_the_same_and_sees_one_input_at_a_time():
    values, shapes = np.random.default_rng(0).random((4, 4, 6), dtype=np.float32), []

    def network(inputs):
        shapes.append(inputs.shape)
        return np.concatenate([inputs, inputs**2], axis=1)

    maps = turned_maps(network, values, turns_of(values.shape, 24))
    np.testing.assert_allclose(maps, [values, values**2], rtol=1e-6)
    assert maps.dtype == np.float32
    assert shapes == [(1, 1, 4, 4, 6)] * 8


def test_an_answer_that_keeps_to_the_grid_is_spread_over_all_turns():
    """The mean of 24 maps with a 1 in one corner: each of the 8 corners is there 3 times."""
    corner = np.zeros((1, 1, 3, 3, 3), np.float32)
    corner[..., 0, 0, 0] = 1
    maps = turned_maps(lambda inputs: corner, np.zeros((3, 3, 3), np.float32), TURNS)
    assert sorted(maps.ravel().round(6).tolist()) == [0] * 19 + [0.125] * 8


def named_by_the_grid(values, points):
    """A network that finds three points and calls the later one along the third axis the right one."""

    def network(inputs):
        maps = np.stack([np.where(inputs[0, 0] == mark, 1.0, 0.0) for mark in points])
        left, right = (int(np.argwhere(one)[0][2]) for one in maps[1:])
        return maps[None, [0, 1, 2] if left < right else [0, 2, 1]].astype(np.float32)

    return turned_maps(network, values, TURNS, SIDES), turned_maps(network, values, TURNS)


def test_sides_that_the_network_names_by_chance_are_not_mixed():
    values = np.zeros((5, 5, 5), np.float32)
    values[1, 2, 3], values[2, 1, 0], values[3, 4, 4] = 1, 2, 3
    alike, mixed = named_by_the_grid(values, (1, 2, 3))
    assert alike[0, 1, 2, 3] == alike[1, 2, 1, 0] == alike[2, 3, 4, 4] == 1
    assert 0.3 < mixed[1, 2, 1, 0] < 0.7


def test_what_one_turn_sees_wrongly_the_others_outvote():
    truth = encode(np.array([[6.0, 2, 3]]), (9, 9, 9), 1.0).astype(np.float32)
    wrong = encode(np.array([[1.0, 7, 7]]), (9, 9, 9), 1.0).astype(np.float32)
    shown = []

    def network(inputs):
        shown.append(len(shown))
        turn = TURNS[shown[-1]]
        return turn.forward((wrong if shown[-1] < 5 else truth)[0])[None, None]

    maps = turned_maps(network, np.zeros((9, 9, 9), np.float32), TURNS)
    assert np.unravel_index(maps[0].argmax(), (9, 9, 9)) == (3, 2, 6)
    assert maps.max() == pytest.approx(19 / 24)
