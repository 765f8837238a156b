"""Reporting by the libraries underneath, turned off: pictures of patients are measured here, and nothing goes out.

``import aop_pose`` calls :func:`turn_off` before anything else. It imports nothing and costs nothing. A user's own
setting of these variables is overwritten where it would let a library report, so that no library ever does.
Ultralytics has no such variable: ``aop_pose.pipelines.isolation`` keeps it quiet where it is imported.
"""

import os
import sys
import warnings

QUIET = {
    # onnxruntime 1.2x and later: files below ~/.cache/Microsoft, look-ups of an event host. Read at its import alone:
    # its disable_telemetry_events() comes too late.
    "ORT_DISABLE_TELEMETRY": "1",
    # Hugging Face's hub, which timm imports: usage, and a look for a newer version.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ultralytics imports albumentations where it is installed: a look for a newer version, and usage.
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "ALBUMENTATIONS_NO_TELEMETRY": "1",
    # What many others agreed on (consoledonottrack.com).
    "DO_NOT_TRACK": "1",
}
"""Environment variable -> the value that keeps a library from reporting; children of this process inherit them."""

BLOCKED = ("openvino_telemetry",)
"""Packages that do nothing but report and have no switch; OpenVINO does without where they cannot be imported."""


def turn_off() -> None:
    """Keep every library that is imported after this call from reporting.

    Warns where onnxruntime was imported before, without the variable: its reports cannot be stopped any more.
    """
    if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        warnings.warn(
            "onnxruntime was imported before aop_pose and may report to its maker; import aop_pose first, "
            "or set ORT_DISABLE_TELEMETRY=1",
            stacklevel=3,
        )
    os.environ.update(QUIET)
    for package in BLOCKED:
        # An import of it now fails as if it were not installed.
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
