"""Frames -> rows: every frame has one, an interrupted run loses none, and nothing incomplete passes for finished."""

import json
import tracemalloc

import attrs
import cv2
import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.inference.engine import Engine
from aop_pose.io.table import read_results
from aop_pose.measuring.folder import DOCUMENT, TABLE, predict
from aop_pose.measuring.measurer import measure_array
from tests.fakes import POINTS, fake_predictor, textured, write_frames


def run(sources, out, **options):
    return predict(fake_predictor(), sources, out, **options)


def test_points_and_angle_reach_the_table(tmp_path):
    run([write_frames(tmp_path / "frames", 3)], tmp_path / "out")
    rows = read_results(tmp_path / "out" / TABLE)
    assert [row["source"] for row in rows] == ["000.png", "001.png", "002.png"]
    assert [row["status"] for row in rows] == ["ok"] * 3
    np.testing.assert_allclose([float(rows[0][c]) for c in ("PS1_x", "PS1_y", "FH1_x")], [150, 60, 170], atol=1e-3)
    u, v = POINTS[1] - POINTS[0], POINTS[2] - POINTS[0]
    expected = np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))
    assert float(rows[0]["aop_deg"]) == pytest.approx(expected, abs=1e-3)
    assert rows[0]["hsd_px"] == ""
    assert {path.name for path in (tmp_path / "out").iterdir()} == {TABLE, DOCUMENT, "overlays", "contact_sheet.png"}
    assert len(list((tmp_path / "out" / "overlays").glob("*.png"))) == 3


def test_points_are_in_pixels_of_the_original_frame(tmp_path):
    """A frame of twice the size: an input's point (x, y) is ((x + 0.5) * 2 - 0.5) there."""
    cv2.imwrite(str(tmp_path / "big.png"), textured(1, 512, 512))
    run([tmp_path / "big.png"], tmp_path / "out", overlay=False)
    row = read_results(tmp_path / "out" / TABLE)[0]
    assert float(row["PS1_x"]) == pytest.approx(150.5 * 2 - 0.5)
    assert (row["width"], row["height"]) == ("512", "512")


def test_a_bad_file_has_a_row_and_the_rest_goes_on(tmp_path):
    folder = write_frames(tmp_path / "frames", 2)
    (folder / "001a.png").write_bytes(b"this is no picture")
    (folder / "notes.txt").write_text("x")
    summary = run([folder], tmp_path / "out", overlay=False)
    rows = read_results(tmp_path / "out" / TABLE)
    assert [row["status"] for row in rows] == ["ok", "ok", "unreadable"]
    assert rows[2]["reason"]
    assert rows[2]["width"] == rows[2]["aop_deg"] == ""
    assert (summary.counts, summary.ignored) == ({"ok": 2, "unreadable": 1}, 1)


@pytest.mark.parametrize("value", [0, 114, 255])
def test_a_blank_frame_is_never_measured(tmp_path, value):
    cv2.imwrite(str(tmp_path / "blank.png"), np.full((256, 256), value, np.uint8))
    run([tmp_path / "blank.png"], tmp_path / "out", overlay=False)
    row = read_results(tmp_path / "out" / TABLE)[0]
    assert row["status"] == "abstained"
    assert row["aop_deg"] == row["PS1_x"] == ""


def test_a_low_score_abstains_and_says_so(tmp_path):
    cv2.imwrite(str(tmp_path / "faint.png"), textured(0, first_row=10))
    run([tmp_path / "faint.png"], tmp_path / "out", overlay=False)
    row = read_results(tmp_path / "out" / TABLE)[0]
    assert (row["status"], row["aop_deg"]) == ("abstained", "")
    assert "no anatomy" in row["reason"]


def test_a_point_outside_the_picture_is_not_measured(tmp_path):
    """Letterboxed to 64 of 256 rows, the fake points lie above and below this frame."""
    cv2.imwrite(str(tmp_path / "wide.png"), textured(0, 64, 256, first_row=200))
    predict(fake_predictor(threshold=0.1), [tmp_path / "wide.png"], tmp_path / "out", overlay=False)
    row = read_results(tmp_path / "out" / TABLE)[0]
    assert (row["status"], row["aop_deg"]) == ("abstained", "")
    assert row["reason"].startswith("outside the picture: PS1, PS2")
    assert row["PS1_x"] != ""


