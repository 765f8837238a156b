"""Work done side by side whose results come out in the order of what went in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")

AHEAD = 2
"""Items that wait between reading and working, and between working and writing: memory is bounded by it, not by the
number of items."""


def in_order(work: Callable[[Item], Done], items: Iterable[Item], workers: int) -> Iterator[Done]:
    """``work`` of every item, ``workers`` of them at a time in threads; items are taken as they are needed."""
    waiting: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                while waiting and (len(waiting) >= workers + AHEAD or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
