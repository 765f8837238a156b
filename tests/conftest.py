"""Fixtures shared by all tests."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Before any test's file imports onnxruntime: libraries are kept from reporting here too.
import aop_pose  # noqa: F401

# The same examples everywhere: a failure is seen by everybody or by nobody. No deadline, since machines are shared.
settings.register_profile("house", derandomize=True, deadline=None)
settings.load_profile("house")

if "PYTEST_XDIST_WORKER" in os.environ and hasattr(os, "sched_setaffinity"):
    # Cores of its own for each worker and for what its tests start: threads of one would else wait for the other's.
    number, count = int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[number::count] or os.sched_getaffinity(0))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts a command in the background has it ignore Ctrl-C, and so would what the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Tools are scripts, not a package: their folder is put on the path, as ``python tools/NAME.py`` does.
sys.path.insert(0, str(ROOT / "tools"))

SLOW = (
    "benchmark", "golden", "pipelines", "tools", "cli/test_annotate_walk.py", "clinic/test_listening.py",
    "review/test_page.py", "test_commands.py",
)  # fmt: skip
"""Rooms and files whose tests train networks, drive a browser or start programs."""


PNG = b"\x89PNG\r\n\x1a\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, so that ``pytest -m "not slow"`` leaves them out."""
    for item in items:
        place = item.path.relative_to(ROOT / "tests").as_posix()
        if place.startswith(SLOW):
            item.add_marker("slow")


@pytest.fixture(scope="module", autouse=True)
def curves_are_not_drawn(request: pytest.FixtureRequest):
    """Drawing ``curves.png`` takes longer than the tiniest training: a file stands for it.

    ``pipelines/test_unet_numbers.py`` holds what is drawn; the recorded runs of ``golden`` draw their own.
    """
    place = request.path.relative_to(ROOT / "tests").as_posix()
    if not place.startswith(SLOW) or place.startswith("golden"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aop_pose.pipelines.run.draw_curves", lambda table, picture, kept=None: picture.write_bytes(PNG))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; the test is skipped where it is absent."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder of start weights beside the project; the test is skipped where it is absent."""
    folder = SHARED / "weights"
    if not folder.is_dir():
        pytest.skip("no start weights: ../shared/weights is not beside this checkout")
    return folder
