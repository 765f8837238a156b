"""Goldens: what commands print and write, as one text a test, compared with the text that was recorded.

A recorded text begins with the tolerance of its numbers. Numbers with a decimal point may differ by it, or by one in
their last digit; everything else must be the same. ``AOP_POSE_RECORD=1 pytest tests/golden`` writes the texts anew.
Only the command line and the files that it writes are looked at, so that what is behind it may move.
"""

from __future__ import annotations

import csv
import difflib
import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from aop_pose.cli.main import main

EXPECTED = Path(__file__).resolve().parent / "expected"
PROJECT = Path(__file__).resolve().parents[2]
RECORDING = os.environ.get("AOP_POSE_RECORD") == "1"

_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?\d+\.\d+(?:e[-+]?\d+)?(?![\w.]*\d)")
_LEARNED = re.compile(r"(?<= )-?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf)(?=%? |$)")
_OF_TRAINING = ("spread of ", "memory plan")
_BOX = re.compile("[─-╿]+")
# What differs from machine to machine, or from one training to the next, and what stands in its place.
_REPLACED = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "<sha256>"),
    (re.compile(r"(@|sha256 )[0-9a-f]{8,}"), r"\1<hash>"),
    (re.compile(r"\b[0-9a-f]{8}…"), "<hash>…"),
    (re.compile(r"\b[0-9.]+ min\b"), "<time>"),
    (re.compile(r"(  | in |after )[0-9.]+ s\b"), r"\1<time>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[0-9:.+Z]+"), "<date>"),
    (re.compile(r"\b20\d\d-\d\d-\d\d\b"), "<day>"),
    (re.compile(r"\b[0-9.]+ MB\b"), "<size>"),
    (re.compile(r"\baop-pose \d+\.\d+\.\d+\S*"), "aop-pose <version>"),
)
# Facts of a machine, an installation or a moment: their keys are recorded, their values are not.
MACHINE = {
    "aop_pose", "python", "numpy", "opencv", "onnxruntime", "versions", "platform", "cores", "devices", "training",
    "started", "finished_at", "wall_seconds", "peak_memory_mb", "git_commit", "artefact_sha256", "sha256", "host",
    "bytes", "measuring", "not_installed",
}  # fmt: skip


