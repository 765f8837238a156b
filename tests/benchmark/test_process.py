"""Work elsewhere: values and errors come back, a dead process is said."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aop_pose.benchmark.run import in_own_process
from aop_pose.errors import UsageError


def _own(number):
    if number == 1:
        raise UsageError("expected another number")
    if number == 2:
        os._exit(7)
    return os.getpid()


def test_a_value_comes_from_another_process():
    assert in_own_process(_own, 0) != os.getpid()


def test_an_error_comes_out_as_it_was_raised():
    with pytest.raises(UsageError, match="expected another number"):
        in_own_process(_own, 1)


def test_a_process_that_died_is_said():
    with pytest.raises(Exception, match="ended with code 7"):
        in_own_process(_own, 2)


def _linger(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(60)


def test_a_killed_parent_leaves_no_process_behind(tmp_path):
    file = tmp_path / "pid"
    code = (
        "from aop_pose.benchmark.run import in_own_process\n"
        "from tests.benchmark.test_process import _linger\n"
        f"if __name__ == '__main__': in_own_process(_linger, {str(file)!r})"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        assert _becomes_true(lambda: file.is_file() and file.read_text())
        child = int(file.read_text())
    finally:
        parent.kill()
        parent.wait()
    assert _becomes_true(lambda: not _lives(child))


def _becomes_true(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that ended stays a zombie where nothing collects it.
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_peak_memory_counts_what_was_held_and_let_go():
    """In a process of its own: this one may have held more before."""
    code = (
        "from aop_pose.provenance import peak_memory_mb\n"
        "before = peak_memory_mb(); held = bytearray(b'1' * 60_000_000); del held\n"
        "print(peak_memory_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < float(done.stdout) < 200
