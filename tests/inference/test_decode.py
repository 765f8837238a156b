"""From raw candidates to points."""

import numpy as np
import pytest

from aop_pose.inference.decode import VOTER_IOU, VOTERS, decode_pose, voters


def candidates(*rows):
    """Rows of (cx, cy, w, h, score, x1, y1, ...) as the network gives them: one column each."""
    return np.array(rows, dtype=np.float32).T


def test_best_takes_the_highest_score():
    output = candidates((5, 5, 4, 4, 0.2, 1, 2, 3, 4, 5, 6), (6, 6, 4, 4, 0.9, 11, 12, 13, 14, 15, 16))
    points, score = decode_pose(output, "best")
    assert score == pytest.approx(0.9)
    np.testing.assert_allclose(points, [[11, 12], [13, 14], [15, 16]])


def test_weighted_is_the_mean_by_score_of_overlapping_boxes():
    output = candidates(
        (10, 10, 8, 8, 0.6, 0, 0, 0, 0, 0, 0),
        (10, 10, 8, 8, 0.2, 4, 8, 0, 0, 0, 0),
        (90, 90, 8, 8, 0.5, 99, 99, 99, 99, 99, 99),
    )
    points, score = decode_pose(output, "weighted")
    assert score == pytest.approx(0.6)
    np.testing.assert_allclose(points[0], [1, 2], atol=1e-6)  # (0.6 * 0 + 0.2 * (4, 8)) / 0.8


def test_weighted_against_a_slow_reference():
    rng = np.random.default_rng(3)
    boxes = np.stack(
        [rng.uniform(80, 120, 60), rng.uniform(80, 120, 60), rng.uniform(40, 90, 60), rng.uniform(40, 90, 60)]
    )
    output = np.concatenate([boxes, rng.random((1, 60)), rng.uniform(0, 200, (6, 60))]).astype(np.float32)

    def overlap(a, b):
        width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
        height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
        shared = max(width, 0) * max(height, 0)
        return shared / (a[2] * a[3] + b[2] * b[3] - shared)

    order = sorted(range(60), key=lambda i: -output[4, i])[:VOTERS]
    voters = [i for i in order if overlap(output[:4, i], output[:4, order[0]]) >= VOTER_IOU]
    assert 1 < len(voters) < VOTERS
    total = sum(output[4, i] for i in voters)
    expected = sum(output[4, i] * output[5:, i] for i in voters) / total
    points, _ = decode_pose(output, "weighted")
    np.testing.assert_allclose(points.ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("rule", ["best", "weighted"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_scores_zero(rule, value):
    output = candidates((5, 5, 4, 4, 0.2, 1, 2, 3, 4, 5, 6), (6, 6, 4, 4, value, 1, 1, 1, 1, 1, 1))
    points, score = decode_pose(output, rule)
    assert score == 0
    assert np.isnan(points).all()


def test_voters_share_by_score_and_always_hold_the_best():
    output = np.zeros((7, 3), np.float32)
    output[:4] = np.array([[50, 52, 90], [50, 50, 90], [20, 20, 20], [20, 20, 20]])
    output[4] = [0.6, 0.2, 0.9]
    chosen, weights = voters(output)
    assert (chosen.tolist(), weights.tolist()) == ([2], [1])
    output[4, 2] = 0.1
    chosen, weights = voters(output)
    np.testing.assert_allclose(weights[np.argsort(chosen)], [0.75, 0.25], atol=1e-6)
    output[4] = 0
    np.testing.assert_allclose(voters(output)[1], [0.5, 0.5])
