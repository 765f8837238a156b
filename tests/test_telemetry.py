"""Nothing goes out and nothing is left behind: real commands in an empty home, without a network."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from aop_pose.cli.main import run
from aop_pose.telemetry import QUIET

# Python imports a module of this name by itself, in children of a process too.
NO_NETWORK = """
import os, socket
def refuse(*arguments, **options):
    with open(os.environ["LOOK_UPS"], "a") as stream:
        print(arguments, file=stream)
    raise OSError("no network in this test")
def connect(own, address):
    return refuse(address) if own.family in (socket.AF_INET, socket.AF_INET6) else plain(own, address)
plain = socket.socket.connect
socket.getaddrinfo = socket.gethostbyname = socket.socket.sendto = refuse
socket.socket.connect = socket.socket.connect_ex = connect
"""
TINY = ("image_size=64", "batch=4", "holdout=0.3", "precision=fp32", "warmup_epochs=1", "epochs=1")
FRAMES = "data/images"
TRAIN = ("--data", "data", "--init", "scratch", "--device", "cpu", "--out", "run")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    assert run(["dataset", "phantom", str(folder / "data"), "--count", "8", "--seed", "5", "--size", "96"]) == 0
    return folder


@pytest.fixture
def alone(tmp_path, frames):
    """Runs Python with words of a command line in an empty home; gives the files and look-ups it left."""
    home, site = tmp_path / "home", tmp_path / "site"
    home.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "OMP_NUM_THREADS")
    project = Path(__file__).resolve().parents[1]
    environment = {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(home), "USERPROFILE": str(home), "LOOK_UPS": str(tmp_path / "look-ups"),
        "PYTHONPATH": os.pathsep.join([str(site), str(project)]),
        # A user of Ultralytics' cloud; their key must not make a training report there.
        "ULTRALYTICS_API_KEY": "ul_0000",
    }  # fmt: skip

    def call(*words):
        done = subprocess.run(
            [sys.executable, *words], env=environment, cwd=frames, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        asked = Path(environment["LOOK_UPS"])
        left = sorted(path.relative_to(home).as_posix() for path in home.rglob("*"))
        return left, asked.read_text().splitlines() if asked.exists() else []

    return call


def settings(*more):
    return [word for change in (*TINY, *more) for word in ("--set", change)]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("info",), id="info"),
        pytest.param(("predict", FRAMES, "--out", "out", "--overwrite"), id="predict"),
        pytest.param(
            ("predict", FRAMES, "--out", "out", "--overwrite", "--engine", "openvino"),
            id="predict openvino",
            marks=pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed"),
        ),
        pytest.param(
            ("train", "--method", "unet", *TRAIN[:-1], "run-u", *settings("widths=[8,16]", "bottleneck=16")),
            id="train unet",
            marks=pytest.mark.skipif(find_spec("lightning") is None, reason="lightning is not installed"),
        ),
        pytest.param(
            ("train", "--method", "yolo", *TRAIN[:-1], "run-y", *settings()),
            id="train yolo",
            marks=pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed"),
        ),
    ],
)
def test_a_command_leaves_no_file_in_the_home_and_looks_nothing_up(alone, words):
    assert alone("-m", "aop_pose", *words) == ([], [])


def test_the_check_sees_files_and_look_ups(alone):
    code = (
        "import pathlib, urllib.request\n"
        "(pathlib.Path.home() / 'left').touch()\n"
        "try: urllib.request.urlopen('http://localhost:9/')\n"
        "except OSError: pass\n"
    )
    left, asked = alone("-c", code)
    assert left == ["left"]
    assert asked


def test_importing_the_package_silences_what_comes_after_it(alone):
    assert alone(
        "-c",
        "import os, sys\n"
        "os.environ['ORT_DISABLE_TELEMETRY'] = '0'\n"
        "import aop_pose\n"
        f"assert {QUIET!r}.items() <= os.environ.items()\n"
        "assert not {'numpy', 'onnxruntime', 'PIL', 'cv2'} & set(sys.modules)\n"
        "try: import openvino_telemetry\n"
        "except ImportError: pass\n"
        "else: raise AssertionError('openvino_telemetry can still be imported')\n",
    ) == ([], [])


def test_a_library_that_came_first_is_named(alone):
    code = (
        "import sys, types, warnings\n"
        "sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')\n"
        "with warnings.catch_warnings(record=True) as heard:\n"
        "    warnings.simplefilter('always')\n"
        "    import aop_pose\n"
        "assert 'import aop_pose first' in str(heard[0].message), heard\n"
        "assert heard[0].filename == '<string>', heard[0].filename\n"
    )
    alone("-c", code)
