"""Conformal intervals: hand-worked quantiles, and coverage on groups that are exchangeable by construction."""

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.trust.intervals import DIFFICULTIES, NEED_MAPS, limited
from lib.conformal import (
    Errors,
    check_groups,
    conformal_quantile,
    cross_conformal_radii,
    effective_groups,
    folds_of,
    joined,
    later_half,
    limits_of,
    narrowest,
    radii_on,
    scatter_of,
    scores_of,
)
from lib.measured import names_for


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


def test_unequal_groups_are_worth_fewer():
    """Of 1, 1 and 2 frames: 4 squared over 1 + 1 + 4."""
    assert effective_groups(np.array([7, 3, 5, 5])) == pytest.approx(16 / 6)
    assert effective_groups(np.repeat(np.arange(12), 3)) == pytest.approx(12)


def test_too_few_groups_are_refused_with_the_reason():
    check_groups(np.arange(20))
    with pytest.raises(UsageError, match=r"at least 20 groups .* found 19"):
        check_groups(np.repeat(np.arange(19), 50))


def test_folds_keep_groups_whole():
    groups = np.repeat(np.arange(37), 3)
    fold = folds_of(groups, 5)
    assert all(len(set(fold[groups == group])) == 1 for group in range(37))
    assert set(fold) == set(range(5))


def test_the_later_half_is_told_by_the_first_name_of_each_group():
    groups = np.array([2, 0, 2, 1, 3])
    assert later_half(groups, ["e", "b", "a", "c", "d"]).tolist() == [False, False, False, True, True]


def simulated(rng, sizes):
    """Residuals whose size is the frame's difficulty times something shared by its group."""
    ids = np.repeat(np.arange(len(sizes)), sizes)
    difficulty = rng.uniform(0.5, 3.0, len(ids))
    shared = rng.normal(size=len(sizes))[ids]
    return Errors(np.abs(shared + 0.5 * rng.normal(size=len(ids))) * difficulty, difficulty, ids)


@pytest.mark.parametrize("skewed", [False, True])
def test_new_groups_are_covered_at_least_as_often_as_said(skewed):
    """Also where a few groups hold most of the frames: their number alone would promise too much."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(300):
        sizes = rng.geometric(0.3, 60) if skewed else np.full(60, 3)
        errors = simulated(rng, sizes)
        old = errors.groups < 40
        radii = radii_on(errors.of(old), errors.difficulty[~old], 0.9)
        covered.append((errors.residuals[~old] <= radii).mean())
    assert 0.895 < np.mean(covered) < 0.95


def test_difficulties_are_cut_at_the_easiest_and_the_hardest_and_stored_so():
    rng = np.random.default_rng(3)
    errors = Errors(rng.uniform(size=400), rng.permutation(np.arange(400.0)) + 1, np.arange(400))
    easiest, hardest = limits_of(errors.difficulty)
    assert (easiest, hardest) == pytest.approx((20.95, 392.02))
    assert limited(np.array([1.0, 100.0, 400.0, np.nan]), easiest, hardest)[:3] == pytest.approx([20.95, 100, 392.02])
    stored = scores_of(errors, "score")
    assert (stored.easiest, stored.hardest, stored.groups) == (20.95, 392.02, 400)
    assert radii_on(errors, np.array([1.0]), 0.9)[0] == pytest.approx(20.95 * stored.radius(0.9), rel=1e-5)


def test_cross_conformal_covers_and_a_true_difficulty_is_the_narrowest():
    errors = simulated(np.random.default_rng(1), np.full(300, 3))
    plain = Errors(errors.residuals, np.ones(len(errors.residuals)), errors.groups)
    known = {"plain": plain.difficulty, "difficulty": errors.difficulty}
    assert narrowest(errors.residuals, known, errors.groups, 0.9) == "difficulty"
    radii = cross_conformal_radii(errors, 0.9)
    assert 0.86 < (errors.residuals <= radii).mean() < 0.95
    assert radii.mean() < cross_conformal_radii(plain, 0.9).mean()


def test_frames_of_other_networks_join_with_groups_of_their_own():
    one, other = (Errors(np.full(4, size), np.ones(4), np.array([0, 0, 1, 1])) for size in (1.0, 9.0))
    assert joined([one, other]).groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert effective_groups(joined([one, other]).groups) == 4
    many = Errors(np.arange(50.0), np.ones(50), np.arange(50))
    assert (cross_conformal_radii(one, 0.9, [many]) == conformal_quantile(np.r_[[1.0, 1.0], many.residuals],
            np.r_[[0, 0], np.arange(1, 51)], 0.9)).all()  # fmt: skip


def test_the_scatter_of_a_calibration_is_that_of_order_statistics():
    """77 groups of one frame: coverage is Beta(71, 7), 0.838 to 0.960; its frames stand for the population."""
    rng = np.random.default_rng(0)
    errors = Errors(rng.exponential(size=2000), np.ones(2000), np.arange(2000))
    low, high = scatter_of(errors, 0.9, groups=77, draws=1000)
    exact = np.quantile(rng.beta(71, 7, 200_000), [0.025, 0.975])
    assert (low, high) == pytest.approx(exact, abs=0.015)
    alike = Errors(np.repeat(errors.residuals[:500], 4), np.ones(2000), np.repeat(np.arange(500), 4))
    assert scatter_of(alike, 0.9, groups=77, draws=1000) == pytest.approx(exact, abs=0.02)


def test_a_difficulty_that_a_head_cannot_give_is_not_offered():
    assert not NEED_MAPS & set(names_for(3, maps=False))
    assert set(names_for(3, maps=True)) == set(DIFFICULTIES)
    assert names_for(4, maps=True) == ("plain", "score", "looks", "spread", "field")
