"""Workers of Ray give the rows of one process, whatever is killed; everything here ends within its time."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from aop_pose.core.results import as_row
from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.weights import load, shipped_phantoms
from aop_pose.io.discover import Entry
from aop_pose.io.folders import PARTS
from aop_pose.io.images import read_frames
from aop_pose.io.table import ResultsWriter, read_results
from aop_pose.measuring import runners
from aop_pose.measuring.folder import DOCUMENT, TABLE, Pictures, Presence, predict
from aop_pose.measuring.images import Frames
from aop_pose.measuring.measurer import Measurer, measure_array
from aop_pose.measuring.runners import Part, Ray, Work, parts_of, whole_file
from tests.fakes import fake_predictor, write_frames
from tests.measuring.ray_runs import LIMIT, marked_frames, ray_processes, rows_in, wait_for

ROOT = Path(__file__).resolve().parents[2]


def work_of(out, part="csv"):
    identity = runners.identity_of(fake_predictor())
    return Work(fake_predictor, identity, {}, Frames(None), Pictures(out, overlay=False), None, part)


def entries_of(folder):
    return [Entry(path, path.name) for path in sorted(folder.iterdir())]


def test_parts_hold_every_file_once_in_order_and_are_bounded_in_number():
    entries = [Entry(Path(f"{i}.png"), f"{i}.png") for i in range(1000)]
    parts = parts_of(entries)
    assert [entry for part in parts for entry in part.entries] == entries
    assert [part.behind for part in parts][-1] == 1000
    assert len(parts_of(entries, several=False)) == 1000
    many = [entries[0]] * (3 * runners.MOST_PARTS * runners.PART)
    assert len(parts_of(many)) == runners.MOST_PARTS


def test_a_part_that_is_half_written_or_of_other_files_is_made_again(tmp_path):
    entries = entries_of(write_frames(tmp_path / "frames", 3))
    work, part = work_of(tmp_path / "out"), Part(0, entries, 3)
    work.folder.mkdir(parents=True)
    file = work.measure(Measurer(fake_predictor()), part)
    assert whole_file(work.folder, part) == file
    assert whole_file(work.folder, Part(0, entries[:2], 2)) is None
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert whole_file(work.folder, part) is None
    assert not file.exists()
    assert work.measure(Measurer(fake_predictor()), part).read_bytes() == content


def test_a_part_that_keeps_ending_its_worker_is_named(tmp_path):
    work, part = work_of(tmp_path), Part(0, entries_of(write_frames(tmp_path / "frames", 2)), 2)
    work.folder.mkdir()
    for _ in range(runners.TRIES):
        work._note_try(part)
    with pytest.raises(AopPoseError, match=r"000\.png to 001\.png"):
        work.measure(Measurer(fake_predictor()), part)


def test_a_worker_of_another_version_is_refused(tmp_path):
    work = work_of(tmp_path)
    other = Work(work.opener, ("9.9", *work.identity[1:]), {}, work.kind, work.pictures, None, "csv")
    with pytest.raises(UsageError, match="install the same on every machine"):
        runners.Worker(other)


def test_rows_of_a_part_that_stand_are_not_doubled(tmp_path):
    entries = entries_of(write_frames(tmp_path / "frames", 4))
    work, part = work_of(tmp_path / "out"), Part(0, entries, 4)
    work.folder.mkdir(parents=True)
    file = work.measure(Measurer(fake_predictor()), part)
    with ResultsWriter(tmp_path / TABLE, fake_predictor().schema, resume=True) as writer:
        made = runners._entered(writer, file, part, Presence(entries))
        next(made)
        next(made)
        made.close()
    with ResultsWriter(tmp_path / TABLE, fake_predictor().schema, resume=True) as writer:
        assert [place for _, _, place in runners._entered(writer, file, part, Presence(entries))] == [3, 4]
    assert (tmp_path / TABLE).read_bytes() == file.read_bytes()


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    frames = write_frames(tmp_path / "frames", 2)
    with pytest.raises(UsageError, match=r"--runner ray: ray is not installed; pip install 'aop-pose\[ray\]'"):
        predict(fake_predictor(), [frames], tmp_path / "out", runner=Ray(fake_predictor))


def test_a_cluster_without_cpus_is_refused_instead_of_waited_for(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    empty = SimpleNamespace(is_initialized=lambda: True, cluster_resources=dict, data=None)
    monkeypatch.setitem(sys.modules, "ray", empty)
    monkeypatch.setitem(sys.modules, "ray.data", SimpleNamespace())
    with pytest.raises(UsageError, match="the cluster has 0"), runners.cluster(None):
        pass
    with pytest.raises(UsageError, match="2 workers need 1 CPUs, the cluster has 0"), runners.cluster(2):
        pass


ray_here = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install '.[ray]'")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of every run of ``ray_runs``."""
    folder = tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        [sys.executable, "-m", "tests.measuring.ray_runs", str(folder)], cwd=ROOT, capture_output=True, text=True,
        timeout=LIMIT, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def said(runs, name):
    return json.loads((runs / name / "said.json").read_text())


