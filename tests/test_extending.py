"""Additions from another package, each by what docs/design.md says it costs, used through the real command line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes import textured
from tests.tiny_artefact import write_heatmap_artefact
from tests.trust.test_intervals import calibration

POINTS = np.array([(40, 20), (15, 25), (45, 50)], float)

QUANTITY = """
from aop_pose.core.schema import Quantity, length
from aop_pose.core.schemas import AOP

AOP.add(Quantity("ps_length", "px", "PS length", length, ("PS1", "PS2"), interval="ps_length_px", mark="line"))
"""

SCHEMA = """
from aop_pose.core.schema import Quantity, Schema, length, register

SPINE = register(
    Schema("spine", ("A", "B"), (("A", "B"),), quantities=(Quantity("gap", "px", "Gap", length, ("A", "B")),))
)
"""

ITS_CSV = """
import numpy as np

from aop_pose.formats.csv_rows import number
from aop_pose.formats.format import TableFormat
from aop_pose.formats.registry import register
from spine import SPINE


class SpineCsv(TableFormat):
    name, kind, looks_for, schema = "spine-csv", "spine", "a CSV with Filename,A_x,A_y,B_x,B_y", SPINE
    columns = ("Filename", *SPINE.coordinate_columns)

    def coords(self, row, schema):
        return np.array([number(row.cells[column], column) for column in self.columns[1:]]).reshape(2, 2)

    def cells(self, label):
        return [str(value) for value in label.points.ravel()]


register(SpineCsv())
"""

FORMAT = """
import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.formats.csv_rows import number
from aop_pose.formats.format import TableFormat
from aop_pose.formats.registry import register


class Flat(TableFormat):
    name, kind, looks_for, schema = "flat", "points", "a CSV with Filename,PS1_x,...", AOP
    columns = ("Filename", *AOP.coordinate_columns)

    def coords(self, row, schema):
        return np.array([number(row.cells[column], column) for column in self.columns[1:]]).reshape(3, 2)

    def cells(self, label):
        return [f"{value:g}" for value in label.points.ravel()]


register(Flat())
"""

PIPELINE = """
from aop_pose.pipelines import register

