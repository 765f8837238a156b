"""Conformal intervals: hand-worked quantiles, and coverage on groups that are exchangeable by construction."""

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.trust.intervals import DIFFICULTIES, NEED_MAPS
from lib.conformal import (
    check_groups,
    conformal_quantile,
    cross_conformal_radii,
    folds_of,
    names_for,
    narrowest,
)


def test_one_frame_a_group_is_the_textbook_rule():
    """19 scores 1..19 at 90 %: the ceil(0.9 * 20) = 18th smallest; at 95 % the 19th; beyond it nothing is known."""
    scores, groups = np.arange(19.0, 0.0, -1.0), np.arange(19)
    assert conformal_quantile(scores, groups, 0.9) == 18
    assert conformal_quantile(scores, groups, 0.95) == 19
    assert conformal_quantile(scores, groups, 0.96) == np.inf


def test_frames_of_one_group_are_not_more_observations():
    """20 frames in 4 groups weigh 0.2 each; at 70 % (4 + 1) * 0.7 = 3.5 needs 17.5 of them: the 18th."""
    assert conformal_quantile(np.arange(1.0, 21.0), np.repeat(np.arange(4), 5), 0.7) == 18
    assert conformal_quantile(np.arange(1.0, 21.0), np.repeat(np.arange(4), 5), 0.9) == np.inf


def test_too_few_groups_are_refused_with_the_reason():
    check_groups(np.arange(20))
    with pytest.raises(UsageError, match=r"at least 20 groups .* found 19"):
        check_groups(np.repeat(np.arange(19), 50))


def test_folds_keep_groups_whole():
    groups = np.repeat(np.arange(37), 3)
    fold = folds_of(groups, 5)
    assert all(len(set(fold[groups == group])) == 1 for group in range(37))
    assert set(fold) == set(range(5))


def simulated(rng, groups):
    """Residuals whose size is the frame's difficulty times something shared by its group."""
    ids = np.repeat(np.arange(groups), 3)
    difficulty = rng.uniform(0.5, 3.0, len(ids))
    return ids, difficulty, np.abs(rng.normal(size=groups)[ids] + 0.5 * rng.normal(size=len(ids))) * difficulty


def test_new_groups_are_covered_as_often_as_said():
    rng, covered = np.random.default_rng(0), []
    for _ in range(300):
        ids, difficulty, residuals = simulated(rng, 60)
        old = ids < 40
        radius = conformal_quantile(residuals[old] / difficulty[old], ids[old], 0.9)
        covered.append((residuals[~old] <= radius * difficulty[~old]).mean())
    assert 0.89 < np.mean(covered) < 0.93


def test_cross_conformal_covers_and_a_true_difficulty_is_the_narrowest():
    ids, difficulty, residuals = simulated(np.random.default_rng(1), 300)
    known = {"plain": np.ones(len(ids)), "difficulty": difficulty}
    assert narrowest(residuals, known, ids, 0.9) == "difficulty"
    radii = cross_conformal_radii(residuals, known, ids, 0.9)
    assert 0.86 < (residuals <= radii).mean() < 0.95
    plain = cross_conformal_radii(residuals, {"plain": known["plain"]}, ids, 0.9)
    assert radii.mean() < plain.mean()


def test_a_difficulty_that_a_head_cannot_give_is_not_offered():
    assert not NEED_MAPS & set(names_for(3, maps=False))
    assert set(names_for(3, maps=True)) == set(DIFFICULTIES)
    assert names_for(4, maps=True) == ("plain", "score", "looks", "spread")
