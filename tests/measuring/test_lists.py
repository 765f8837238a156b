"""Lists of files in, Parquet in and out, and folders of very many files."""

import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from aop_pose import evaluate
from aop_pose.errors import UsageError
from aop_pose.io.discover import discover
from aop_pose.io.folders import PARQUET, TABLE
from aop_pose.io.table import ResultsWriter, iter_results, read_results, write_parquet
from aop_pose.measuring.folder import predict, remaining
from aop_pose.measuring.images import of_list
from tests.fakes import fake_predictor, write_frames


def sources_of(out):
    return [row["source"] for row in read_results(out / TABLE)]


def test_a_list_is_measured_in_its_order_below_its_folder_and_a_missing_file_has_a_row(tmp_path):
    write_frames(tmp_path / "frames" / "a", 3)
    (tmp_path / "list.txt").write_text("a/002.png\na/000.png\ngone/x.png\n")
    predict(fake_predictor(), [tmp_path / "frames"], tmp_path / "out", listed=tmp_path / "list.txt", overlay=False)
    rows = read_results(tmp_path / "out" / TABLE)
    assert [row["source"] for row in rows] == ["a/002.png", "a/000.png", "gone/x.png"]
    assert [row["status"] for row in rows] == ["ok", "ok", "unreadable"]
    assert "no such file" in rows[2]["reason"]


def test_a_list_without_a_source_is_below_its_own_folder_or_names_whole_paths(tmp_path):
    frames = write_frames(tmp_path / "frames", 2)
    (frames / "list.txt").write_text("001.png\n000.png\n")
    assert [one.source for one in of_list(frames / "list.txt", []).entries] == ["001.png", "000.png"]
    (tmp_path / "whole.txt").write_text(f"{frames / '001.png'}\n{tmp_path / 'other' / 'y.png'}\n")
    found = of_list(tmp_path / "whole.txt", []).entries
    assert [(one.path, one.source) for one in found] == [
        (frames / "001.png", "frames/001.png"), (tmp_path / "other" / "y.png", "other/y.png"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("../x.png\n", "leads out of it"),
        ("/x.png\nb.png\n", "leads out of it"),
        ("a.png\n./a.png\n", "each file once, found a.png again"),
        ("", "empty list"),
    ],
)
def test_a_list_that_leads_elsewhere_or_names_a_file_twice_is_refused(tmp_path, text, said):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UsageError, match=said):
        of_list(tmp_path / "list.txt", [tmp_path])


def test_a_list_goes_with_one_folder_or_with_none(tmp_path):
    (tmp_path / "list.txt").write_text("a.png\n")
    for sources in ([tmp_path, tmp_path], [tmp_path / "list.txt"]):
        with pytest.raises(UsageError, match="one folder that its names are below"):
            of_list(tmp_path / "list.txt", sources)
    with pytest.raises(UsageError, match="or --list, found neither"):
        predict(fake_predictor(), [], tmp_path / "out")


def test_another_list_is_another_run(tmp_path, monkeypatch):
    frames = write_frames(tmp_path / "frames", 3)
    (tmp_path / "list.txt").write_text("000.png\n001.png\n")

    def stop(row, files):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(fake_predictor(), [frames], tmp_path / "out", listed=tmp_path / "list.txt", on_row=stop)
    with pytest.raises(UsageError, match="the beginning of another run"):
        predict(fake_predictor(), [frames], tmp_path / "out", listed=tmp_path / "other.txt", format="csv") if (
            (tmp_path / "other.txt").write_text("000.png\n")
        ) else None
    predict(fake_predictor(), [frames], tmp_path / "out", listed=tmp_path / "list.txt")
    assert sources_of(tmp_path / "out") == ["000.png", "001.png"]


def test_parquet_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    frames = write_frames(tmp_path / "frames", 1)
    with pytest.raises(
        UsageError, match=r"--format parquet: pyarrow is not installed; pip install 'aop-pose\[parquet\]'"
    ):
        predict(fake_predictor(), [frames], tmp_path / "out", format="parquet")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="expected one of csv, parquet, found 'xlsx'"):
        predict(fake_predictor(), [frames], tmp_path / "out", format="xlsx")


