"""What a reader follows works: links, command lines, error messages and Python of README, docs and cards."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from aop_pose.cli.main import app
from aop_pose.errors import AopPoseError
from aop_pose.pipelines import pipeline_class
from aop_pose.pipelines.config import load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "weights").glob("*.md")),
    *sorted((ROOT / "datasets").glob("*.md")),
]
READ = {page: page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4,}\S.*\n?)+", re.MULTILINE)
DATA = ("python", "json", "toml", "yaml")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def prose(text):
    """A page without its blocks of code and its spans of code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(text):
    """The anchors of a page's headings, as forges and MkDocs both make them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in plain}


def block_lines(text):
    """Every line of a page's blocks of commands: those without a language, or with one that is none of data."""
    blocks = [body for _, kind, body in FENCE.findall(text) if kind not in DATA] + INDENTED.findall(FENCE.sub("", text))
    for block in blocks:
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()


def parts_of(line, program):
    """The commands of a program in a line of a block."""
    for part in re.split(r"&&|;|\(|\)|>", line) if "'^(" not in line else [line]:
        if re.match(rf"\s*(\w+=\S+ )?{program}", part):
            yield re.sub(r"^\s*(\w+=\S+ )?", "", part)


def command_lines(text, program):
    """(Line, whole) for every command of a page: whole ones from blocks of code, parts from spans."""
    for line in block_lines(text):
        yield from ((part, True) for part in parts_of(line, program))
    for span in re.findall(r"`([^`]+)`", FENCE.sub("", text)):
        if re.match(program, span):
            yield " ".join(span.split()), False


COMMANDS = [
    pytest.param(line, whole, id=f"{name_of(page)}: {line}")
    for page, text in READ.items()
    for line, whole in command_lines(text, "aop-pose ")
]
TOOLS = [
    pytest.param(line, id=f"{name_of(page)}: {line}")
    for page, text in READ.items()
    for line, _ in command_lines(text, "python tools/")
]


def parsed(words):
    """(Command, options and arguments, what is left over); an option or command that does not exist raises."""
    command = typer.main.get_command(app)
    with command.make_context("aop-pose", [], resilient_parsing=True) as context:
        words = list(words)
        while hasattr(command, "get_command") and words and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            assert found is not None, f"no command {words[0]!r}"
            command, words = found, words[1:]
            context = command.context_class(command, parent=context, info_name=command.name)
        values, rest, _ = command.make_parser(context).parse_args(words)
    return command, values, rest


@pytest.mark.parametrize(("line", "whole"), COMMANDS)
def test_every_option_of_a_command_line_exists(line, whole):
    words = [word for word in shlex.split(line, comments=True)[1:] if word not in ("...", "…")]
    command, values, rest = parsed(words)
    assert not rest, f"expected no more words, found {rest}"
    if whole:
        needed = [] if values.get("show_config") else [one.name for one in command.params if one.required]
        missing = [name for name in needed if values.get(name) in (None, ())]
        assert not missing, f"a whole command needs {missing}"
    if command.name not in ("train", "pretrain"):
        return
    method = pipeline_class(values.get("method") or "yolo")
    preset = values.get("preset") or method.preset
    if preset.endswith(".yaml"):
        # A file of the reader's own.
        preset = method.preset
    try:
        load_config(method.config, method.presets(), preset, values.get("changes") or ())
    except AopPoseError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("line", TOOLS)
def test_every_option_of_a_tool_exists(line):
    words = shlex.split(line, comments=True)
    source = (ROOT / words[1]).read_text(encoding="utf-8")
    source += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tools").glob("ablation*.py"))
    missing = [word for word in words[2:] if word.startswith("--") and f'"{word}"' not in source]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(prose(READ[page])):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: leads out of the repository"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: no such heading"


def test_every_file_that_a_page_links_to_is_on_the_site():
    tree = ast.parse((ROOT / "tools" / "site_pages.py").read_text(encoding="utf-8"))
    (said,) = (node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "PATTERNS")
    there = {path for pattern in ast.literal_eval(said) for path in ROOT.glob(pattern)}
    for page in PAGES:
        for link in LINK.findall(prose(READ[page])):
            path = link.partition("#")[0]
            if path and not re.match(r"https?:|mailto:", link):
                target = (page.parent / path).resolve()
                assert target in there or target.is_relative_to(ROOT / "docs"), f"{name_of(page)}: {link}"


def test_the_readme_is_short_and_measures_early():
    lines = READ[ROOT / "README.md"].splitlines()
    assert len(lines) <= 130
    assert any("aop-pose predict" in line for line in lines[:40])
    assert any("Not a medical device" in line for line in lines[:10])
    assert any("AGPL-3.0" in line for line in lines[:10])
    assert {"pip install . && aop-pose demo", "pip install '.[train,test]' && pytest"} <= set(lines)


def test_nothing_a_reader_sees_asks_for_files_beside_the_checkout():
    texts = [*READ.items(), *((file, file.read_text()) for file in (ROOT / "weights").glob("*.json"))]
    assert [name_of(page) for page, text in texts if "../shared" in text] == []


def test_every_page_is_in_the_index_and_in_the_menu():
    index, menu = READ[ROOT / "docs" / "index.md"], (ROOT / "mkdocs.yml").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()
    assert {page for page in pages if f" {page}\n" not in menu} == set()


def test_the_messages_of_the_faq_are_those_of_the_code():
    said = [
        node.value
        for path in (ROOT / "aop_pose").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    rows = re.findall(r"^\| `(.+?)` \|", READ[ROOT / "docs" / "faq.md"], re.MULTILINE)
    assert len(rows) >= 20
    parts = {part.strip(" :;,.") for row in rows for part in row.split("...") if part.strip(" :;,.()")}
    assert {part for part in parts if not any(part in text for text in said)} == set()


def test_the_python_of_the_docs_runs_as_it_stands(tmp_path):
    phantoms = ROOT / "datasets" / "phantom"
    shutil.copytree(phantoms / "images", tmp_path / "frames")
    shutil.copy(tmp_path / "frames" / "0000.png", tmp_path / "frame.png")
    shutil.copy(phantoms / "labels.csv", tmp_path)
    blocks = [body for _, kind, body in FENCE.findall(READ[ROOT / "docs" / "python.md"]) if kind == "python"]
    assert len(blocks) >= 2
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert "144.58" in run.stdout
    assert (tmp_path / "results" / "results.csv").is_file()
    assert (tmp_path / "evaluation" / "report.html").is_file()


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path):
    notebook = json.loads((ROOT / "docs" / "first_frames.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "cells are kept without their outputs"
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(cells)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert "abstained - " in run.stdout
    assert (tmp_path / "results" / "contact_sheet.png").is_file()
    assert (tmp_path / "evaluation" / "report.html").is_file()


def test_every_figure_that_is_defined_is_one_that_evaluate_writes():
    expected = ROOT / "tests" / "golden" / "expected"
    written = "\n".join(path.read_text(encoding="utf-8") for path in sorted(expected.rglob("*.txt")))
    firsts = re.findall(r"^\| (`.+?) \|", READ[ROOT / "docs" / "evaluate.md"], re.MULTILINE)
    names = {name for first in firsts for name in re.findall(r"`([a-z0-9_]+)`", first)}
    assert len(names) > 30
    assert {name for name in names if not re.search(rf"\b{name}\b", written)} == set()
