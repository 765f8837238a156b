"""The commands of README and docs for the tests that run them: the words of a page, and tools that are given them."""

import importlib
import shlex
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import pytest

from tests.test_docs import READ, ROOT, command_lines

TOOLS = "python tools/"
SHELL = ("(cat ", "mkdir ")
"""How a line of docs/results.md begins that is run by a shell."""
OWN_ROOM = {
    "ablation_hrnet": "test_ablation_hrnet",
    "benchmark": "test_benchmark",
    "fetus_ladder": "test_fetus_ladder",
    "gpu_report": "test_gpu_report",
    "memory_table": "test_memory_table",
    "robustness": "test_robustness",
}
"""Tool -> the test that rehearses it with the words of its page (``words_of``) and holds more of it."""
PAGES = {
    path.relative_to(ROOT).as_posix(): text
    for path, text in READ.items()
    if path.is_relative_to(ROOT / "docs") or path.name == "README.md"
}


def tools_of(page):
    """Each call of a tool on a page once."""
    return list(dict.fromkeys(line.strip() for line, _ in command_lines(PAGES[page], TOOLS)))


def has_own_room(line):
    return line.removeprefix(TOOLS).partition(".py")[0] in OWN_ROOM


def words_of(name):
    """The words behind the name of a tool that README and docs call in one way."""
    lines = {line for page in PAGES for line in tools_of(page) if line.startswith(f"{TOOLS}{name}.py")}
    (words,) = (shlex.split(line, comments=True)[2:] for line in lines)
    return words


def of_line(line, table):
    """The values of a table whose keys stand in a line."""
    return [value for key, value in table.items() if key in line]


def run_tool(line, appended):
    """The exit code of a tool with the words of a line and, behind them, the options of a table by what is in the line.

    Of options that are given twice the last counts. What is behind ``>`` gets what is printed.
    """
    _, *words = shlex.split(line, comments=True)
    words, target = (words[:-2], words[-1]) if ">" in words else (words, None)
    with pytest.MonkeyPatch.context() as patch, open(target, "w") if target else nullcontext() as file:
        patch.setattr("sys.argv", [*words, *(word for more in of_line(line, appended) for word in more)])
        with redirect_stdout(file) if file else nullcontext():
            return importlib.import_module(Path(words[0]).stem).main() or 0
