"""Maps of outlines and of turns behind those of the points: read as contours and probabilities, measured as HSD."""

import json

import attrs
import cv2
import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.core.stances import STANCES
from aop_pose.errors import UsageError
from aop_pose.inference.decode import encode
from aop_pose.inference.predictor import Predictor
from aop_pose.io.table import read_results
from aop_pose.measuring.folder import predict
from aop_pose.measuring.measurer import Measurer, measure_array
from tests.fakes import POINTS, contract, textured
from tests.trust.test_gate import gate  # noqa: F401

ROWS, COLUMNS = np.mgrid[:64, :64]
HEAD = ((COLUMNS * 4 - 150) / 50) ** 2 + ((ROWS * 4 - 170) / 60) ** 2 <= 1
SYMPHYSIS = ((COLUMNS * 4 - 115) / 40) ** 2 + ((ROWS * 4 - 70) / 14) ** 2 <= 1
SHOWN = np.stack([SYMPHYSIS, HEAD]).astype(np.float32)
MARK = (5, 9)
"""A bright corner of a picture that stands as it should, (row, column)."""


def model(turns: bool = True, outlines: tuple[str, ...] = ("PS", "FH"), sure: float = 0.99):
    """A network that shows the same maps whatever it sees, and tells the turn from where the bright corner is."""

    def network(inputs: np.ndarray) -> np.ndarray:
        points = encode((POINTS + 0.5) / 4 - 0.5, (64, 64), 1.5)
        answers = []
        for gray in inputs[:, 0]:
            parts = [points.astype(np.float32), SHOWN[: len(outlines)]]
            if turns:
                bright = [stance.undo((gray * 255).astype(np.uint8))[MARK] for stance in STANCES]
                shares = np.full(len(STANCES), (1 - sure) / 7, np.float32)
                shares[int(np.argmax(bright))] = sure
                parts.append(np.broadcast_to(shares[:, None, None], (len(STANCES), 64, 64)))
            answers.append(np.concatenate(parts))
        return np.stack(answers)

    promised = contract(head="heatmap", decode="subpixel", outlines=outlines, stances=turns)
    return Predictor(promised, network, "fake@1")


def picture() -> np.ndarray:
    pixels = textured(0) // 2
    pixels[MARK] = 255
    return pixels


def test_contours_are_those_of_the_maps():
    (found,) = model().find([picture()])
    assert set(found.outlines) == {"PS", "FH"}
    drawn = cv2.fillPoly(np.zeros((256, 256), np.uint8), [np.rint(found.outlines["FH"]).astype(np.int32)], 1)
    true = cv2.resize(HEAD.astype(np.float32), (256, 256), interpolation=cv2.INTER_LINEAR) > 0.5
    assert 2 * (drawn & true).sum() / (drawn.sum() + true.sum()) > 0.99
    assert found.stances.argmax() == 0


def test_contours_lie_in_pixels_of_the_original():
    (small,), (large,) = (model().find([one]) for one in (picture(), cv2.resize(picture(), (512, 512))))
    np.testing.assert_allclose(large.outlines["FH"], (small.outlines["FH"] + 0.5) * 2 - 0.5)


def test_a_structure_that_is_not_seen_has_no_contour_and_no_distance(monkeypatch):
    monkeypatch.setitem(globals(), "SHOWN", np.stack([SYMPHYSIS, np.zeros_like(HEAD)]).astype(np.float32))
    result = measure_array(model(), picture())
    assert set(result.outlines) == {"PS"}
    assert set(result.measurements) == {"aop_deg"}


def test_hsd_is_the_shortest_way_to_the_contour_in_pixels_and_millimetres():
    result = measure_array(model(), picture(), spacing=(0.2, 0.2))
    contour = result.outlines["FH"]
    nearest = np.linalg.norm(contour - result.keypoints["PS1"], axis=1).min()
    assert result.measurements["hsd_px"].value == pytest.approx(nearest, abs=0.5)
    assert result.measurements["hsd_mm"].value == pytest.approx(0.2 * result.measurements["hsd_px"].value)


@pytest.mark.parametrize("stance", STANCES, ids=lambda stance: stance.words or "upright")
@pytest.mark.parametrize("region", ["whole", "30,20,256,256"])
def test_a_turned_picture_is_measured_as_it_should_stand_with_points_as_it_was_given(stance, region):
    upright = measure_array(model(), picture())
    given = stance.apply(picture())
    if region != "whole":
        given = np.pad(given, ((20, 30), (30, 40)))
    result = measure_array(model(), given, region=region)
    assert (result.status, result.mirrored) == ("ok", stance.mirrored)
    assert result.reason == (f"the picture is {stance.words}" if stance.words else "")
    for name in ("aop_deg", "hsd_px"):
        assert result.measurements[name].value == pytest.approx(upright.measurements[name].value)
    moved = stance.points_back(upright.keypoints.coords, (256, 256))
    shift = 0 if region == "whole" else np.array([30, 20])
    np.testing.assert_allclose(result.keypoints.coords, moved + shift, atol=1e-9)
    np.testing.assert_allclose(
        result.outlines["FH"], stance.points_back(upright.outlines["FH"], (256, 256)) + shift, atol=1e-9
    )


def test_millimetres_of_a_picture_turned_by_a_quarter_are_those_of_its_axes():
    flat = measure_array(model(), picture(), spacing=(0.2, 0.3))
    given = measure_array(model(), STANCES[1].apply(picture()), spacing=(0.3, 0.2))
    assert given.measurements["hsd_mm"].value == pytest.approx(flat.measurements["hsd_mm"].value)
    assert given.measurements["aop_deg"].value == pytest.approx(flat.measurements["aop_deg"].value)


