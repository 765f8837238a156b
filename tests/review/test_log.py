"""What was shown as saved is on the disk: kills, half lines, full disks, undo across a restart, two at a time."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.review import log as module
from aop_pose.review.log import Decision, Log, other_readers

ABOUT = {"schema": "aop", "model": "test@1"}
KEY = ("a.png", 0)
MOVED = Decision("open", {"PS1": (1.0, 2.0), "PS2": (3.5, 4.0), "FH1": None})
ACCEPTED = Decision("accepted", {"PS1": (1.0, 2.0), "PS2": (3.5, 4.0), "FH1": (5.0, 6.0)}, note="käse")


def opened(folder, reader="anna", **about):
    return Log(folder, reader, ABOUT | about)


def test_a_decision_is_found_again_and_the_last_one_counts(tmp_path):
    with opened(tmp_path) as log:
        log.append(KEY, MOVED, "move", "t")
        log.append(KEY, ACCEPTED, "accept", "t", 12.3)
    with opened(tmp_path) as log:
        assert log.of(KEY) == ACCEPTED
        assert log.of(("b.png", 0)) == Decision()
        assert log.seconds == [12.3]
        assert not log.repaired


def test_a_line_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    order = []
    with opened(tmp_path) as log:
        real = os.fsync
        monkeypatch.setattr(module.os, "fsync", lambda file: (order.append(log.of(KEY).state), real(file)))
        log.append(KEY, ACCEPTED, "accept", "t")
    assert order == ["open"]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_half_a_last_line_is_removed_and_all_before_it_stands(tmp_path, cut):
    with opened(tmp_path) as log:
        log.append(KEY, MOVED, "move", "t")
        log.append(KEY, ACCEPTED, "accept", "t")
    text = log.path.read_bytes()
    log.path.write_bytes(text[:-cut])
    with opened(tmp_path) as log:
        assert "half-way" in log.repaired
        assert log.of(KEY) == MOVED
        log.append(KEY, ACCEPTED, "accept", "t")
    assert log.path.read_bytes() == text


def test_a_kill_in_the_middle_of_writing_loses_nothing_that_was_acknowledged(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from aop_pose.review.log import Decision, Log\n"
        f"with Log(Path(sys.argv[1]), 'anna', {ABOUT!r}) as log:\n"
        "    for number in range(100000):\n"
        "        log.append((f'{number}.png', 0), Decision('rejected', {'PS1': None}, 'x'), 'reject', 't')\n"
        "        print(number, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        for _ in range(20):
            line = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        # A number reaches the pipe in one piece.
        acknowledged = int([line, *process.stdout.read().split()][-1])
    with opened(tmp_path) as log:
        assert {(f"{number}.png", 0) for number in range(acknowledged + 1)} <= set(log.decisions)


def test_undo_takes_back_one_change_after_the_other_also_after_a_restart(tmp_path):
    other = ("b.png", 0)
    with opened(tmp_path) as log:
        log.append(KEY, MOVED, "move", "t")
        log.append(KEY, ACCEPTED, "accept", "t")
        log.append(other, ACCEPTED, "accept", "t")
        assert log.undo("t") == other
        assert log.of(other) == Decision()
    with opened(tmp_path) as log:
        assert (log.undo("t"), log.of(KEY)) == (KEY, MOVED)
        assert (log.undo("t"), log.of(KEY)) == (KEY, Decision())
        assert log.undo("t") is None
    assert len(log.path.read_text().splitlines()) == 1 + 3 + 3


def test_a_full_disk_is_said_and_leaves_the_log_whole(tmp_path, monkeypatch):
    with opened(tmp_path) as log:
        log.append(KEY, MOVED, "move", "t")
        before = log.path.read_bytes()

        def half(file, text):
            return real(file, text[: len(text) // 2])

        real = os.write
        monkeypatch.setattr(module.os, "write", half)
        with pytest.raises(AopPoseError, match="the disk is full"):
            log.append(KEY, ACCEPTED, "accept", "t")

        def failing(file, text):
            raise OSError(errno.EIO, "input/output error")

        monkeypatch.setattr(module.os, "write", failing)
        with pytest.raises(AopPoseError, match="input/output error"):
            log.append(KEY, ACCEPTED, "accept", "t")
        assert log.of(KEY) == MOVED
        assert log.path.read_bytes() == before


def test_a_log_of_another_model_is_refused_and_stays(tmp_path):
    with opened(tmp_path) as log:
        log.append(KEY, MOVED, "move", "t")
    before = log.path.read_bytes()
    with pytest.raises(UsageError, match=r"expected a log of model 'other@2', found model 'test@1'.*move it away"):
        opened(tmp_path, model="other@2").__enter__()
    assert log.path.read_bytes() == before


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    with opened(tmp_path) as log:
        log.append(KEY, MOVED, "move", "t")
        log.append(KEY, ACCEPTED, "accept", "t")
    lines = log.path.read_bytes().splitlines(keepends=True)
    for damaged in (b"{\n", b"\0\0\0\n", b'{"source": "a.png"}\n', lines[1].replace(b"1.0", b"NaN")):
        log.path.write_bytes(b"".join([lines[0], damaged, lines[2]]))
        with pytest.raises(UsageError, match=r"anna\.jsonl:2 is no line of a review"):
            opened(tmp_path).__enter__()


def test_one_reader_is_at_work_once(tmp_path):
    one_more = pytest.raises(UsageError, match="another review of reader anna is open")
    with opened(tmp_path), opened(tmp_path, "ben"), one_more:
        opened(tmp_path).__enter__()
    with opened(tmp_path):
        pass


@pytest.mark.parametrize("name", ["", "../anna", "a b", "-x", "x" * 41, "ü"])
def test_a_reader_who_cannot_be_a_file_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="--reader"):
        opened(tmp_path, name)


def test_other_readers_are_read_while_they_write(tmp_path):
    with opened(tmp_path, "ben") as log:
        log.append(KEY, ACCEPTED, "accept", "t")
        with open(log.path, "ab") as stream:
            stream.write(b'{"source": "a.png", "ind')
        assert dict(other_readers(tmp_path, "anna")) == {"ben": {KEY: ACCEPTED}}
        assert dict(other_readers(tmp_path, "ben")) == {}


def test_each_line_says_all_that_is_needed(tmp_path):
    with opened(tmp_path) as log:
        log.append(KEY, ACCEPTED, "accept", "2026-01-01T00:00:00.000+00:00", 3.21)
    head, line = map(json.loads, log.path.read_text(encoding="utf-8").splitlines())
    assert head == {"log": "aop-pose review", "version": 1, "reader": "anna", **ABOUT}
    assert line == {
        "time": "2026-01-01T00:00:00.000+00:00", "source": "a.png", "index": 0, "action": "accept",
        "state": "accepted", "points": {"PS1": [1.0, 2.0], "PS2": [3.5, 4.0], "FH1": [5.0, 6.0]}, "reason": "",
        "note": "käse", "saw": [], "seconds": 3.2,
    }  # fmt: skip
