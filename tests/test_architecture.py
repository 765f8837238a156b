"""The plan of the house (CONTRIBUTING.md), checked on the code itself."""

import ast
import json
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import aop_pose

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "aop_pose"

# From the ground up. What stands on one floor does not import each other, nothing imports upwards.
FLOORS = [
    {"errors", "telemetry", "provenance", "geometry"},
    {"core", "stats"},
    {"io", "trust"},
    {"formats", "phantom", "inference"},
    {"draw", "evaluation", "scribbles"},
    {"measuring"},
    {"pseudo"},
    {"pipelines"},
    {"benchmark", "clinic", "review"},
    {"cli"},
]
# The package itself, which names what is public in every room.
DOOR = ""
FLOOR_OF = {DOOR: len(FLOORS)} | {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LONGEST_FILE = 500
MOST_FILES_IN_A_FOLDER = 12
MOST_MODULES = 210
AT_THE_TOP = {"errors", "telemetry", "provenance"}
FILES = sorted(PACKAGE.rglob("*.py"))
TRAINING_PACKAGES = {"torch", "torchvision", "ultralytics", "lightning", "timm", "onnx"}


def name_of(path):
    return str(path.relative_to(ROOT))


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return DOOR if parts in (("__init__",), ("__main__",)) else parts[0]


def imported_modules(path, tree):
    """Absolute dotted names of everything a file imports, wherever in the file it does."""
    package = ["aop_pose", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(path):
    """Rooms of the house that a file imports, its own left out."""
    for module in imported_modules(path, ast.parse(path.read_text(encoding="utf-8"))):
        parts = module.split(".")
        if parts[0] != "aop_pose" or len(parts) == 1:
            continue
        room = aop_pose._PUBLIC.get(parts[1], parts[1]).split(".")[0]
        if room != room_of(path) and room not in ("__version__", "__all__"):
            yield room


def test_every_room_has_a_floor():
    unknown = {room_of(path) for path in FILES} - set(FLOOR_OF)
    assert not unknown, f"rooms without a floor: {unknown}; enter them in FLOORS and in CONTRIBUTING.md"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_imports_upwards_or_sideways(path):
    here = FLOOR_OF[room_of(path)]
    wrong = [room for room in rooms_imported(path) if room not in FLOOR_OF or FLOOR_OF[room] >= here]
    assert not wrong, f"{name_of(path)} (floor {here}) imports {wrong}, which do not stand below it"


def test_pipelines_do_not_import_each_other():
    folders = {path.name for path in (PACKAGE / "pipelines").iterdir() if path.is_dir()}
    for folder in folders:
        for path in (PACKAGE / "pipelines" / folder).rglob("*.py"):
            for module in imported_modules(path, ast.parse(path.read_text(encoding="utf-8"))):
                parts = module.split(".")
                if parts[:2] == ["aop_pose", "pipelines"] and len(parts) > 2:
                    assert parts[2] not in folders - {folder}, f"{name_of(path)} imports {module}"


def test_the_check_of_floors_sees_every_kind_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    file = tmp_path / "io" / "images.py"
    file.parent.mkdir()
    file.write_text(
        "import aop_pose.cli.main\nfrom aop_pose import measure_array\nfrom ..formats import iugc\n"
        "from .table import x\n"
        "def f():\n    from aop_pose.pseudo.run import y\n"
    )
    assert set(rooms_imported(file)) == {"cli", "measuring", "formats", "pseudo"}


def test_measuring_and_the_command_line_need_no_training_package():
    modules = [
        module.name
        for module in pkgutil.walk_packages([str(PACKAGE)], "aop_pose.")
        if not module.name.startswith("aop_pose.pipelines.")
    ]
    assert "aop_pose.cli.main" in modules
    code = (
        "import importlib, json, sys\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not TRAINING_PACKAGES & set(json.loads(done.stdout))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_one_idea(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{name_of(path)} has {lines} lines"


def test_a_folder_is_seen_at_a_glance():
    modules = [path for path in FILES if path.name not in ("__init__.py", "__main__.py")]
    counts = Counter(path.parent for path in modules)
    crowded = {name_of(folder): number for folder, number in counts.items() if number > MOST_FILES_IN_A_FOLDER}
    assert not crowded
    assert {path.stem for path in modules if path.parent == PACKAGE} <= AT_THE_TOP
    assert len(modules) <= MOST_MODULES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_angles_are_computed_in_geometry_only(path):
    if room_of(path) == "geometry":
        return
    # The phantom's sector and the arc on an overlay are drawn in polar coordinates; nothing is measured.
    draws = room_of(path) == "phantom" or name_of(path) == "aop_pose/draw/frame.py"
    allowed = {"arctan2"} if draws else set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found = names & {"arccos", "acos", "arctan2", "atan2", "arctan", "atan", "arcsin", "asin"} - allowed
    assert not found, f"{name_of(path)} uses {found}; use aop_pose.geometry"


def tracked_files():
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout, so the list of the project's files is unknown")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_machine_path_stands_in_a_text_file():
    machine_path = re.compile(r"(?<![\w.~])(/(work|home|root|Users|mnt)/\w+|[A-Z]:\\Users)")
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content[:8192] or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if machine_path.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)
