"""``weights fetch`` and ``weights add`` as a person types them; the transfers themselves: tests/test_fetching.py."""

import hashlib

import pytest

from aop_pose.cli import main
from aop_pose.inference import fetch as fetching

CONTENT = b"weights"
ITEM = fetching.Published(
    "scribbleprompt", "sp.pt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), (), "Apache-2.0"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(fetching.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setitem(fetching.PUBLISHED, "scribbleprompt", ITEM)
    return tmp_path / "cache"


def test_add_says_where_the_file_went(tmp_path, cache, capsys):
    (tmp_path / "brought.pt").write_bytes(CONTENT)
    assert main.run(["weights", "add", "scribbleprompt", str(tmp_path / "brought.pt")]) == 0
    assert capsys.readouterr().out == f"scribbleprompt: {cache / 'sp.pt'} (Apache-2.0), sha256 as published\n"
    assert main.run(["weights", "fetch", "scribbleprompt"]) == 0


def test_add_refuses_another_file_in_one_line(tmp_path, cache, capsys):
    (tmp_path / "brought.pt").write_bytes(b"WEIGHTS")
    assert main.run(["weights", "add", "scribbleprompt", str(tmp_path / "brought.pt")]) == 2
    error = capsys.readouterr().err
    assert "is not the official scribbleprompt: expected sha256" in error
    assert error.count("\n") == 1
    assert not cache.exists()


def test_fetch_tells_what_failed_and_what_to_do(monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("AOP_POSE_SCRIBBLEPROMPT_URL", "http://127.0.0.1:9/sp.pt")
    assert main.run(["weights", "fetch", "scribbleprompt"]) == 1
    error = capsys.readouterr().err
    assert "scribbleprompt could not be fetched: 127.0.0.1:9:" in error
    assert "weights add scribbleprompt FILE" in error


@pytest.mark.parametrize("command", [["fetch", "sam"], ["add", "sam", "file.pt"]])
def test_an_unknown_name_is_wrong_usage(command, capsys):
    assert main.run(["weights", *command]) == 2
    assert "expected one of scribbleprompt, found 'sam'" in capsys.readouterr().err
