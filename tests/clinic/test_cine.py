"""The angle over a cine: numbers by hand, nothing filled in, and a video that agrees with the table."""

import csv
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.clinic.cine import Cine, Trace, best_frame, find_push, jitter, smoothed, write_cines
from aop_pose.errors import UsageError
from aop_pose.measuring.folder import predict
from tests.fakes import fake_predictor, textured
from tests.video_files import save_video

NAN = math.nan
NOTHING = "nothing was measured"


def row(index: int, aop: float | None, width: float = 10, score: float = 0.5) -> dict[str, str]:
    cells = ["", "", ""] if aop is None else [str(aop), str(aop - width / 2), str(aop + width / 2)]
    return {
        "source": "c.avi", "index": str(index), "time_s": str(index / 10), "score": str(score),
        "status": "abstained" if aop is None else "ok",
        **dict(zip(("aop_deg", "aop_low", "aop_high"), cells, strict=True)),
    }  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_missing_frame_stays_missing() -> None:
    trace = Trace.of([row(0, 100), row(1, None), row(2, 104)])
    assert np.isnan(trace.aop).tolist() == [False, True, False]
    assert trace.time.tolist() == [0, 0.1, 0.2]
    # An abstained row states no angle, whatever stands in its cells.
    assert np.isnan(Trace.of([row(0, 100) | {"status": "abstained"}]).aop[0])


def test_a_running_median_fills_nothing_in() -> None:
    values = np.array([100, 130, 104, NAN, 106, 108.0])
    np.testing.assert_array_equal(smoothed(values, 3), [115, 104, 117, NAN, 107, 107])


def test_jitter_is_the_scatter_of_the_steps() -> None:
    # Steps of 2, 2 and, behind the gap, 6: mean 10/3, deviations -4/3, -4/3, 8/3.
    assert jitter(np.array([100, 102, 104, NAN, 100, 106.0])) == pytest.approx(math.sqrt((16 + 16 + 64) / 27))
    assert math.isnan(jitter(np.array([100.0, 102])))


def test_rest_against_push_by_hand() -> None:
    rest, up = [100, 102, 101, 99], [121, 125, 124, 126, 122]
    aop = np.array([*rest, 140, 100, *up, NAN, 123, 101, 100, 102.0])
    time = np.arange(len(aop)) / 2
    push = find_push(time, aop)
    # Three in a row reach 124 (125, 124, 126); the lone 140 is no push. 102 is the least of the largest of three.
    assert (push.maximum_deg, push.count) == (124, 1)
    # Frame 6 (121, above 113) to frame 12 (123), over the missing one.
    assert (push.start_s, push.end_s, push.duration_s) == (3.0, 6.0, 3.0)
    assert push.rest_deg == np.median([*rest, 140, 100, 101, 100, 102])
    assert push.difference_deg == 124 - push.rest_deg


def test_a_held_probe_is_no_push() -> None:
    rng = np.random.default_rng(0)
    held = 110 + rng.normal(0, 2.6, 200)
    push = find_push(np.arange(200.0), held)
    assert push.count == 0
    assert math.isnan(push.difference_deg)
    assert math.isnan(push.duration_s)
    assert find_push(np.arange(2.0), np.array([100, 130.0])).count == 0
    assert math.isnan(find_push(np.arange(2.0), np.full(2, NAN)).rest_deg)


def test_two_pushes_are_counted_and_the_higher_one_is_timed() -> None:
    aop = np.array([100.0] * 4 + [120] * 4 + [100] * 4 + [130] * 4 + [100] * 4)
    push = find_push(np.arange(20.0), aop)
    assert (push.count, push.start_s, push.end_s, push.maximum_deg, push.rest_deg) == (2, 12, 15, 130, 100)


def test_the_best_frame_says_why() -> None:
    best = best_frame(Trace.of([row(0, 100, 12), row(1, 101, 8, 0.4), row(2, None), row(3, 99, 8, 0.9)]))
    assert best is not None
    assert (best.at, best.reason) == (3, "narrowest interval of 3 measured frames (8.0 degrees)")
    plain = [one | {"aop_low": "", "aop_high": ""} for one in (row(0, 100, score=0.3), row(1, 100, score=0.7))]
    best = best_frame(Trace.of(plain))
    assert best is not None
    assert (best.at, best.reason) == (1, "highest score of 2 measured frames (0.70); no intervals are stated")
    assert best_frame(Trace.of([row(0, None), row(1, None)])) is None
    assert Cine.of([row(0, None), row(1, None)]).facts["best_reason"] == NOTHING


