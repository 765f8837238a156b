"""The table of pseudo-labels: a row for every frame, resumed to the same bytes, read as labels by everything else."""

import csv
import json

import attrs
import cv2
import numpy as np
import pytest
from PIL import Image

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.formats.convert import convert
from aop_pose.formats.registry import check, read_labels
from aop_pose.formats.yolo import read_yolo_pose
from aop_pose.inference.predictor import Predictor
from aop_pose.pseudo.label import Rule
from aop_pose.pseudo.run import Cut, pseudo_label, unlabelled_frames
from tests.fakes import POINTS, contract, fake_network, textured, write_frames

COLUMNS = ["Filename", "PS1", "PS2", "FH1", "AoP", "keep", "reason", "det_conf", "entropy", "cosine", "weight"]
RULE = Rule(draws=2)


def network(inputs):
    """As the shared stand-in; its points move with the picture's content, differently under every noise."""
    output = fake_network(inputs)
    output[:, 5:, 0] += 40 * (inputs[:, 0, 100:140].mean(axis=(1, 2)) - 0.5)[:, None]
    return output


def predictor(**changes):
    return Predictor(contract(**changes), network, "fake@00000000")


def run(images, out, **options):
    options = {"rule": RULE, **options}
    return pseudo_label(predictor(), unlabelled_frames(images, None, []), out, **options)


def rows(out):
    with open(out, newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        assert reader.fieldnames == COLUMNS
        return list(reader)


@pytest.fixture
def mixed(tmp_path):
    """Good frames, one of low score, a blank one, a broken one, a cine, and text."""
    folder = write_frames(tmp_path / "data" / "images", 3)
    cv2.imwrite(str(folder / "faint.png"), textured(7, first_row=10))
    cv2.imwrite(str(folder / "blank.png"), np.zeros((256, 256), np.uint8))
    (folder / "broken.png").write_bytes(b"this is no picture")
    frames = [Image.fromarray(textured(i)) for i in (1, 2)]
    frames[0].save(folder / "cine.tif", save_all=True, append_images=frames[1:])
    (folder / "notes.txt").write_text("x")
    return tmp_path / "data"


def test_every_file_has_a_row_and_a_reason_where_it_is_no_label(mixed, tmp_path):
    out = tmp_path / "pseudo.csv"
    summary = run(mixed, out)
    by_name = {row["Filename"]: row for row in rows(out)}
    assert list(by_name) == ["000.png", "001.png", "002.png", "blank.png", "broken.png", "cine.tif", "faint.png"]
    assert [row["keep"] for row in by_name.values()] == list("1110000")
    assert (summary.rows, summary.kept, summary.reasons) == (7, 3, {"other": 3, "unreadable": 1})
    assert by_name["000.png"]["reason"] == ""
    assert by_name["broken.png"]["reason"].startswith("unreadable: ")
    assert by_name["cine.tif"]["reason"].startswith("several frames in one file")
    assert by_name["blank.png"]["reason"].startswith("blank")
    assert by_name["faint.png"]["reason"].startswith("no anatomy found")
    assert by_name["faint.png"]["det_conf"]
    assert by_name["faint.png"]["PS1"] == by_name["faint.png"]["weight"] == by_name["blank.png"]["det_conf"] == ""
    assert all(0 < float(row["weight"]) < 1 and 0 < float(row["cosine"]) <= 0.5 for row in list(by_name.values())[:3])


def test_the_table_is_a_label_file(mixed, tmp_path):
    out = tmp_path / "elsewhere" / "pseudo.csv"
    run(mixed, out)
    assert check(out, mixed).findings == []
    frames = read_labels(out, mixed)
    assert [frame.name for frame in frames] == ["000.png", "001.png", "002.png"]
    np.testing.assert_allclose(frames[0].keypoints.coords, POINTS, atol=25)
    converted = convert(out, tmp_path / "yolo", "yolo-pose", data=mixed)
    assert (converted.written, converted.skipped) == (3, [])
    read = {frame.path.stem: frame.keypoints.coords for frame in read_yolo_pose(tmp_path / "yolo")}
    np.testing.assert_allclose(read["001"], frames[1].keypoints.coords, atol=0.01)


def test_what_is_no_number_of_kept_rows_is_named(mixed, tmp_path):
    out = tmp_path / "pseudo.csv"
    run(mixed, out)
    out.write_text(out.read_text().replace(",1,,", ",yes,,", 1))
    with pytest.raises(UsageError, match=r"pseudo\.csv:2: keep: expected 0 or 1, found 'yes'"):
        read_labels(out, mixed)
    assert "keep: expected 0 or 1" in str(check(out, mixed).findings[0])


def test_a_point_outside_the_picture_is_no_label(tmp_path):
    def beyond(inputs):
        output = fake_network(inputs)
        output[:, 9, 0] = 300
        return output

    frames = unlabelled_frames(write_frames(tmp_path / "frames", 1), None, [])
    with pytest.raises(AopPoseError, match=r"no frame of 1 was kept \(1 other\)"):
        pseudo_label(Predictor(contract(), beyond, "x@0"), frames, tmp_path / "p.csv", rule=RULE)
    (row,) = rows(tmp_path / "p.csv")
    assert row["reason"] == "a point lies outside the 256x256 picture"
    assert row["FH1"].startswith("(300, ")


def test_uniform_weights_rank_before_they_are_one(tmp_path):
    folder = write_frames(tmp_path / "frames", 4)
    plain, even = tmp_path / "plain.csv", tmp_path / "even.csv"
    weighed, uniform = run(folder, plain, cut=Cut(quantile=0.3)), run(folder, even, cut=Cut(quantile=0.3, uniform=True))
    kept = [float(row["weight"]) for row in rows(plain) if row["keep"] == "1"]
    assert weighed.mean_weight == pytest.approx(sum(kept) / len(kept))
    assert 0 < weighed.mean_weight < 1
    assert uniform.mean_weight == 1
    dropped = 0
    for before, after in zip(rows(plain), rows(even), strict=True):
        dropped += before["keep"] == "0"
        assert after == (before if before["keep"] == "0" else {**before, "weight": "1"})
    assert dropped


class Stopped(Exception):
    """Raised inside a run, as an interruption would be."""


def stop_after(count):
    def on_row(row, done):
        if done == count:
            raise Stopped

    return on_row


@pytest.mark.parametrize("count", [1, 5, 11])
@pytest.mark.parametrize("torn", [0, 7])
def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, count, torn):
    folder, out = write_frames(tmp_path / "frames", 12), tmp_path / "pseudo.csv"
    cut = Cut(quantile=0.3)
    run(folder, tmp_path / "straight.csv", cut=cut)
    with pytest.raises(Stopped):
        run(folder, out, cut=cut, on_row=stop_after(count))
    assert not out.exists()
    hidden = tmp_path / ".pseudo.csv.rows"
    hidden.write_bytes(hidden.read_bytes()[: len(hidden.read_bytes()) - torn])
    labelled_again = []
    run(folder, out, cut=cut, on_row=lambda row, done: labelled_again.append(done))
    assert labelled_again == list(range(count + 1 - bool(torn), 13))
    assert out.read_bytes() == (tmp_path / "straight.csv").read_bytes()
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"frames", "straight.csv", "straight.run.json", "pseudo.csv", "pseudo.run.json"}


