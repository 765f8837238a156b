"""Ultralytics, imported so that it sends nothing, writes nothing to the home directory and asks the network nothing."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache


@cache
def isolate() -> None:
    """Call before any import of ultralytics: private settings folder, no name look-ups, no integrations."""
    folder = tempfile.mkdtemp(prefix="aop-pose-ultralytics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["YOLO_CONFIG_DIR"] = folder
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_VERBOSE"] = "false"
    os.environ.setdefault("MPLCONFIGDIR", folder)

    from ultralytics.utils import SETTINGS

    integrations = {key: False for key, value in SETTINGS.items() if isinstance(value, bool)}
    SETTINGS.update(integrations)