def test_the_document_holds_the_same_rows_typed(tmp_path):
    run([write_frames(tmp_path / "frames", 2)], tmp_path / "out", facts={"device": "cpu"})
    document = json.loads((tmp_path / "out" / DOCUMENT).read_text())
    rows = read_results(tmp_path / "out" / TABLE)
    assert document["run"]["device"] == "cpu"
    assert document["run"]["model"] == "fake@00000000"
    assert [row["aop_deg"] for row in document["results"]] == [float(row["aop_deg"]) for row in rows]
    assert document["results"][0]["hsd_mm"] is None


class Stopped(Exception):
    """Raised inside a run, as an interruption would be."""


def stop_after(rows):
    seen = []

    def on_row(result, files_done):
        seen.append(result.source)
        if len(seen) == rows:
            raise Stopped

    return on_row


@pytest.mark.parametrize("rows", [1, 3, 10, 20])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, rows):
    folder, out = write_frames(tmp_path / "frames", 20), tmp_path / "out"
    run([folder], tmp_path / "straight")
    with pytest.raises(Stopped):
        run([folder], out, batch=4, on_row=stop_after(rows))
    assert not (out / DOCUMENT).exists()
    assert len(read_results(out / TABLE)) == rows
    run([folder], out, batch=4)
    assert (out / TABLE).read_bytes() == (tmp_path / "straight" / TABLE).read_bytes()
    assert len(list((out / "overlays").glob("*.png"))) == 20


def test_a_torn_last_line_is_written_again(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 6), tmp_path / "out"
    run([folder], tmp_path / "straight", overlay=False)
    with pytest.raises(Stopped):
        run([folder], out, overlay=False, on_row=stop_after(3))
    table = out / TABLE
    table.write_bytes(table.read_bytes()[:-9])
    run([folder], out, overlay=False)
    assert table.read_bytes() == (tmp_path / "straight" / TABLE).read_bytes()


def test_frames_that_were_added_since_the_interruption_have_rows(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 6), tmp_path / "out"
    with pytest.raises(Stopped):
        run([folder], out, overlay=False, on_row=stop_after(3))
    cv2.imwrite(str(folder / "000a.png"), textured(9))
    run([folder], out, overlay=False)
    names = [row["source"] for row in read_results(out / TABLE)]
    assert sorted(names) == ["000.png", "000a.png", *(f"00{i}.png" for i in range(1, 6))]


def test_a_folder_inside_the_source_is_not_measured_again(tmp_path):
    folder = write_frames(tmp_path / "frames", 6)
    out = folder / "out"
    with pytest.raises(Stopped):
        run([folder], out, on_row=stop_after(3))
    assert run([folder], out).counts == {"ok": 6}
    assert run([folder], out, overwrite=True).counts == {"ok": 6}
    assert run([folder], folder).counts == {"ok": 6}
    assert run([folder], folder, overwrite=True).counts == {"ok": 6}


def test_a_cine_is_taken_up_in_its_middle(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(textured(i)) for i in range(7)]
    frames[0].save(tmp_path / "cine.tif", save_all=True, append_images=frames[1:])
    out = tmp_path / "out"
    with pytest.raises(Stopped):
        run([tmp_path / "cine.tif"], out, batch=2, overlay=False, on_row=stop_after(3))
    run([tmp_path / "cine.tif"], out, batch=2, overlay=False)
    assert [row["index"] for row in read_results(out / TABLE)] == [str(i) for i in range(7)]


def test_a_finished_folder_is_kept_unless_told(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 2), tmp_path / "out"
    run([folder], out, overlay=False)
    before = (out / TABLE).read_bytes()
    with pytest.raises(UsageError, match="finished"):
        run([folder], out, overlay=False)
    assert (out / TABLE).read_bytes() == before
    assert run([folder], out, overlay=False, overwrite=True).rows == 2


def test_a_run_begun_with_other_weights_is_not_continued(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 4), tmp_path / "out"
    with pytest.raises(Stopped):
        run([folder], out, overlay=False, on_row=stop_after(2))
    other = attrs.evolve(fake_predictor(), model_id="other@11111111")
    with pytest.raises(UsageError, match=r"fake@00000000.*--overwrite"):
        predict(other, [folder], out, overlay=False)


