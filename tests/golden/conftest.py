"""A place to run commands in, and made-up data that the commands themselves write."""

import shutil
from pathlib import Path

import pytest

from tests.golden.recorder import Recorder


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch, tmp_path):
    """The same terminal everywhere: no colour, 100 columns; commands run in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("AOP_POSE_CACHE", str(tmp_path / ".cache"))
    for name in ("AOP_POSE_INIT", "AOP_POSE_SCRIBBLEPROMPT_URL", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def golden(request, tmp_path, capsys):
    """Collects what a test looks at; compared at its end with ``expected/MODULE/TEST.txt``."""
    module = request.module.__name__.rpartition(".test_")[2]
    name = request.node.name.removeprefix("test_").replace(" ", "-").replace("[", "-").rstrip("]")
    recorder = Recorder(tmp_path, capsys, f"{module}/{name}")
    yield recorder
    if not getattr(request.node, "failed", False):
        recorder.compare()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.failed:
        item.failed = True
    return report


def made(folder: Path, *words: str) -> Path:
    """A folder that ``aop-pose dataset phantom`` wrote."""
    from aop_pose.cli.main import main

    with pytest.raises(SystemExit) as end:
        main(["dataset", "phantom", str(folder), *words])
    assert not end.value.code
    return folder


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """Phantoms by the words that make them, each made once; a copy is put at a place of the caller's."""
    root, known = tmp_path_factory.mktemp("stored"), {}

    def copy(to: str, *words: str) -> Path:
        if words not in known:
            known[words] = made(root / str(len(known)), *words)
        return Path(shutil.copytree(known[words], to))

    return copy
