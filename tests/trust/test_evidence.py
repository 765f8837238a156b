"""The signals of two looks: each structure speaks for itself."""

import math

import attrs
import numpy as np
import pytest

from aop_pose.trust.gate import SIGNALS, gather
from tests.fakes import prediction

POINTS = np.array([[120.0, 70.0], [75.0, 85.0], [160.0, 110.0]])


def told(first, second):
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256), dtype=np.uint8)
    return dict(zip(SIGNALS[2:14], gather(pixels, first, second).of_passes(), strict=True))


def test_a_structure_is_as_sure_as_its_worst_point():
    first = prediction(POINTS, np.array([0.9, 0.5, 0.8]), np.array([0.01, 0.1, 0.02]))
    second = prediction(
        POINTS + np.array([[0, 0], [3, 4], [0, 2]]), np.array([0.2, 0.7, 0.5]), np.array([0.5, 0.1, 1e-9])
    )
    signals = told(first, second)
    assert signals == pytest.approx({
        "symphysis_score": 0, "head_score": math.log(4),
        "second_symphysis_score": -math.log(4), "second_head_score": 0,
        "symphysis_sharpness": math.log(10), "head_sharpness": math.log(50),
        "second_symphysis_sharpness": math.log(2), "second_head_sharpness": math.log(1000),
        "symphysis_steadiness": -math.log(5), "head_steadiness": -math.log(2),
        "symphysis_outline": 0, "head_outline": 0,
    })  # fmt: skip


def test_a_head_without_maps_says_nothing_of_their_width():
    look = prediction(POINTS, np.full(3, 0.9))
    assert [value for name, value in told(look, look).items() if name.endswith("sharpness")] == [0, 0, 0, 0]


def test_an_outline_is_as_large_as_in_the_look_that_shows_less_of_it():
    square = np.array([[0, 0], [64, 0], [64, 32], [0, 32]], float)
    looks = [
        attrs.evolve(prediction(POINTS, np.full(3, 0.9)), outlines=outlines)
        for outlines in ({"PS": square, "FH": 2 * square}, {"PS": 2 * square})
    ]
    signals = told(*looks)
    assert signals["symphysis_outline"] == pytest.approx(math.log(64 * 32 / 256**2))
    # None in the second look: 16 square pixels stand for nothing.
    assert signals["head_outline"] == pytest.approx(math.log(16 / 256**2))