class TestParquet:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install '.[parquet]'")

    def test_a_list_may_be_a_column_of_parquet(self, tmp_path):
        import pyarrow as pa
        from pyarrow import parquet

        frames = write_frames(tmp_path / "frames", 2)
        parquet.write_table(pa.table({"Filename": ["001.png", "000.png"], "site": [1, 2]}), tmp_path / "list.parquet")
        assert [one.source for one in of_list(tmp_path / "list.parquet", [frames]).entries] == ["001.png", "000.png"]
        parquet.write_table(pa.table({"site": [1, 2]}), tmp_path / "other.parquet")
        with pytest.raises(UsageError, match="expected the column Filename, found site"):
            of_list(tmp_path / "other.parquet", [frames])
        (tmp_path / "no.parquet").write_bytes(b"PAR1 but no more")
        with pytest.raises(UsageError, match="cannot be read as Parquet"):
            of_list(tmp_path / "no.parquet", [frames])

    def test_a_finished_run_has_parquet_in_the_place_of_its_table_with_the_same_cells(self, tmp_path):
        frames = write_frames(tmp_path / "=1+1", 3)
        (frames / "broken.png").write_bytes(b"nothing")
        for format in ("csv", "parquet"):
            predict(fake_predictor(), [frames], tmp_path / format, pixel_size="0.123456789", format=format)
        assert (tmp_path / "parquet" / PARQUET).is_file()
        assert not (tmp_path / "parquet" / TABLE).exists()
        rows = read_results(tmp_path / "parquet" / TABLE)
        assert rows == read_results(tmp_path / "csv" / TABLE)
        assert rows[0]["spacing_x_mm"] == "0.123457"
        assert (tmp_path / "parquet" / "results.json").is_file()
        # Its pictures are no frames, and another run does not replace it unasked.
        assert {entry.path.parent for entry in discover([tmp_path / "parquet"]).entries} == set()
        with pytest.raises(UsageError, match="finished run"):
            predict(fake_predictor(), [frames], tmp_path / "parquet", format="parquet")
        predict(fake_predictor(), [frames], tmp_path / "parquet", overwrite=True)
        assert not (tmp_path / "parquet" / PARQUET).exists()

    def test_numbers_are_numbers_and_what_does_not_exist_is_null(self, tmp_path):
        from pyarrow import parquet

        frames = write_frames(tmp_path / "frames", 2)
        predict(fake_predictor(), [frames], tmp_path / "out", format="parquet", overlay=False)
        table = parquet.read_table(tmp_path / "out" / PARQUET)
        kinds = {name: str(table.schema.field(name).type) for name in ("source", "index", "aop_deg", "hsd_mm")}
        assert kinds == {"source": "string", "index": "int64", "aop_deg": "double", "hsd_mm": "double"}
        assert table["hsd_mm"].to_pylist() == [None, None]

    def test_evaluate_reads_both(self, tmp_path):
        frames = write_frames(tmp_path / "frames", 3)
        for format in ("csv", "parquet"):
            predict(fake_predictor(), [frames], tmp_path / format, format=format, overlay=False)
        points = ',"(150, 61)","(80, 80)","(170, 120)"'
        names = "".join(f"{number:03}.png{points}\n" for number in range(3))
        (tmp_path / "truth.csv").write_text(f"Filename,PS1,PS2,FH1\n{names}")
        one, other = (evaluate(tmp_path / format, tmp_path / "truth.csv") for format in ("csv", "parquet"))
        assert one.figures == other.figures
        assert one.figures["mre_px_ps1"] == pytest.approx(1.0)
        assert evaluate(tmp_path / "csv", tmp_path / "parquet").figures["mre_px"] == 0.0
        assert evaluate(tmp_path / "parquet" / PARQUET, tmp_path / "csv").figures["mre_px"] == 0.0

    def test_parquet_is_written_some_rows_at_a_time(self, tmp_path):
        def peak(count):
            table = tmp_path / f"{count}.csv"
            cells = ["", "0", "256", "256", "unreadable", "no such file"]
            with ResultsWriter(table, fake_predictor().schema, resume=False) as writer:
                for number in range(count):
                    writer._append(
                        (f"{number}.png" + ",".join(cells) + "," * (len(writer.columns) - 6) + "\n").encode()
                    )
            tracemalloc.start()
            write_parquet(tmp_path / f"{count}.parquet", table)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert sum(1 for _ in iter_results(tmp_path / f"{count}.parquet")) == count
            return most

        assert peak(60_000) < 1.2 * peak(20_000)


def test_listing_and_resuming_grow_no_faster_than_the_number_of_files(tmp_path):
    """Processor time, least of three: what would be squared takes 16 times as long for four times the files."""
    folders = {}
    for count in (2000, 8000):
        folders[count] = tmp_path / str(count)
        folders[count].mkdir()
        for number in range(count):
            (folders[count] / f"{number:05}.png").touch()

    def seconds(count):
        begin = time.process_time()
        entries = discover([folders[count]]).entries
        with ResultsWriter(tmp_path / "none.csv", fake_predictor().schema, resume=True) as writer:
            writer.done = {(entry.source, 0) for entry in entries[: count // 2]}
            writer.last_source = entries[count // 2 - 1].source
            left, skipped = remaining(entries, writer)
        assert (len(left), skipped) == (count // 2 + 1, count // 2 - 1)
        return time.process_time() - begin

    least = {count: min(seconds(count) for _ in range(3)) for count in folders}
    assert least[8000] < 8 * least[2000]


def test_memory_of_a_file_in_a_listing_is_bounded(tmp_path):
    """In a process of its own: threads that other tests left behind allocate, too."""
    names = [f"{number:06}.png" for number in range(4000)]
    (tmp_path / "list.txt").write_text("\n".join(names))
    told = (
        "import sys, tracemalloc; from pathlib import Path; from aop_pose.measuring.images import of_list; "
        "listed = Path(sys.argv[1]); of_list(listed, []); tracemalloc.start(); found = of_list(listed, []); "
        "print(tracemalloc.get_traced_memory()[0], found.entries[0].path, found.entries[0].source)"
    )
    command = [sys.executable, "-c", told, str(tmp_path / "list.txt")]
    held, first, source = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert (Path(first), source) == (tmp_path / "000000.png", "000000.png")
    assert int(held) / len(names) < 1500