register("mean", "mean_points:MeanPoints")
"""

ITS_CLASS = '''
"""A pipeline that answers the mean of its labels, whatever it sees."""

import json
from pathlib import Path

import numpy as np

from aop_pose.core.schemas import AOP
from aop_pose.formats.registry import read_labels
from aop_pose.formats.label import resolve
from aop_pose.inference.predictor import Contract, Predictor
from aop_pose.pipelines.config import Config
from aop_pose.pipelines.pipeline import LabelledOptions, Pipeline, Stage
from aop_pose.pipelines.run import RunFolder


class Settings(Config):
    image_size: int = 64


class MeanPoints(Pipeline):
    name, packages, config, preset = "mean", (), Settings, "fast"
    stages = {"train": Stage(LabelledOptions)}

    def fit(self, stage, job, config, options):
        labels = read_labels(resolve(job.labels, job.data), job.data)
        shares = [label.points / max(label.size) for label in labels]
        facts = {"seed": job.seed, "stage": stage, "schema": AOP.name}
        run = RunFolder.open(job.out, self.name, config, facts, job.resume)
        (job.out / "mean.json").write_text(json.dumps(np.mean(shares, axis=0).tolist()))
        run.save(finished=True)
        return run.record

    def trained_predictor(self, path, device):
        mean = np.array(json.loads((Path(path) / "mean.json").read_text()), np.float32) * 64
        contract = Contract(
            name="mean", schema="aop", head="coordinates", image_size=64, threshold=0, decode="direct", training_run={}
        )
        return Predictor(contract, lambda inputs: np.repeat(mean[None], len(inputs), axis=0), "mean@0")

    def export(self, path, out, threshold=None, decode=None):
        raise NotImplementedError
'''


@pytest.fixture
def added(tmp_path):
    """Installs a toy package, as pip would: its files and the entry points that name its modules."""

    def install(**files):
        site = tmp_path / "site"
        about = site / "toy-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        modules = [name for name in files if not name.startswith("_")]
        (about / "entry_points.txt").write_text("[aop_pose]\n" + "".join(f"{name} = {name}\n" for name in modules))
        for name, text in files.items():
            (site / f"{name.removeprefix('_')}.py").write_text(text)
        return site

    return install


@pytest.fixture
def run(tmp_path):
    """The command in a process of its own that sees the toy package."""

    def command(site, *words):
        root = Path(__file__).resolve().parents[1]
        paths = os.pathsep.join([str(site), str(root)])
        done = subprocess.run(
            [sys.executable, "-m", "aop_pose", *map(str, words)], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "160"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return command


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(textured(number)[:64, :64]).save(folder / f"{number}.png")
    return folder


def rows_of(table):
    with open(table, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_quantity_has_a_column_an_interval_an_overlay_and_a_row_in_the_report(tmp_path, added, run, frames):
    site = added(ps_length=QUANTITY)
    scores = calibration().quantities["aop_deg"]
    both = calibration().model_copy(update={"quantities": {"ps_length": scores}})
    artefact = write_heatmap_artefact(tmp_path / "tiny.onnx", POINTS, calibration=json.loads(both.model_dump_json()))
    run(site, "predict", frames, "--weights", artefact, "--out", "out", "--overlay")
    row = rows_of(tmp_path / "out" / "results.csv")[0]
    true = np.hypot(25, 5)
    assert float(row["ps_length_px"]) == pytest.approx(true, abs=0.5)
    assert float(row["ps_length_px_low"]) < true < float(row["ps_length_px_high"])
    assert list(row)[list(row).index("model") + 1 :][:2] == ["ps_length_px_low", "ps_length_px_high"]
    (tmp_path / "truth.csv").write_text(
        "Filename,PS1,PS2,FH1\n" + "".join(f'{n}.png,"(40, 20)","(10, 25)","(45, 50)"\n' for n in range(3))
    )
    said = run(site, "evaluate", "out", "truth.csv", "--out", "ev")
    metrics = json.loads((tmp_path / "ev" / "metrics.json").read_text())
    assert metrics["ps_length_mae_px"] == pytest.approx(np.hypot(30, 5) - true, abs=0.5)
    assert "PS length" in said
    assert "PS length" in (tmp_path / "ev" / "report.html").read_text()


def test_a_schema_with_its_own_csv_is_measured_and_evaluated(tmp_path, added, run, frames):
    site = added(spine=SCHEMA, spine_csv=ITS_CSV)
    artefact = write_heatmap_artefact(tmp_path / "tiny.onnx", POINTS[:2], schema="spine")
    run(site, "predict", frames, "--weights", artefact, "--out", "out")
    row = rows_of(tmp_path / "out" / "results.csv")[0]
    assert float(row["gap_px"]) == pytest.approx(np.hypot(25, 5), abs=0.5)
    assert (tmp_path / "out" / "overlays" / "0.png").is_file()
    header = "Filename,A_x,A_y,B_x,B_y\n"
    (frames / "labels.csv").write_text(header + "".join(f"{n}.png,40,20,10,25\n" for n in range(3)))
    assert "3 rows, no finding" in run(site, "dataset", "check", frames / "labels.csv")
    said = run(site, "evaluate", "out", frames / "labels.csv", "--out", "ev")
    metrics = json.loads((tmp_path / "ev" / "metrics.json").read_text())
    assert metrics["gap_mae_px"] == pytest.approx(np.hypot(30, 5) - np.hypot(25, 5), abs=0.5)
    assert "Gap" in said


def test_a_label_format_is_read_written_and_checked(tmp_path, added, run, frames):
    site = added(flat=FORMAT)
    labels = "Filename,PS1,PS2,FH1\n" + "".join(f'{n}.png,"(40, 20)","(15, 25)","(45, 50)"\n' for n in range(3))
    (frames / "labels.csv").write_text(labels)
    run(site, "dataset", "convert", frames, "there", "--to", "flat")
    assert rows_of(tmp_path / "there" / "labels.csv")[0]["PS2_x"] == "15"
    assert "no finding" in run(site, "dataset", "check", tmp_path / "there")
    run(site, "dataset", "convert", "there", "back", "--from", "flat", "--to", "iugc")
    assert [row["PS1"] for row in rows_of(tmp_path / "back" / "labels.csv")] == ["(40, 20)"] * 3
    artefact = write_heatmap_artefact(tmp_path / "tiny.onnx", POINTS)
    run(site, "predict", frames, "--weights", artefact, "--out", "out")
    run(site, "evaluate", "out", tmp_path / "there" / "labels.csv", "--out", "ev")
    assert json.loads((tmp_path / "ev" / "metrics.json").read_text())["mre_px"] == pytest.approx(0, abs=0.5)


def test_a_pipeline_trains_and_its_run_measures(tmp_path, added, run, frames):
    site = added(toy_pipeline=PIPELINE, _mean_points=ITS_CLASS)
    labels = "Filename,PS1,PS2,FH1\n" + "".join(f'{n}.png,"(40, 20)","(15, 25)","(45, 50)"\n' for n in range(3))
    (frames / "labels.csv").write_text(labels)
    (site / "presets").mkdir()
    (site / "presets" / "fast.yaml").write_text("image_size: 64\n")
    assert "mean" in run(site, "info")
    run(site, "train", "--method", "mean", "--data", frames, "--out", "run")
    run(site, "predict", frames, "--weights", "run", "--out", "out")
    row = rows_of(tmp_path / "out" / "results.csv")[0]
    assert (row["status"], float(row["PS2_x"])) == ("ok", pytest.approx(15, abs=0.6))


def test_an_addition_that_cannot_be_imported_is_named(tmp_path, added, frames):
    site = added(broken="raise RuntimeError('not today')\n")
    done = subprocess.run(
        [sys.executable, "-m", "aop_pose", "predict", str(frames), "--out", str(tmp_path / "out")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).resolve().parents[1])])},
    )  # fmt: skip
    assert done.returncode == 2
    assert "the addition broken (broken) cannot be imported (RuntimeError: not today)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_name_is_registered_once():
    from aop_pose.core.schema import Quantity, length, register
    from aop_pose.core.schemas import AOP
    from aop_pose.formats.iugc import IUGC
    from aop_pose.formats.registry import register as register_format

    before = AOP.quantities
    with pytest.raises(ValueError, match="schema aop: expected each quantity once, found aop_deg twice"):
        AOP.add(Quantity("aop", "deg", "Again", length, ("PS1", "PS2")))
    with pytest.raises(ValueError, match="has points PS1, PS2, FH1; found 'PS3'"):
        AOP.add(Quantity("new", "px", "New", length, ("PS1", "PS3")))
    assert AOP.quantities is before
    with pytest.raises(ValueError, match="schema aop: expected a name that is free"):
        register(AOP)
    with pytest.raises(ValueError, match="format iugc: expected a name that is free"):
        register_format(IUGC)
