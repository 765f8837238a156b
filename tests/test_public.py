"""The public names: free until they are used, the same for people, programs and type checkers."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import aop_pose

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"numpy", "onnxruntime", "PIL", "cv2", "pydantic", "attrs", "torch"}


def imports_for_type_checkers():
    tree = ast.parse((ROOT / "aop_pose" / "__init__.py").read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {alias.asname: node.module for node in block.body for alias in node.names if alias.asname == alias.name}


def test_imports_for_type_checkers_and_the_table_agree():
    assert imports_for_type_checkers() == {name: f"aop_pose.{room}" for name, room in aop_pose._PUBLIC.items()}
    assert set(aop_pose.__all__) == {"__version__", *aop_pose._PUBLIC}


def test_every_public_name_is_there_and_says_what_it_is():
    assert set(aop_pose.__all__) <= set(dir(aop_pose))
    for name in aop_pose._PUBLIC:
        assert getattr(aop_pose, name).__doc__, name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'aop_pose' has no attribute 'nonsense'"):
        aop_pose.nonsense  # noqa: B018


def test_importing_the_package_is_free():
    code = f"import sys, aop_pose; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_a_type_checker_knows_every_public_name(tmp_path):
    user = tmp_path / "user.py"
    lines = ["import aop_pose", "from aop_pose import *"]
    lines += [f"reveal_type(aop_pose.{name})\nreveal_type({name})" for name in sorted(aop_pose._PUBLIC)]
    lines += ["reveal_type(aop_pose.load('aop-fast'))", "aop_pose.nonsense"]
    user.write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--no-error-summary", str(user)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    said = [line.partition("user.py:")[2].partition(": ")[2] for line in done.stdout.splitlines()]
    *revealed, unknown = said
    assert unknown == 'error: Module has no attribute "nonsense"  [attr-defined]', done.stdout + done.stderr
    assert len(revealed) == 2 * len(aop_pose._PUBLIC) + 1
    for line in revealed:
        assert line.startswith('note: Revealed type is "'), line
        assert '"Any"' not in line
    assert any("-> aop_pose.core.results.Result" in line for line in revealed)


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "aop_pose" / "py.typed").is_file()


def test_the_package_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "aop_pose", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"aop-pose {aop_pose.__version__}\n")