class Recorder:
    """Collects the text of one test; ``compare`` holds it against the recorded one.

    ``learned=True`` leaves out the numbers of lines that a training prints: they are those of one CPU.
    """

    def __init__(self, place: Path, capture: pytest.CaptureFixture[str], name: str) -> None:
        self.place, self.capture = place, capture
        self.file = EXPECTED / f"{name}.txt"
        self.tolerance, self.learned = 0.02, False
        self.parts: list[str] = []

    def run(self, *words: object, shown: bool = True, code: int = 0) -> int:
        """Run a command; exit code and both outputs are recorded where ``shown``, else it must end with ``code``."""
        self.capture.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = self.capture.readouterr()
        found = int(end.value.code or 0)
        if shown:
            self._add(f"$ aop-pose {' '.join(map(str, words))}", f"exit {found}")
            self._add("stdout", *self.lines(out))
            self._add("stderr", *self.lines(err))
        else:
            assert found == code, err
        return found

    def help(self, *words: str) -> None:
        """The help of a command: one option a line, however wide the terminal is."""
        self.capture.readouterr()
        with pytest.raises(SystemExit) as end:
            main([*words, "--help"])
        text = " ".join(_BOX.sub(" ", self.capture.readouterr().out).split())
        text = re.sub(r"(?<=\w)- (?=\w)", "-", text)
        lines = re.sub(r"(?<![,/]) (?=(?:-\w, )?--[a-z]|Options:|Commands:|Arguments:|Example:)", "\n", text).split(
            "\n"
        )
        self._add(f"$ aop-pose {' '.join([*words, '--help'])}", f"exit {int(end.value.code or 0)}", *lines)

    def files(self, folder: str, but: tuple[str, ...] = (), sizes: bool = True) -> None:
        """Every file below a folder, pictures with their size; hidden ones too, those of some folders not."""
        found = (path for path in (self.place / folder).rglob("*") if path.is_file())
        names = sorted(path for path in found if path.relative_to(self.place / folder).parts[0] not in but)
        self._add(f"files of {folder}", *(self._described(path, folder, sizes) for path in names))

    def _described(self, path: Path, folder: str, sizes: bool) -> str:
        name = path.relative_to(self.place / folder).as_posix()
        if path.suffix not in (".png", ".jpg", ".tif") or name == "curves.png" or not sizes:
            return name
        with Image.open(path) as picture:
            return f"{name} {picture.width} x {picture.height}"

    def text(self, path: str) -> None:
        """A text file, line by line."""
        self._add(path, *self.lines((self.place / path).read_text(encoding="utf-8")))

    def header(self, path: str) -> None:
        """The columns of a table and how many rows there are."""
        with open(self.place / path, newline="", encoding="utf-8") as stream:
            first, *rows = list(csv.reader(stream))
        self._add(f"columns of {path}", ",".join(first), f"{len(rows)} rows")

    def columns(self, path: str, *names: str) -> None:
        """Some columns of a table."""
        with open(self.place / path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        self._add(f"{path}: {','.join(names)}", *self.lines("\n".join(",".join(row[n] for n in names) for row in rows)))

    def document(self, path: str, hidden: set[str] | None = None, keys_only: bool = False, without: str = "") -> None:
        """A JSON file as one line a value. Values of the machine and of ``hidden`` keys are not shown."""
        value = json.loads((self.place / path).read_text(encoding="utf-8"))
        self.value(path, {k: v for k, v in value.items() if k != without}, hidden, keys_only)

    def value(self, title: str, value: Any, hidden: set[str] | None = None, keys_only: bool = False) -> None:
        """The same for a value that was read elsewhere."""
        self._add(title, *self.lines("\n".join(_flat(value, MACHINE | (hidden or set()), keys_only))))

    def run_folder(self, folder: str) -> None:
        """A training run: its files, its settings, which facts and which columns it wrote down."""
        self.files(folder)
        self.document(f"{folder}/run.json", keys_only=True)
        self.text(f"{folder}/config.yaml")
        self.header(f"{folder}/metrics.csv")

    def contract(self, path: str) -> None:
        """What an exported network says of itself, and the shapes that go in and come out."""
        session = onnxruntime.InferenceSession(self.place / path, providers=["CPUExecutionProvider"])
        for name, text in sorted(session.get_modelmeta().custom_metadata_map.items()):
            try:
                value = json.loads(text)
            except ValueError:
                value = text
            self.value(f"{path}: {name}", value, {"best"})
        # A free axis of an output has the name that one version of an exporter gave it.
        nodes = [f"{node.name} {node.type} {node.shape}" for node in session.get_inputs()]
        for node in session.get_outputs():
            shape = ", ".join("free" if isinstance(size, str) else str(size) for size in node.shape)
            nodes.append(f"{node.name} {node.type} [{shape}]")
        self._add(f"shapes of {path}", *nodes)

    def page(self, path: str) -> None:
        """The words of an HTML page, without tags, styles and drawings."""
        text = (self.place / path).read_text(encoding="utf-8")
        text = re.sub(r"(?s)<(style|script)\b.*?</\1>", "", text)
        text = re.sub(r"(?s)<svg\b.*?</svg>", "\n[drawing]\n", text)
        text = re.sub(r"<img\b[^>]*>", "\n[picture]\n", text)
        text = re.sub(r"</(p|h\d|tr|li|figure|figcaption|caption|title|table|div)>", "\n", text)
        text = html.unescape(re.sub(r"<[^>]+>", " ", text))
        self._add(f"words of {path}", *(line for line in self.lines(text) if line))

    def pixels(self, folder: str) -> None:
        """Mean and standard deviation of the pixels of every picture."""
        lines = []
        for path in sorted((self.place / folder).rglob("*.png")):
            values = np.asarray(Image.open(path), dtype=float)
            shape = " x ".join(map(str, values.shape))
            name = path.relative_to(self.place / folder).as_posix()
            lines.append(f"{name} {shape} mean {values.mean():.2f} deviation {values.std():.2f}")
        self._add(f"pixels of {folder}", *lines)

    def lines(self, text: str) -> list[str]:
        """Text without what only this machine says; runs of blanks and drawn lines are one blank."""
        text = text.replace(str(self.place.resolve()), "<place>").replace(str(PROJECT), "<project>")
        for pattern, word in _REPLACED:
            text = pattern.sub(word, text)
        lines = [" ".join(_BOX.sub(" ", line).split()) for line in text.splitlines()]
        if self.learned:
            lines = [_LEARNED.sub("<number>", line) if line.startswith(_OF_TRAINING) else line for line in lines]
            # Where nothing is found yet, or an epoch is the best, an epoch has other words.
            lines = ["epoch <what it learned>" if line.startswith("epoch ") else line for line in lines]
        return [line for line in lines if line]

    def _add(self, title: str, *lines: str) -> None:
        self.parts.append("\n".join([f"== {title}", *lines]))

    def compare(self) -> None:
        """Fail with a diff where the text is not the recorded one; write it where texts are recorded."""
        if not self.parts:
            return
        found = "\n".join([f"tolerance {self.tolerance:g}", *self.parts]) + "\n"
        if RECORDING:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(found, encoding="utf-8")
            return
        assert self.file.is_file(), f"nothing recorded in {self.file.name}: AOP_POSE_RECORD=1 records it"
        difference = compared(self.file.read_text(encoding="utf-8"), found, self.tolerance)
        if difference:
            pytest.fail(f"{self.file.name} (AOP_POSE_RECORD=1 records it anew)\n{difference}", pytrace=False)


def compared(expected: str, found: str, tolerance: float) -> str:
    """A diff of two texts; empty where they are the same but for small differences of numbers."""
    old, new = expected.splitlines(), found.splitlines()
    frames = [[_NUMBER.sub("#", line) for line in lines] for lines in (old, new)]
    blocks = difflib.SequenceMatcher(None, *frames, autojunk=False).get_matching_blocks()
    for block in blocks:
        for i in range(block.size):
            if _near(old[block.a + i], new[block.b + i], tolerance):
                new[block.b + i] = old[block.a + i]
    return "\n".join(difflib.unified_diff(old, new, "recorded", "found", lineterm="", n=2))


def _near(old: str, new: str, tolerance: float) -> bool:
    pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
    return all(abs(_value(a) - _value(b)) <= max(tolerance, _last_digit(a)) for a, b in pairs)


def _value(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def _last_digit(text: str) -> float:
    mantissa, _, power = text.partition("e")
    return 1.01 * 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))


def _flat(value: Any, hidden: set[str], keys_only: bool, path: str = "") -> Iterator[str]:
    if path.rpartition(".")[2] in hidden and path:
        yield f"{path}: <not recorded>"
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, hidden, keys_only, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value):
            yield from _flat(inner, hidden, keys_only, f"{path}[{number}]")
    elif keys_only:
        yield f"{path}: {type(value).__name__}"
    elif isinstance(value, float):
        yield f"{path}: {value:.4f}"
    elif isinstance(value, list):
        yield f"{path}: [{', '.join(f'{one:.4f}' if isinstance(one, float) else json.dumps(one) for one in value)}]"
    else:
        yield f"{path}: {json.dumps(value, ensure_ascii=False)}"
