"""Work in a process of its own, so that its peak memory is its own and nothing of it lingers."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from aop_pose.errors import AopPoseError

T = TypeVar("T")


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """The function's value, computed by a fresh interpreter; both it and its arguments are pickled.

    An ``AopPoseError`` comes out as it was raised; AopPoseError too where the process died. Whatever ends the wait
    (Ctrl-C, a killed parent) ends the process.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        raise AopPoseError(f"its process ended with code {process.exitcode} before it was done") from None
    finally:
        process.terminate()
    if isinstance(outcome, AopPoseError):
        raise outcome
    return outcome


def _work(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send(function(*arguments))
    except AopPoseError as error:
        sender.send(error)
    except KeyboardInterrupt:
        # The parent was interrupted too, and says so.
        sys.exit(130)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this process was started by one
    wait([parent.sentinel])
    os._exit(1)


def peak_memory_mb() -> float:
    """Most memory this process has held, in MB of 2^20 bytes, as ``run.json`` gives it."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: on Linux a new program inherits the peak of the one that started it.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
