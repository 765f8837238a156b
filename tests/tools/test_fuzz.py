"""The fuzz run: a small part of it, and that it sees what must not be."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import fuzz
import numpy as np
import pytest

from aop_pose.errors import UsageError
from lib.fuzz_readers import READERS, Reader
from lib.mutants import mutated

INPUTS = {"frames": 250, "volumes": 120, "masks": 40, "tables": 60, "yolo": 40, "results": 60}


@pytest.mark.parametrize("name", INPUTS)
def test_whatever_a_file_holds_it_is_read_or_refused_by_name(tmp_path: Path, name: str) -> None:
    pytest.importorskip("SimpleITK")
    files = READERS[name].prepare(tmp_path)
    for file in files:
        READERS[name].take(tmp_path, file)
    seen = set()
    for number in range(INPUTS[name]):
        outcome, said = fuzz.outcome_of(READERS[name], tmp_path, files, 17, number)
        assert outcome in (fuzz.READ, fuzz.REFUSED, fuzz.HANG, fuzz.MEMORY), f"{name} {number}: {said}"
        seen.add(outcome)
    assert fuzz.REFUSED in seen or name in ("masks", "yolo")


@pytest.mark.parametrize(
    ("name", "needed"),
    [("artefacts", "onnx"), ("checkpoints", "torch"), ("presets", "torch"), ("dicom", "pydicom"), ("videos", "cv2")],
)
def test_networks_presets_and_what_machines_write_are_read_or_refused_by_name(
    tmp_path: Path, name: str, needed: str
) -> None:
    pytest.importorskip(needed)
    files = READERS[name].prepare(tmp_path)
    for number in range(40):
        outcome, said = fuzz.outcome_of(READERS[name], tmp_path, files, 17, number)
        assert outcome in (fuzz.READ, fuzz.REFUSED), f"{name} {number}: {said}"


def reader_of(take: object) -> Reader:
    def prepare(folder: Path) -> list[Path]:
        (folder / "a.txt").write_text("1 2 3\n" * 20)
        return [folder / "a.txt"]

    return Reader("made up", prepare, take)


def outcome(tmp_path: Path, take: object) -> str:
    reader = reader_of(take)
    return fuzz.outcome_of(reader, tmp_path, reader.prepare(tmp_path), 0, 3)[0]


def test_faults_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, file: Path) -> None:
        raise UsageError("one line")

    def ramble(folder: Path, file: Path) -> None:
        raise UsageError("")

    def fail(folder: Path, file: Path) -> None:
        raise KeyError("x")

    def spin(folder: Path, file: Path) -> None:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass

    assert outcome(tmp_path, lambda folder, file: None) == fuzz.READ
    assert outcome(tmp_path, refuse) == fuzz.REFUSED
    assert outcome(tmp_path, fail) == outcome(tmp_path, ramble) == fuzz.TRACEBACK
    monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    assert outcome(tmp_path, spin) == fuzz.HANG
    monkeypatch.setattr(fuzz, "SECONDS", 60)
    monkeypatch.setattr(fuzz, "MEGABYTES", 100)
    assert outcome(tmp_path, lambda folder, file: np.ones(40_000_000).sum()) == fuzz.MEMORY


def test_an_input_is_made_again_from_its_number_and_the_file_is_put_back(tmp_path: Path) -> None:
    reader = reader_of(lambda folder, file: None)
    files = reader.prepare(tmp_path)
    before = files[0].read_bytes()
    made = [mutated(files, (5, "made up", number))[1] for number in range(30)]
    assert made == [mutated(files, (5, "made up", number))[1] for number in range(30)]
    assert len(set(made)) > 25
    fuzz.outcome_of(reader, tmp_path, files, 5, 1)
    assert files[0].read_bytes() == before


def test_a_run_is_split_over_processes_and_goes_on_where_its_state_ends(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for each in (5, 12):
        state = fuzz.State.of(path, 3)
        fuzz.run(["results"], each, state, path)
    known = json.loads(path.read_text())
    assert known["done"] == {"results": 12}
    assert sum(known["counts"]["results"].values()) == 12
    assert "| results | 12 |" in fuzz.table(fuzz.State.of(path, 3))
    with pytest.raises(SystemExit, match="expected the state of seed 4"):
        fuzz.State.of(path, 4)


def test_a_process_that_dies_is_counted_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = fuzz.Worker("results", 0)
    assert worker.read(0)[0] in (fuzz.READ, fuzz.REFUSED)
    os.kill(worker.process.pid or 0, 9)
    worker.process.join()
    state = fuzz.State(0)
    monkeypatch.setattr(fuzz, "Worker", lambda name, seed: worker)
    try:
        died = worker.read(1)[0]
    except BrokenPipeError:
        died = fuzz.CRASH
    assert died == fuzz.CRASH
    state.add("results", 1, died, "")
    assert state.found[0]["outcome"] == fuzz.CRASH
