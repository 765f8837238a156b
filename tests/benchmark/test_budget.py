"""A budget in words, and wall time turned into epochs."""

import pytest

from aop_pose.benchmark.plan import PACE_EPOCHS, Budget, Pace, pace_of
from aop_pose.errors import AopPoseError, UsageError


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [("90s", 90, "90 seconds"), ("20m", 1200, "20 minutes"), ("1h", 3600, "1 hour"), ("30e", None, "30 epochs")],
)
def test_a_budget_is_read_and_said(text, seconds, words):
    budget = Budget.parse(text)
    assert (budget.seconds, budget.words, str(budget)) == (seconds, words, text)


@pytest.mark.parametrize("text", ["20", "m", "0m", "-1m", "1.5h", "20 m", "20d", ""])
def test_anything_else_is_an_error_that_says_what_is_taken(text):
    with pytest.raises(UsageError, match="expected wall time"):
        Budget.parse(text)


def test_epochs_that_fit():
    pace = Pace(fixed=10, epoch=30)
    assert pace.epochs_within(100) == 3
    assert pace.epochs_within(99.9) == 2
    with pytest.raises(UsageError, match="expected time for an epoch \\(40 s"):
        pace.epochs_within(39)


def test_the_pace_is_that_of_the_last_epoch():
    """Begins at 0, epochs end at 12 and 17, all done at 19: 5 s an epoch, 9 s beside."""
    times = iter([0.0, 12.0, 17.0, 19.0])

    def train(tell):
        for _ in range(PACE_EPOCHS):
            tell()

    assert pace_of(train, lambda: next(times)) == Pace(fixed=9, epoch=5)


def test_a_pipeline_that_tells_no_epochs_is_an_error():
    with pytest.raises(AopPoseError, match="found 0"):
        pace_of(lambda tell: None)
