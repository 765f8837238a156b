"""Confidence formulas against numbers worked out by hand."""

import math

import numpy as np
import pytest

from aop_pose.pseudo.signals import (
    CONFIDENCES,
    DEFAULT,
    Signals,
    cosine_confidence,
    entropy_of_spread,
    shannon_entropy,
    spread_of_candidates,
    spread_over_passes,
)


def signals(**changes):
    values = {
        "score": 0.9, "candidate_spread": 0.004, "score_entropy": 0.2, "noise_spread": 0.009, "cosine": 0.4999,
        "cosine_centred": 0.499, "cosine_scores": 0.48,
    }  # fmt: skip
    return Signals(**{**values, **changes})


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ([3, 4], [3, 4], 0.5),
        ([3, 4], [30, 40], 0.5),
        ([3, 4], [-3, -4], 0.0),
        ([3, 4], [4, -3], 0.25),
        ([1, 0], [1, 1], (1 / math.sqrt(2) + 1) / 4),
    ],
)
def test_equation_14(p, q, expected):
    assert cosine_confidence(np.array(p), np.array(q)) == pytest.approx(expected, abs=1e-12)


def test_equation_14_never_leaves_its_range():
    rng = np.random.default_rng(0)
    for _ in range(200):
        vector = rng.normal(size=6) * 10.0 ** rng.uniform(-8, 8)
        assert 0 <= cosine_confidence(vector, vector * rng.uniform(-2, 2)) <= 0.5


def test_a_vector_without_length_has_no_cosine():
    assert math.isnan(cosine_confidence(np.zeros(6), np.ones(6)))
    assert math.isnan(cosine_confidence(np.full(6, np.nan), np.ones(6)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5, 0, 0], 0.0),
        ([1, 1, 1, 1], math.log(4)),
        ([2, 1, 1], 1.5 * math.log(2)),
        ([[0.5, 0], [0, 0.5]], math.log(2)),
    ],
)
def test_shannon_entropy(values, expected):
    assert shannon_entropy(np.array(values)) == pytest.approx(expected)


def test_entropy_of_an_empty_map_is_unknown():
    assert math.isnan(shannon_entropy(np.zeros(4)))


@pytest.mark.parametrize("deviation", [1.5, 3.0, 6.0])
def test_spread_and_heatmap_tell_entropy_in_one_unit(deviation):
    y, x = np.mgrid[-60:61, -60:61]
    heatmap = np.exp(-(x**2 + y**2) / (2 * deviation**2))
    # Two axes: the mean square distance from the centre is twice the variance along one.
    assert entropy_of_spread(math.sqrt(2) * deviation) == pytest.approx(shannon_entropy(heatmap), abs=1e-3)


def test_a_single_candidate_is_as_sure_as_a_pixel_is_wide():
    assert entropy_of_spread(0) == entropy_of_spread(0.1) < entropy_of_spread(0.5)
    assert math.isfinite(entropy_of_spread(0))
    assert math.isnan(entropy_of_spread(math.nan))


def test_spread_of_candidates_by_hand():
    # One point stays, the other lies at x = 0 with weight 3/4 and at 4 with 1/4: mean 1, variance 3/4 * 1 + 1/4 * 9.
    points = np.array([[[5.0, 5], [0, 0]], [[5, 5], [4, 0]]])
    assert spread_of_candidates(points, np.array([0.75, 0.25])) == pytest.approx(math.sqrt((0 + 3) / 2))


def test_spread_over_passes_by_hand():
    points = np.array([[[0.0, 0], [1, 1]], [[6, 8], [1, 1]]])
    assert spread_over_passes(points) == pytest.approx((5 + 5 + 0 + 0) / 4)


def test_every_weight_lies_between_0_and_1_and_falls_with_doubt():
    sure = signals(candidate_spread=0, noise_spread=0, score=1, score_entropy=0)
    lost = signals(
        candidate_spread=0.7, noise_spread=0.7, score=0, score_entropy=1, cosine=0, cosine_centred=0, cosine_scores=0
    )
    for name, rule in CONFIDENCES.items():
        assert 0 <= rule.weight(lost) < rule.weight(signals()) <= rule.weight(sure) <= 1, name


def test_the_default_is_e_to_the_minus_geometric_mean_in_percent():
    # Square root of 0.4 % times 0.9 % is 0.6 %.
    assert CONFIDENCES[DEFAULT].weight(signals()) == pytest.approx(math.exp(-0.6))


def test_a_network_of_one_candidate_is_still_judged_by_noise():
    weight = CONFIDENCES[DEFAULT].weight
    assert weight(signals(candidate_spread=0, noise_spread=0.02)) < weight(signals(candidate_spread=0)) < 1


def test_the_papers_rule_is_c_as_it_stands():
    assert CONFIDENCES["paper"].weight(signals()) == 0.4999
    assert CONFIDENCES["paper-centred"].weight(signals()) == CONFIDENCES["paper-centred"].cosine(signals()) == 0.499


def test_what_is_unknown_stays_unknown():
    assert math.isnan(CONFIDENCES[DEFAULT].weight(signals(candidate_spread=math.nan)))
