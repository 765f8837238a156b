"""Work ahead of who waits for it: items in threads, in order; files of a storage fetched before they are read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from queue import Full, Queue
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp
from threading import Event, Thread
from typing import TypeVar

from aop_pose.io.discover import Entry

Work = TypeVar("Work")
Done = TypeVar("Done")

AHEAD = 2
"""Items that wait between reading and working, and between working and writing: memory is bounded by it, not by the
number of items."""


def in_order(work: Callable[[Work], Done], items: Iterable[Work], workers: int) -> Iterator[Done]:
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


def read_ahead(items: Iterable[Work]) -> Iterator[Work]:
    """The same items, read ahead by one thread that stops when nobody listens any more."""
    queue: Queue[Work | BaseException | None] = Queue(maxsize=AHEAD)
    stop = Event()

    def put(item: Work | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return queue.put(item, timeout=0.2)
            except Full:
                continue

    def read() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    Thread(target=read, daemon=True).start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()


FETCHED = 8
"""Files that are fetched from a storage at a time: each waits for an answer, and takes no core."""


def at_hand(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same files in order; those of a storage as copies on this disk, some ahead, each until the next is taken.

    Raises StorageError.
    """
    with TemporaryDirectory(prefix="aop-pose-", ignore_cleanup_errors=True) as folder:

        def fetched(entry: Entry) -> Entry:
            return entry.fetch(Path(mkdtemp(dir=folder)))

        for stored, some in groupby(entries, attrgetter("is_stored")):
            if not stored:
                yield from some
                continue
            for entry in in_order(fetched, some, FETCHED):
                yield entry
                rmtree(entry.path.parent)