def test_a_table_of_unknown_origin_is_not_continued(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 1), tmp_path / "out"
    out.mkdir()
    (out / TABLE).write_text("my,own,table\n1,2,3\n")
    with pytest.raises(UsageError):
        run([folder], out, overlay=False)
    assert (out / TABLE).read_text().startswith("my,own")


def test_no_frames_writes_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no frames"):
        run([tmp_path / "empty"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_volumes_without_weights_are_named(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii.gz").touch()
    (tmp_path / "in" / "notes.txt").touch()
    with pytest.raises(
        UsageError, match="in: 1 NIfTI volume; volumes need --schema fetal_face, or --weights of --method fetusmap"
    ):
        run([tmp_path / "in"], tmp_path / "out")


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    folder = write_frames(tmp_path / "frames", 8)
    peaks = []
    for number, names in enumerate((40, 440)):
        many = tmp_path / f"many{number}"
        many.mkdir()
        for i in range(names):
            (many / f"{i:04}.png").symlink_to(folder / f"{i % 8:03}.png")
        tracemalloc.start()
        run([many], tmp_path / f"out{number}", overlay=False, batch=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    held = 400 * 256 * 256
    assert peaks[1] - peaks[0] < held / 4, "the added frames, if all were held, would take four times that"


def test_an_array_is_measured_without_files():
    result = measure_array(fake_predictor(), textured(0))
    assert result.status == "ok"
    assert result.measurements["aop_deg"].unit == "deg"
    np.testing.assert_allclose(result.keypoints.coords, POINTS, atol=1e-5)


def test_a_damaged_table_is_measured_again_from_the_damage_on(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 6), tmp_path / "out"
    run([folder], tmp_path / "straight", overlay=False)
    with pytest.raises(Stopped):
        run([folder], out, overlay=False, on_row=stop_after(4))
    lines = (out / TABLE).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b",ok,", b",o\rk,", 1)
    (out / TABLE).write_bytes(b"".join(lines))
    (note,) = run([folder], out, overlay=False).notes
    assert note.endswith("results.csv:3 is damaged: the rows from there on are made again")
    assert (out / TABLE).read_bytes() == (tmp_path / "straight" / TABLE).read_bytes()


def test_frames_replaced_or_removed_before_a_resume_are_named(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 6), tmp_path / "out"
    with pytest.raises(Stopped):
        run([folder], out, overlay=False, on_row=stop_after(4))
    cv2.imwrite(str(folder / "000.png"), textured(40, 80, 70))
    (folder / "001.png").unlink()
    summary = run([folder], out, overlay=False)
    assert "changed or removed since their rows were written: 000.png, 001.png (2)" in summary.notes[0]
    assert json.loads((out / DOCUMENT).read_text())["run"]["changed"] == ["000.png", "001.png"]
    assert summary.rows == 6
    assert sorted(path.name for path in out.iterdir()) == ["results.csv", "results.json"]


def test_an_undisturbed_resume_has_nothing_to_say(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 4), tmp_path / "out"
    with pytest.raises(Stopped):
        run([folder], out, overlay=False, on_row=stop_after(2))
    assert run([folder], out, overlay=False).notes == ()


def test_a_second_run_into_one_folder_is_refused_while_the_first_is_at_work(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 4), tmp_path / "out"

    def second(result, done):
        with pytest.raises(UsageError, match=r"--out: another run is writing to .*out; wait until it is done"):
            run([folder], out, overlay=False, overwrite=True)

    assert run([folder], out, overlay=False, on_row=second).counts == {"ok": 4}


def test_a_run_is_not_taken_up_in_another_engine(tmp_path):
    """Its rows would be of two engines, whose last digits differ."""
    frames, out = write_frames(tmp_path / "frames", 3), tmp_path / "out"

    def stop(result, files):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([frames], out, overlay=False, on_row=stop)
    for engine, said in ((Engine("openvino"), "engine was onnx"), (Engine(precision="bf16"), "precision was f32")):
        with pytest.raises(UsageError, match=said):
            predict(attrs.evolve(fake_predictor(), engine=engine), [frames], out, overlay=False)
    run([frames], out, overlay=False)
    assert json.loads((out / DOCUMENT).read_text())["run"]["engine"] == "onnx"
