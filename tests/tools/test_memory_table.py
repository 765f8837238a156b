"""The memory table: all rows of the paper's Table 4 from one command, what fits a budget, and errors in a line."""

import json
import re
import sys

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
import memory_table  # noqa: E402

from tests.tools.page_commands import words_of  # noqa: E402

SMALL = ["--widths", "4", "8", "--size", "32", "32", "32", "--check", "8", "8", "8", "--repeats", "1"]
METHODS = ["UNet", "UGCP", "UREV", "UGCPREV"]


@pytest.fixture
def run(monkeypatch, capsys):
    threads = torch.get_num_threads()

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["memory_table.py", *words_of("memory_table"), *SMALL, *arguments])
        return memory_table.main(), *capsys.readouterr()

    yield command
    torch.set_num_threads(threads)


def test_every_row_of_table_4_and_what_fits(run):
    code, out, _ = run("--budget", "0.02")
    assert code == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    assert len({len(cells) for cells in lines}) == 1
    rows = {cells[0]: cells for cells in lines[2:]}
    named = [*METHODS, *(f"{name} in slabs" for name in METHODS)]
    assert list(rows) == [*named, "UNet-L (estimate)"]
    for name in named:
        counted, estimated = map(float, rows[name][9].split("/"))
        assert counted == pytest.approx(estimated, rel=0.1)
    saved = {name: float(re.search(r"\(([-+.\d]+) %\)", rows[name][2])[1]) for name in named}
    assert saved["UNet"] == 0
    assert saved["UGCPREV in slabs"] <= saved["UGCP in slabs"] <= saved["UGCP"] < -15
    assert saved["UGCPREV"] <= saved["UGCP"]
    assert [rows[name][7] for name in METHODS] == ["0"] * 4
    fitting = {
        name: json.loads(size) for name, size in re.findall(r"(\w+): the largest input in 0.02 GiB is (.*)", out)
    }
    assert list(fitting) == METHODS
    assert fitting["UGCP"] > fitting["UNet"]


def test_chosen_rows_stand_beside_the_first(run):
    _, out, _ = run("--rows", "UGCP")
    assert re.findall(r"(?m)^\| (\w[^|]*?) \|", out)[1:] == ["UNet", "UGCP", "UNet-L (estimate)"]


def test_a_budget_that_holds_nothing_is_said(monkeypatch):
    monkeypatch.setattr(memory_table, "METHODS", memory_table.METHODS[:1])
    lines = memory_table.largest_inputs([4, 8], [32, 32, 32], budget=1e-6, slowdown=1.3)
    assert lines == ["UNet: nothing fits in 1e-06 GiB"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "31", "32", "32"], "expected multiples of 2, found (31, 32, 32)"),
        (["--widths", "4"], "expected two or more positive numbers, found (4,)"),
        (["--slowdown", "0.5"], "expected max_slowdown of at least 1, found 0.5"),
    ],
)
def test_bad_numbers_are_a_line(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2
    assert err.startswith("memory_table: error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("arguments", [["--repeats", "0"], ["--size", "0", "16", "16"], ["--check", "-8", "8", "8"]])
def test_no_step_and_no_voxel_are_refused(run, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "expected" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_a_line(run):
    code, _, err = run("--device", "cuda")
    assert code == 2
    assert err == "memory_table: error: --device: expected cpu, since there is no CUDA device, found cuda\n"
