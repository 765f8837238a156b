"""Ultralytics, imported so that it sends nothing, installs nothing, looks nothing up and changes nobody else."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache

from aop_pose.errors import AopPoseError


@cache
def isolate() -> None:
    """Call before any import of ultralytics: private settings folder, safe loader, no look-ups, no integrations.

    Ultralytics also replaces ``PIL.Image.open`` for the whole process, by a version that tries to install a package
    when a file is no picture; the original is put back.
    """
    folder = tempfile.mkdtemp(prefix="aop-pose-ultralytics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["YOLO_CONFIG_DIR"] = folder
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_VERBOSE"] = "false"
    # Its allow-listed loader is off unless asked for: without it a checkpoint may run any code it holds.
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"
    os.environ.setdefault("MPLCONFIGDIR", folder)

    from PIL import Image
    from ultralytics.nn import tasks
    from ultralytics.utils import SETTINGS, patches

    # Said once more for a process that had imported it before.
    tasks.SAFE_LOAD = True
    if not tasks._SafeLoad.SUPPORTED:
        raise AopPoseError("this torch cannot load checkpoints safely; install a newer one: pip install '.[train]'")
    Image.open = patches._image_open
    integrations = {key: False for key, value in SETTINGS.items() if isinstance(value, bool)}
    SETTINGS.update(integrations)