def test_smoothing_is_shown_beside_what_was_measured_and_changes_none_of_it() -> None:
    rows = [row(at, 100 + 20 * (10 <= at < 20) + 3 * (-1) ** at) for at in range(30)]
    plain, smooth = Cine.of(rows).facts, Cine.of(rows, 5).facts
    assert {name: smooth[name] for name in plain} == plain
    assert float(smooth["smoothed_jitter_deg"]) < float(plain["jitter_deg"])
    assert "smoothed_maximum_deg" not in plain


@pytest.mark.parametrize("width", ["0", "1", "4", "-3"])
def test_a_width_that_has_no_middle_is_refused(tmp_path: Path, width: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(tmp_path), "--out", str(tmp_path / "o"), "--smooth", width]) == 2
    assert "--smooth: expected an odd number of frames from 3 on" in capsys.readouterr().err


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a cine whose frames 4 and 5 show nothing."""
    folder = tmp_path_factory.mktemp("cine")
    frames = [textured(at, first_row=10 if at in (4, 5) else 200) for at in range(9)]
    save_video(folder / "push.avi", frames, 10.0)
    predict(fake_predictor(), folder / "push.avi", folder / "out")
    assert write_cines(folder / "out", 3) == ["push@avi"]
    return folder / "out"


def test_the_table_of_a_cine_agrees_with_the_one_of_the_run(measured: Path) -> None:
    table, of_run = read(measured / "cine" / "push@avi.csv"), read(measured / "results.csv")
    for name in ("index", "time_s", "status", "aop_deg"):
        assert [one[name] for one in table] == [one[name] for one in of_run]
    assert [one["aop_smoothed_deg"] == "" for one in table] == [one["aop_deg"] == "" for one in table]
    assert [one["status"] for one in table].count("ok") == 7
    assert [one["best"] for one in table].count("1") == 1
    (summary,) = read(measured / "cine" / "summary.csv")
    assert (summary["source"], summary["frames"], summary["measured"]) == ("push.avi", "9", "7")


def test_the_video_agrees_with_the_table_frame_by_frame(measured: Path) -> None:
    table = read(measured / "cine" / "push@avi.csv")
    video = cv2.VideoCapture(str(measured / "cine" / "push@avi.webm"))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10, rel=0.01)
    shown = []
    while (found := video.read())[0]:
        shown.append(found[1])
    video.release()
    assert [one["video_frame"] for one in table] == [str(number) for number in range(len(shown))]
    from aop_pose.draw.frame import overlay_name

    drawn = [cv2.imread(str(measured / "overlays" / overlay_name("push.avi", int(one["index"])))) for one in table]
    for number, one in enumerate(table):
        height, width = drawn[number].shape[:2]
        apart = [np.abs(shown[number][:height, :width].astype(int) - picture[:height, :width]).mean()
                 for picture in drawn if picture.shape[0] >= height]  # fmt: skip
        nearest = [at for at, picture in enumerate(drawn) if picture.shape[0] >= height][int(np.argmin(apart))]
        assert nearest == number, one


def test_page_and_picture_say_what_the_table_says(measured: Path) -> None:
    page = (measured / "cine" / "push@avi.html").read_text()
    assert "Not a medical device" in page
    assert '<video src="push@avi.webm"' in page
    assert "2 not measured" in page
    drawing = ElementTree.parse(measured / "cine" / "push@avi.svg").getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"


def test_without_overlays_there_is_no_video_and_stills_are_no_cine(tmp_path: Path) -> None:
    save_video(tmp_path / "a.avi", [textured(at) for at in range(3)])
    cv2.imwrite(str(tmp_path / "b.png"), textured(0))
    predict(fake_predictor(), [tmp_path / "a.avi", tmp_path / "b.png"], tmp_path / "out", overlay=False)
    assert write_cines(tmp_path / "out") == ["a@avi"]
    assert {path.name for path in (tmp_path / "out" / "cine").iterdir()} == {
        "a@avi.csv", "a@avi.svg", "a@avi.html", "summary.csv"
    }  # fmt: skip
    assert {one["video_frame"] for one in read(tmp_path / "out" / "cine" / "a@avi.csv")} == {""}


def test_a_smoothing_without_middle_is_refused_in_python_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--smooth"):
        write_cines(tmp_path, 2)
