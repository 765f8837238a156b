"""The plan of the house (docs/design.md), checked on the code itself."""

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
TOOLS = ROOT / "tools"

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
    assert not unknown, f"rooms without a floor: {unknown}; enter them in FLOORS and in docs/design.md"


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


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def run_at_import(statements):
    """Statements that an import of the file runs: not those of functions, nor those for type checkers alone."""
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for block in ("body", "orelse", "finalbody"):
            yield from run_at_import(getattr(node, block, []))
        for handler in getattr(node, "handlers", []):
            yield from run_at_import(handler.body)


def imported_at_import(path, known):
    """Modules of the package that must be there before this one is: no import inside a function counts."""
    statements = list(run_at_import(ast.parse(path.read_text(encoding="utf-8")).body))
    imports = ast.Module([node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)], [])
    for name in imported_modules(path, imports):
        while name not in known and "." in name:
            name = name.rpartition(".")[0]
        if name in known and name != module_of(path):
            yield name


def a_circle(arrows):
    """Names along the first circle that is found, or an empty list."""
    done, way = set(), []

    def follow(name):
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        way.append(name)
        found = next((circle for other in sorted(arrows[name]) if (circle := follow(other))), [])
        way.pop()
        done.add(name)
        return found

    return next((circle for name in sorted(arrows) if (circle := follow(name))), [])


def test_modules_do_not_import_each_other_in_a_circle():
    known = {module_of(path) for path in FILES}
    arrows = {module_of(path): set(imported_at_import(path, known)) for path in FILES}
    assert sum(map(len, arrows.values())) > len(FILES), "the check sees too few imports"
    assert not a_circle(arrows), " -> ".join(a_circle(arrows))


def test_the_check_of_circles_sees_one():
    assert a_circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert a_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_check_of_circles_looks_at_what_an_import_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "aop_pose")
    file = tmp_path / "aop_pose" / "io" / "images.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from typing import TYPE_CHECKING\nfrom .table import x\nimport aop_pose.errors\n"
        "try:\n    from aop_pose import io\nexcept ImportError:\n    pass\n"
        "class C:\n    from aop_pose.io.files import y\n"
        "if TYPE_CHECKING:\n    from aop_pose.core.frame import Frame\n"
        "def f():\n    from aop_pose.geometry import z\n"
    )
    known = {f"aop_pose.{name}" for name in ("errors", "io", "io.table", "io.files", "core.frame", "geometry")}
    assert set(imported_at_import(file, known)) == known - {"aop_pose.core.frame", "aop_pose.geometry"}


def test_the_package_knows_nothing_of_tools_and_tests():
    outside = {path.stem for path in TOOLS.glob("*.py")} | {"lib", "tools", "tests"}
    for path in FILES:
        imported = {name.split(".")[0] for name in imported_modules(path, ast.parse(path.read_text(encoding="utf-8")))}
        assert not imported & outside, f"{name_of(path)} imports {imported & outside}"


def test_lib_holds_what_tools_use():
    used = set()
    for path in TOOLS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lib":
                used |= {node.module.partition(".")[2], *(alias.name for alias in node.names)}
    unused = {path.stem for path in (TOOLS / "lib").glob("*.py")} - used - {"__init__"}
    assert not unused, f"tools/lib: no tool imports {unused}"


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
    assert {path.stem for path in modules if path.parent == PACKAGE} == AT_THE_TOP
    assert len(modules) <= MOST_MODULES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_docstring_says_what_a_thing_is(path):
    questions = re.compile(r'"""(What|Who|Whether|How|Which|Where|When)\b.*')
    found = [match[0] for match in questions.finditer(path.read_text(encoding="utf-8"))]
    assert not found, f"{name_of(path)}: {found[0]}"


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
