"""results.csv and results.json: whole rows only, continued after a kill."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.results import Measurement, Result, columns
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.io.files import printable
from aop_pose.io.table import ResultsWriter, read_results, write_document


def measured(source: str, index: int = 0) -> Result:
    return Result(
        source, index, "ok", width=256, height=200, score=0.9, model="m1",
        keypoints=Keypoints(AOP, [(1.5, 2), (3, 4), (5, 6)], [1, 1, 1]),
        measurements={"aop_deg": Measurement("aop_deg", 112.4, "deg", (100.0, 120.0))},
    )  # fmt: skip


def test_rows_stand_in_the_file_as_soon_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "out" / "results.csv"
    with ResultsWriter(path, AOP, resume=True) as writer:
        assert path.read_text() == ",".join(columns(AOP)) + "\n"
        writer.write(measured("a.png"))
        (row,) = read_results(path)
        # What is written is no row of before.
        assert not writer.done
    assert (row["source"], row["index"], row["PS1_x"], row["aop_deg"], row["aop_high"]) == (
        "a.png", "0", "1.5000", "112.4000", "120.0000",
    )  # fmt: skip
    assert row["hsd_px"] == ""


@pytest.mark.parametrize("cut", range(1, 60))
def test_half_written_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "results.csv"
    with ResultsWriter(path, AOP, resume=True) as writer:
        writer.write(measured("a.png"))
        writer.write(measured("b,c.png", 3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with ResultsWriter(path, AOP, resume=True) as writer:
        assert writer.done == {("a.png", 0)}
        writer.write(measured("b,c.png", 3))
    assert path.read_bytes() == whole


def test_half_written_header(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for beginning in ("", "sour", ",".join(columns(AOP))):
        path.write_text(beginning)
        with ResultsWriter(path, AOP, resume=True) as writer:
            assert writer.done == set()
        assert path.read_text() == ",".join(columns(AOP)) + "\n"


@pytest.mark.parametrize("content", [",".join(columns(HEAD)) + "\n", "my,own,table\n1,2,3\n", "no newline", "\x89PNG"])
def test_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match="expected the header of a results table of schema aop") as caught:
        ResultsWriter(path, AOP, resume=True).__enter__()
    assert "\n" not in str(caught.value)
    assert path.read_text() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"a.png,0,oops\n",
        lambda line: line.replace(b",200,", b",2\r00,", 1),
        lambda line: line.replace(b",ok,", b",okk,"),
        lambda line: line.replace(b"a.png,0,", b"a.png,O,"),
        lambda line: line.replace(b"m1", b"\xff\xfe"),
        lambda line: line.replace(b"a.png", b'"a.png'),
        lambda line: line.replace(b".", b"..", 2),
    ],
)
def test_a_table_is_cut_off_before_a_damaged_row_and_says_so(tmp_path: Path, damage) -> None:
    path = tmp_path / "results.csv"
    with ResultsWriter(path, AOP, resume=False) as writer:
        for name in ("a.png", "b.png", "c.png"):
            writer.write(measured(name))
    header, first, second, third = path.read_bytes().splitlines(keepends=True)
    broken = damage(second.replace(b"b.png", b"a.png")).replace(b"a.png", b"b.png")
    assert broken != second
    path.write_bytes(header + first + broken + third)
    with ResultsWriter(path, AOP, resume=True) as writer:
        assert writer.done == {("a.png", 0)}
        assert writer.damaged == f"{path}:3 is damaged: the rows from there on are made again"
    assert path.read_bytes() == header + first


def test_reading_names_a_damaged_row(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(",".join(columns(AOP)) + "\na.png,0,oops\n")
    with pytest.raises(UsageError, match=r"results.csv:2: expected 32 fields, found 3"):
        read_results(path)


def test_without_resume_the_table_starts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("my,own,table\n")
    with ResultsWriter(path, AOP, resume=False) as writer:
        writer.write(measured("a.png"))
    assert [row["source"] for row in read_results(path)] == ["a.png"]


@pytest.mark.parametrize(
    "name", ['q"uote.png', "a, b.png", "é 漢.png", "=cmd.png", " lead.png", "c\udcff.png", "n\0l.png"]
)
def test_odd_names_survive_as_one_line_of_utf8(tmp_path: Path, name: str) -> None:
    path = tmp_path / "results.csv"
    with ResultsWriter(path, AOP, resume=True) as writer:
        writer.write(Result(name, 0, "unreadable", reason="two\nlines, and \udcfe"))
    assert path.read_bytes().decode("utf-8").count("\n") == 2
    (row,) = read_results(path)
    assert row["source"] == name.replace("\udcff", "\\udcff").replace("\0", "\\x00")
    assert row["reason"] == "two lines, and \\udcfe"
    with ResultsWriter(path, AOP, resume=True) as writer:
        assert writer.done == {(printable(name), 0)} == {(row["source"], 0)}


def test_full_disk_is_one_line_and_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    with ResultsWriter(path, AOP, resume=True) as writer:
        writer.write(measured("a.png"))
        before = path.read_bytes()
        real = writer._stream
        assert real is not None

        class Full:
            fileno, truncate, close = real.fileno, real.truncate, real.close

            def write(self, data: bytes) -> int:
                return os.write(real.fileno(), data[:10])

        monkeypatch.setattr(writer, "_stream", Full())
        with pytest.raises(AopPoseError, match="disk is full"):
            writer.write(measured("b.png"))
    assert path.read_bytes() == before


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        ResultsWriter(tmp_path / "file" / "results.csv", AOP, resume=True).__enter__()


def test_kill_minus_nine_loses_no_row_and_repeats_none(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    script = (
        "import sys; from aop_pose.io.table import ResultsWriter; from aop_pose.core.results import Result;"
        "from aop_pose.core.schemas import AOP\n"
        "with ResultsWriter(sys.argv[1], AOP, resume=True) as w:\n"
        "    for n in range(10**9):\n"
        "        if (f'{n}.png', 0) not in w.done: "
        "w.write(Result(f'{n}.png', 0, 'abstained', reason='r' * 200))\n"
    )
    for _ in range(2):
        size = path.stat().st_size if path.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (not path.exists() or path.stat().st_size < size + 20_000):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with ResultsWriter(path, AOP, resume=True):
        pass
    rows = read_results(path)
    assert len(rows) > 50
    assert [row["source"] for row in rows] == [f"{n}.png" for n in range(len(rows))]


def test_read_results_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found no file"):
        read_results(tmp_path / "gone.csv")
    (tmp_path / "x.csv").write_text("a,b\n")
    with pytest.raises(UsageError, match="source, index, status, reason missing"):
        read_results(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="UTF-8"):
        read_results(tmp_path / "x.csv")


def test_table_opens_in_another_reader(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    with ResultsWriter(path, HEAD, resume=True) as writer:
        writer.write(Result("a.png", 0, "abstained", reason='said "no", twice'))
    with open(path, newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["reason"] == 'said "no", twice'


def test_document_has_typed_rows_and_the_facts(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    with ResultsWriter(table, AOP, resume=True) as writer:
        writer.write(measured("007.png"))
        writer.write(Result("12", 3, "unreadable", reason="empty file"))
    write_document(tmp_path / "results.json", table, {"model": "m1", "frames": 2})
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert document["run"] == {"model": "m1", "frames": 2}
    first, second = document["results"]
    assert list(first) == columns(AOP)
    assert (first["source"], first["index"], first["width"], first["aop_deg"]) == ("007.png", 0, 256, 112.4)
    assert (first["hsd_mm"], first["reason"]) == (None, None)
    assert (second["source"], second["index"], second["width"], second["reason"]) == (
        "12",
        3,
        None,
        "empty file",
    )


def test_document_of_no_rows_is_json(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "results.csv", AOP, resume=True):
        pass
    write_document(tmp_path / "results.json", tmp_path / "results.csv", {})
    assert json.loads((tmp_path / "results.json").read_text()) == {"run": {}, "results": []}


def test_document_that_fails_leaves_nothing(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    table.write_text(",".join(columns(AOP)) + "\na.png,0,oops\n")
    with pytest.raises(UsageError):
        write_document(tmp_path / "results.json", table, {})
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