def test_rows_of_another_network_or_rule_are_not_continued(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 4), tmp_path / "pseudo.csv"
    with pytest.raises(Stopped):
        run(folder, out, on_row=stop_after(2))
    with pytest.raises(UsageError, match=r"draws was 2\); add --overwrite"):
        run(folder, out, rule=Rule(draws=3))
    other = attrs.evolve(predictor(), model_id="other@1")
    with pytest.raises(UsageError, match="model was fake@00000000"):
        pseudo_label(other, unlabelled_frames(folder, None, []), out, rule=RULE)
    assert run(folder, out, rule=Rule(draws=3), overwrite=True).rows == 4


def test_a_finished_table_is_replaced_only_when_asked(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 2), tmp_path / "pseudo.csv"
    run(folder, out)
    before = out.read_bytes()
    with pytest.raises(UsageError, match="exists; choose another name or add --overwrite"):
        run(folder, out, rule=Rule(draws=2, seed=1))
    assert out.read_bytes() == before
    run(folder, out, rule=Rule(draws=2, seed=1), overwrite=True)
    assert out.read_bytes() != before


@pytest.mark.parametrize("name", ["pseudo.txt", "frames"])
def test_out_must_be_a_csv(tmp_path, name):
    with pytest.raises(UsageError, match=r"expected a file name that ends in \.csv"):
        run(write_frames(tmp_path / "frames", 1), tmp_path / name)


def test_thresholds_keep_the_surest(tmp_path):
    folder = write_frames(tmp_path / "frames", 10)
    run(folder, tmp_path / "all.csv")
    weights = {row["Filename"]: float(row["weight"]) for row in rows(tmp_path / "all.csv")}
    median = sorted(weights.values())[5]
    for name, cut in (("above", Cut(above=median)), ("quantile", Cut(quantile=0.5))):
        assert run(folder, tmp_path / f"{name}.csv", cut=cut).reasons == {"weight": 5}
        for row in rows(tmp_path / f"{name}.csv"):
            assert row["keep"] == str(int(weights[row["Filename"]] >= median))
            assert row["PS1"]
            assert row["reason"].startswith("weight 0.") == (row["keep"] == "0")
    with pytest.raises(UsageError, match="found both"):
        Cut(above=0.5, quantile=0.5)


def test_nothing_kept_is_a_failure_with_a_table_that_says_why(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 2), tmp_path / "pseudo.csv"
    with pytest.raises(AopPoseError, match=r"no frame of 2 was kept \(2 weight\)"):
        run(folder, out, cut=Cut(above=1))
    assert [row["keep"] for row in rows(out)] == ["0", "0"]


def test_the_run_is_told_beside_the_table(tmp_path):
    run(write_frames(tmp_path / "frames", 2), tmp_path / "pseudo.csv", facts={"device": "cpu"})
    told = json.loads((tmp_path / "pseudo.run.json").read_text())
    assert (told["model"], told["device"], told["confidence"], told["draws"]) == ("fake@00000000", "cpu", "steady", 2)
    assert (told["rows"], told["kept"], told["noise"]["rotation"]) == (2, 2, 6.0)
    assert told["sizes"] == ["256x256"]


def test_a_frame_labelled_since_the_interruption_has_no_row(tmp_path):
    folder, out = write_frames(tmp_path / "frames", 4), tmp_path / "pseudo.csv"
    with pytest.raises(Stopped):
        run(folder, out, on_row=stop_after(3))
    (tmp_path / "frames" / "labels.csv").write_text("Filename\n001.png\n")
    pseudo_label(predictor(), unlabelled_frames(folder, None, ["labels.csv"]), out, rule=RULE)
    assert [row["Filename"] for row in rows(out)] == ["000.png", "002.png", "003.png"]