def test_a_network_that_is_not_sure_turns_nothing_back_and_says_so():
    result = measure_array(model(sure=0.6), STANCES[4].apply(picture()))
    assert (result.status, result.mirrored) == ("ok", False)
    assert result.reason == "the picture may be mirrored or turned"


def test_a_gate_withholds_what_may_be_turned_and_what_shows_nothing_in_its_own_words(gate):  # noqa: F811
    """A picture of which nobody knows how it stands may be a turned frame, or none at all."""

    def said(threshold: float) -> str:
        found = model(sure=0.6)
        changes = {"gate": gate.model_copy(update={"threshold": threshold})}
        guarded = attrs.evolve(found, contract=found.contract.model_copy(update=changes))
        result = measure_array(guarded, STANCES[4].apply(picture()))
        assert (result.status, result.measurements) == ("abstained", {})
        return result.reason

    assert said(0.0).startswith("withheld: the picture may be mirrored or turned; turn it")
    assert "(trust 0." in said(1.0)
    assert said(1.0).endswith("; or the picture is mirrored or turned")


def test_a_picture_in_which_nothing_is_found_may_be_turned():
    found = model(sure=0.6)
    strict = attrs.evolve(found, contract=found.contract.model_copy(update={"threshold": 1.0}))
    result = measure_array(strict, STANCES[4].apply(picture()))
    assert result.status == "abstained"
    assert result.reason.startswith("no anatomy found")
    assert result.reason.endswith("; or the picture is mirrored or turned")


def test_without_that_output_nothing_is_said_of_mirrors():
    assert measure_array(model(turns=False), picture()).mirrored is None


def test_upright_pictures_cost_no_further_look():
    seen = []
    base = model()

    def counting(inputs):
        seen.append(len(inputs))
        return base.network(inputs)

    counted = Predictor(base.contract, counting, "fake@1")
    Measurer(counted, gate=False).results([])
    measure_array(counted, picture())
    assert sum(seen) == 1
    measure_array(counted, STANCES[4].apply(picture()))
    assert sum(seen) == 3


def test_outlines_are_written_beside_the_table_and_become_masks(tmp_path):
    frames, out = tmp_path / "frames", tmp_path / "out"
    (frames / "a").mkdir(parents=True)
    cv2.imwrite(str(frames / "a" / "x.png"), picture())
    cv2.imwrite(str(frames / "blank.png"), np.zeros((64, 64), np.uint8))
    predict(model(), frames, out, outlines=True)
    said = json.loads((out / "outlines" / "a" / "x.json").read_text())
    assert (said["source"], said["index"], said["width"], said["height"]) == ("a/x.png", 0, 256, 256)
    assert not (out / "outlines" / "blank.json").exists()
    assert set(said["ellipse"]) == {"OFD1", "OFD2", "BPD1", "BPD2"}
    assert abs(abs(said["head_direction_deg"]) - 74) < 3
    row = read_results(out / "results.csv")[0]
    assert row["hsd_px"]
    assert row["mirrored"] == "0"
    assert run(["dataset", "convert", str(out), str(tmp_path / "masks"), "--to", "masks"]) == 0
    mask = cv2.imread(str(tmp_path / "masks" / "masks" / "x.png"), cv2.IMREAD_UNCHANGED)
    assert sorted(np.unique(mask)) == [0, 1, 2]
    head = cv2.fillPoly(np.zeros_like(mask), [np.rint(np.array(said["FH"])).astype(np.int32)], 1).astype(bool)
    assert ((mask == 2) == (head & (mask != 1))).all()


def test_masks_need_their_frames_and_say_where_to_name_them(tmp_path, capsys):
    frames, out = tmp_path / "frames", tmp_path / "out"
    frames.mkdir()
    cv2.imwrite(str(frames / "x.png"), picture())
    predict(model(), frames, out, outlines=True)
    frames.rename(tmp_path / "elsewhere")
    assert run(["dataset", "convert", str(out), str(tmp_path / "m"), "--to", "masks"]) == 2
    assert "--data" in capsys.readouterr().err
    again = [
        "dataset",
        "convert",
        str(out),
        str(tmp_path / "m"),
        "--to",
        "masks",
        "--data",
        str(tmp_path / "elsewhere"),
    ]
    assert run(again) == 0
    # A mask of another size than its picture is left out and said.
    cv2.imwrite(str(tmp_path / "elsewhere" / "x.png"), textured(1, 100, 100))
    assert run([*again[:3], str(tmp_path / "m2"), *again[4:]]) == 2
    assert "256x256" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "[]", '{"width": 9}', '{"width": 9, "height": 9, "PS": [1, 2]}', '{"width": "9", "height": 9}']
)
def test_a_damaged_file_of_outlines_is_left_out_in_a_line(tmp_path, text):
    from aop_pose.formats.format import Reading
    from aop_pose.formats.label import Skipped
    from aop_pose.formats.layouts.outlines import OUTLINES

    (tmp_path / "outlines").mkdir()
    (tmp_path / "outlines" / "x.json").write_text(text)
    (one,) = OUTLINES.read(tmp_path, Reading())
    assert isinstance(one, Skipped)
    assert "expected" in one.reason


def test_outlines_that_a_network_does_not_have_are_refused(tmp_path):
    with pytest.raises(UsageError, match="--outlines: fake@1 finds no outlines"):
        predict(model(outlines=()), tmp_path, tmp_path / "out", outlines=True)


def test_a_contract_of_another_head_promises_none():
    with pytest.raises(ValueError, match="expected the head heatmap"):
        contract(outlines=("PS",))
