"""Ultralytics is imported without a trace."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

SCRIPT = """
import socket, sys
from pathlib import Path
calls = []
def refuse(*arguments, **options):
    calls.append(arguments)
    raise OSError("no network in this test")
socket.getaddrinfo = refuse
socket.socket.connect = refuse
from PIL import Image
original = Image.open
from aop_pose.pipelines.isolation import isolate
isolate()
from ultralytics.utils import SETTINGS
from ultralytics.utils.events import events
assert Image.open is original, "PIL.Image.open was replaced"
assert not events.enabled
assert not any(value is True for value in SETTINGS.values()), SETTINGS
assert not calls, calls
assert not list(Path.home().rglob("*")), list(Path.home().rglob("*"))
"""


@pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed")
def test_nothing_is_sent_asked_or_left_behind(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    environment = {key: value for key, value in environment.items() if not key.startswith("YOLO_")}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Settings" not in done.stdout + done.stderr