@ray_here
def test_rows_are_those_of_one_process_and_of_a_loop_whatever_the_number_of_workers(runs, tmp_path):
    frames, model = shipped_phantoms() / "images", load("aop-fast", threads=1)
    predict(model, [frames], tmp_path)
    table, pictures = (tmp_path / TABLE).read_bytes(), sorted(tmp_path.rglob("*.png"))
    assert pictures
    for workers in (1, 2):
        out = runs / "real_network" / f"ray{workers}"
        assert (out / TABLE).read_bytes() == table
        assert all((out / one.relative_to(tmp_path)).read_bytes() == one.read_bytes() for one in pictures)
        assert not (out / PARTS).exists()
    for row in read_results(tmp_path / TABLE):
        (frame,) = read_frames(Entry(frames / row["source"], row["source"]))
        alone = as_row(measure_array(model, frame.pixels), model.schema)
        assert {**alone, "source": row["source"]} == row


@ray_here
@pytest.mark.parametrize("name", ["parquet", "killed_worker"])
def test_parquet_and_a_killed_worker_leave_the_rows_of_one_process(runs, tmp_path, name):
    predict(fake_predictor(), [runs / name / "frames"], tmp_path, overlay=False)
    assert said(runs, name) == ""
    assert read_results(runs / name / "out" / TABLE) == read_results(tmp_path / TABLE)
    assert (runs / name / "out" / TABLE).exists() == (name != "parquet")
    assert name == "parquet" or json.loads((runs / name / "killed").read_text())


@ray_here
def test_a_file_that_ends_every_worker_is_named_and_the_rows_before_it_stand(runs):
    assert said(runs, "deadly_file") == (
        "5 workers ended while they measured 002.png to 003.png; leave the file out; run again to continue"
    )
    rows = read_results(runs / "deadly_file" / "out" / TABLE)
    assert [row["source"] for row in rows] == ["000.png", "001.png"]


@ray_here
def test_a_worker_with_other_weights_is_one_line(runs):
    assert re.fullmatch(
        r"a worker has \S+ aop-fast@\S+ onnx/f32, this process \S+ fake@00000000 onnx/f32; "
        "install the same on every machine", said(runs, "other_weights"),
    )  # fmt: skip


@ray_here
def test_files_that_go_away_end_the_run_and_do_not_become_unreadable_rows(runs):
    assert said(runs, "lost_storage").endswith("frames is gone with its files; bring it back and run again to continue")
    rows = read_results(runs / "lost_storage" / "out" / TABLE)
    assert 1 < len(rows) < 8
    assert {row["status"] for row in rows} == {"ok"}


DRIVER = """
import sys
from functools import partial
from pathlib import Path
from aop_pose.measuring import runners
from aop_pose.measuring.folder import predict
from tests.fakes import fake_predictor
from tests.measuring.ray_runs import marked_predictor
runners.PART = 2
runner = runners.Ray(partial(marked_predictor, Path(sys.argv[3])))
predict(fake_predictor(), [sys.argv[1]], sys.argv[2], overlay=False, runner=runner, workers=1)
"""


def driver(frames, out, until, **environment):
    paths = os.pathsep.join(filter(None, [environment.pop("first", ""), str(ROOT)]))
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(frames), str(out), str(until)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths, **environment},
    )  # fmt: skip


@ray_here
def test_a_killed_driver_goes_on_where_it_stopped_and_leaves_no_process(tmp_path):
    frames, on = marked_frames(tmp_path / "frames", 10, 6), tmp_path / "on"
    predict(fake_predictor(), [frames], tmp_path / "local", overlay=False)
    table, before = tmp_path / "out" / TABLE, set(ray_processes())
    with driver(frames, tmp_path / "out", on) as first:
        wait_for(lambda: first.poll() is not None or rows_in(table) > 2)
        first.kill()
    written = table.read_bytes()
    assert 2 < rows_in(table) < 11
    assert not (tmp_path / "out" / DOCUMENT).exists()
    wait_for(lambda: not set(ray_processes()) - before)
    on.touch()
    with driver(frames, tmp_path / "out", on) as second:
        said = second.communicate(timeout=LIMIT)[1]
    assert second.returncode == 0, said
    assert table.read_bytes().startswith(written[: written.rindex(b"\n") + 1])
    assert table.read_bytes() == (tmp_path / "local" / TABLE).read_bytes()


@ray_here
def test_a_worker_without_the_package_is_one_line(tmp_path):
    """Every process of Ray but the driver meets a Python in which aop_pose cannot be imported."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import sys\n"
        "if any(word.endswith('default_worker.py') for word in sys.orig_argv):\n"
        "    sys.modules['aop_pose'] = None\n"
    )
    with driver(write_frames(tmp_path / "frames", 2), tmp_path / "out", "", first=str(tmp_path / "site")) as alone:
        said = alone.communicate(timeout=LIMIT)[1]
    assert "--runner ray: a worker has no aop-pose; install the same version on every machine" in said, said
