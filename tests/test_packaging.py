"""One version everywhere; the container's steps; the settings page as the code has it."""

import inspect
import re
import shutil
import subprocess
from pathlib import Path

import api_page
import pytest
import settings_table
import yaml

import aop_pose
from aop_pose.pipelines import PIPELINES, pipeline_class

ROOT = Path(__file__).resolve().parents[1]


def test_there_is_one_version():
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == aop_pose.__version__
    tag = subprocess.run(
        ["git", "describe", "--tags", "--exact-match"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tag.returncode == 0:
        assert tag.stdout.strip().removeprefix("v") == aop_pose.__version__


def steps():
    """(Instruction, words) of the Dockerfile, its continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split()[1:]) for line in lines]


def test_the_container_copies_all_that_the_wheel_is_built_from(tmp_path):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for word, parts in steps():
        if word != "COPY":
            continue
        *sources, target = parts
        for source in sources:
            assert f"!{source}" in ignored, f"{source} does not reach the build"
            place = tmp_path / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place)
            else:
                shutil.copy(ROOT / source, place)
    included = re.findall(r'^"(\S+)" = "aop_pose/_shipped', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert included
    assert [path for path in included if not (tmp_path / path).exists()] == []
    assert (tmp_path / "aop_pose" / "__init__.py").is_file()


def test_the_container_does_not_run_as_root():
    users = [parts[0] for word, parts in steps() if word == "USER"]
    stages = [parts[-1] for word, parts in steps() if word == "FROM"]
    assert stages == ["base", "train"]
    assert users[-1] == "measurer"
    last_of_base = [word for word, _ in steps()].index("FROM", 1)
    assert [parts[0] for word, parts in steps()[:last_of_base] if word == "USER"] == ["measurer"]


@pytest.mark.parametrize("method", PIPELINES)
def test_every_setting_has_a_meaning(method):
    fields = pipeline_class(method).config.model_fields
    assert [key for key, field in fields.items() if not field.description] == []


def test_the_page_of_settings_is_that_of_the_code():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_table.page(), "run: python tools/settings_table.py > docs/settings.md"


def test_the_reference_is_that_of_the_code():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert page == api_page.page(), "run: python tools/api_page.py > docs/api.md"
    for name in aop_pose.__all__:
        assert name == "__version__" or f"### `{name}`\n" in page


def test_the_reference_tells_arguments_fields_and_methods_apart():
    class Box:
        """A box.

        Args:
            side: of it, in ``mm``,
                or none.

        >>> Box()
        """

        side: float
        """Millimetres."""
        _secret: int

        def grow(self, by: float, *, twice: bool = False) -> float:
            """A longer side.

            Raises:
                ValueError: too long.
            """

    assert api_page.prose(inspect.getdoc(Box)) == (
        "A box.\n\nArgs:\n\n- `side`: of it, in `mm`, or none.\n\n```python\n>>> Box()\n```"
    )
    assert list(api_page.fields(Box)) == ["- `side` (`float`): Millimetres."]
    (line,) = api_page.methods(Box)
    assert line.startswith("- `grow(by: ")
    assert line.endswith("`: A longer side.")
    assert "*, twice: " in line


@pytest.mark.parametrize("method", PIPELINES)
def test_the_shown_settings_are_a_preset(method, tmp_path, capsys):
    from aop_pose.cli.main import run

    assert run(["train", "--method", method, "--show-config", "--set", "epochs=7"]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(shown)
    assert yaml.safe_load(shown)["epochs"] == 7
    assert run(["train", "--method", method, "--show-config", "--preset", str(tmp_path / "mine.yaml")]) == 0
    assert capsys.readouterr().out == shown
    assert run(["train", "--method", method]) == 2
    assert "Missing option" in capsys.readouterr().err


def test_a_message_about_an_extra_works_outside_the_checkout():
    named = {
        extra
        for path in (ROOT / "aop_pose").rglob("*.py")
        for extra in re.findall(r"pip install '([^']*\[[a-z]+\])'", path.read_text(encoding="utf-8"))
    }
    told = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]\n")[2]
    offered = re.findall(r"^([a-z]+) = \[", told.partition("\n[")[0], re.MULTILINE)
    assert len(named) > 4
    assert named <= {f"aop-pose[{extra}]" for extra in offered}
