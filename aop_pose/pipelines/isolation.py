"""Ultralytics, imported so that it sends nothing, installs nothing, looks nothing up and changes nobody else."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from functools import cache

from aop_pose.errors import AopPoseError


def _private_folder(name: str) -> str:
    """A folder that is gone when this process ends."""
    folder = tempfile.mkdtemp(prefix=f"aop-pose-{name}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def private_matplotlib() -> None:
    """Call before any import of matplotlib, torchmetrics or lightning: its list of fonts is not left in the home."""
    if "MPLCONFIGDIR" not in os.environ:
        os.environ["MPLCONFIGDIR"] = _private_folder("matplotlib")
        # Which it would say that it makes anew, in the middle of what a training says.
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


@cache
def isolate() -> None:
    """Call before any import of ultralytics: private settings folder, safe loader, no look-ups, no integrations.

    Ultralytics also replaces ``PIL.Image.open`` for the whole process, by a version that tries to install a package
    when a file is no picture; the original is put back.
    """
    os.environ["YOLO_CONFIG_DIR"] = _private_folder("ultralytics")
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_VERBOSE"] = "false"
    # With a key it streams a training, console and checkpoints included, to its maker's cloud, whatever its settings.
    os.environ.pop("ULTRALYTICS_API_KEY", None)
    # Its allow-listed loader is off unless asked for: without it a checkpoint may run any code it holds.
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"
    private_matplotlib()

    from PIL import Image
    from ultralytics.nn import tasks
    from ultralytics.utils import SETTINGS, patches

    # Said once more for a process that had imported it before.
    tasks.SAFE_LOAD = True
    if not tasks._SafeLoad.SUPPORTED:
        raise AopPoseError(
            "this torch cannot load checkpoints safely; install a newer one: pip install 'aop-pose[train]'"
        )
    Image.open = patches._image_open
    integrations = {key: False for key, value in SETTINGS.items() if isinstance(value, bool)}
    SETTINGS.update(integrations)
