"""Work side by side: order kept, bounded, errors not lost."""

import threading
import time

import pytest

from aop_pose.measuring.ahead import AHEAD, in_order


def test_results_come_in_the_order_of_the_items():
    def slow_first(number):
        time.sleep(0.02 if number % 5 == 0 else 0)
        return number * 2

    assert list(in_order(slow_first, range(40), 4)) == [number * 2 for number in range(40)]


def test_items_are_taken_only_as_they_are_needed():
    taken = []
    work = in_order(lambda item: item, (taken.append(i) or i for i in range(1000)), 2)
    for _ in range(3):
        next(work)
    assert len(taken) <= 3 + 2 + AHEAD
    work.close()


def test_as_many_at_a_time_as_there_are_workers():
    both = threading.Barrier(2, timeout=10)
    assert len(list(in_order(lambda item: both.wait(), range(4), 2))) == 4


def test_an_error_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda number: 1 // (number - 3), range(10), 2))
