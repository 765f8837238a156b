"""Rows with gate and intervals are those of their engine, however frames are grouped; two engines agree."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.core.results import as_row
from aop_pose.geometry import SYMPHYSIS
from aop_pose.inference.weights import load, shipped_phantoms
from aop_pose.io.discover import Entry
from aop_pose.io.images import read_frames
from aop_pose.io.table import read_results
from aop_pose.measuring.folder import TABLE, predict
from aop_pose.measuring.measurer import measure_array
from aop_pose.phantom.frame import make_phantom
from aop_pose.phantom.looks import paint_out

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "psfhs" / "images"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Phantoms, some without a symphysis, which the gate withholds, and real frames where there are any."""
    folder = tmp_path_factory.mktemp("frames")
    found = [*sorted((shipped_phantoms() / "images").iterdir()), *sorted(REAL.glob("*.png"))[:6]]
    for path in found:
        (folder / path.name).write_bytes(path.read_bytes())
    for number in range(2):
        phantom = make_phantom(number, 0)
        hidden = paint_out(phantom.frame.pixels, phantom.mask == SYMPHYSIS, np.random.default_rng(number))
        cv2.imwrite(str(folder / f"hidden{number}.png"), hidden)
    return folder


def rows_of(engine, frames, out):
    """Rows in groups and one by one, which are the same bytes."""
    model = load("aop-fast", threads=1, engine=engine)
    predict(model, [frames], out / "groups", overlay=False, batch=8, workers=2)
    predict(model, [frames], out / "single", overlay=False, batch=1, workers=1)
    assert (out / "groups" / TABLE).read_bytes() == (out / "single" / TABLE).read_bytes()
    rows = read_results(out / "groups" / TABLE)
    for row in rows:
        (frame,) = read_frames(Entry(frames / row["source"], row["source"]))
        assert {**as_row(measure_array(model, frame.pixels), model.schema), "source": row["source"]} == row
    return rows


def test_onnxruntime_gives_the_same_bits_in_groups_one_by_one_and_in_a_loop(frames, tmp_path):
    rows = rows_of("onnx", frames, tmp_path)
    assert any(row["aop_low"] for row in rows) or not REAL.is_dir()
    assert any(row["reason"].startswith("withheld") for row in rows)


def test_openvino_does_too_and_withholds_the_same_frames(frames, tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed: pip install '.[openvino]'")
    one, other = (rows_of(engine, frames, tmp_path / engine) for engine in ("onnx", "openvino"))
    assert [row["status"] for row in one] == [row["status"] for row in other]
    numbers = [name for name in one[0] if name[:3] in ("PS1", "PS2", "FH1")]
    apart = [[float(a[n] or 0) - float(b[n] or 0) for n in numbers] for a, b in zip(one, other, strict=True)]
    assert np.abs(apart).max() < 0.01
