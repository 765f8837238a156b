"""Rows find their true frames, whoever wrote them, and what does not fit is said."""

import numpy as np
import pytest

from aop_pose.core.results import schema_of
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import UsageError
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.grouping import every_frame_alone
from aop_pose.evaluation.match import Truth, match, truth_of_results

POINTS = ["100", "100", "0", "100", "100", "200"]
COLUMNS = ["PS1_x", "PS1_y", "PS2_x", "PS2_y", "FH1_x", "FH1_y"]


def row(source, points=POINTS, **changes):
    values = dict(zip(COLUMNS, points, strict=True))
    fixed = {"source": source, "index": "0", "width": "300", "height": "400", "status": "ok"}
    return {**fixed, **values, **changes}


def truth_of(*names, **settings):
    return Truth(names, np.tile(np.reshape(POINTS, (3, 2)).astype(float), (len(names), 1, 1)), **settings)


def test_rows_answer_by_source_in_the_order_of_the_truth():
    rows = [row("b.png", width="640"), row("a.png")]
    matched = match(rows, truth_of("a.png", "b.png"), AOP)
    assert matched.sizes[:, 0].tolist() == [300, 640]
    assert matched.predicted[1].tolist() == [[100, 100], [0, 100], [100, 200]]
    assert matched.notes == ()


@pytest.mark.parametrize(
    ("source", "name"), [("images/a.png", "a.png"), ("a.png", "images/a.png"), ("x\\a.png", "./a.png")]
)
def test_rows_answer_by_file_name_where_the_folder_differs(source, name):
    matched = match([row(source)], truth_of(name), AOP)
    assert np.isfinite(matched.predicted).all()


def test_the_same_path_goes_before_the_same_file_name():
    rows = [row("x/a.png", width="10"), row("y/a.png", width="20")]
    matched = match(rows, truth_of("y/a.png", "x/a.png"), AOP)
    assert matched.sizes[:, 0].tolist() == [20, 10]


def test_a_file_name_in_two_folders_is_not_guessed():
    rows = [row("x/a.png"), row("y/a.png"), row("b.png")]
    matched = match(rows, truth_of("a.png", "b.png"), AOP)
    assert np.isnan(matched.predicted[0]).all()
    assert matched.notes[:2] == (
        "true frames with several rows of their file name, counted as missing: 1 (a.png)",
        "rows that are not in the truth file, not scored: 2 (x/a.png, y/a.png)",
    )


@pytest.mark.parametrize("status", ["abstained", "unreadable"])
def test_a_row_that_is_not_ok_is_missing_even_where_points_stand(status):
    matched = match([row("a.png", status=status)], truth_of("a.png"), AOP)
    assert np.isnan(matched.predicted).all()
    assert matched.statuses == (status,)


def test_without_a_status_column_points_decide():
    rows = [row("a.png"), row("b.png", ["", "", "1", "2", "3", "4"])]
    for one in rows:
        del one["status"], one["index"]
    matched = match(rows, truth_of("a.png", "b.png"), AOP)
    assert matched.statuses == ("ok", "abstained")


def test_an_ok_row_without_a_point_is_missing_and_said():
    matched = match([row("a.png", ["", *POINTS[1:]])], truth_of("a.png"), AOP)
    assert np.isnan(matched.predicted).all()
    assert matched.notes == ("rows that are ok but lack a point, counted as missing: 1 (a.png)",)


def test_frames_without_rows_and_rows_without_frames_are_said():
    rows = [row("a.png"), row("x.png"), row("film.gif"), row("film.gif", index="1")]
    matched = match(rows, truth_of("a.png", "b.png"), AOP)
    assert matched.statuses == ("ok", "no row")
    assert matched.notes[:3] == (
        "true frames without a row, counted as missing: 1",
        "rows that are not in the truth file, not scored: 2 (x.png, film.gif)",
        "later frames of a cine (index above 0), not scored: 1",
    )


def test_a_missing_frame_of_unknown_size_takes_the_largest_known_one():
    rows = [
        row("a.png", width="100", height="200"),
        row("b.png"),
        row("c.png", [""] * 6, status="unreadable", width=""),
    ]
    matched = match(rows, truth_of("a.png", "b.png", "c.png"), AOP)
    assert matched.sizes[2].tolist() == [300, 400]
    assert matched.notes == ("missing frames of unknown size, taken as 300x400, the largest of the others: 1",)


def test_a_stated_angle_that_is_not_that_of_the_points_is_said_and_not_scored():
    rows = [row("a.png", aop_deg="90.05"), row("b.png", aop_deg="91")]
    matched = match(rows, truth_of("a.png", "b.png", stated={"aop_deg": [np.nan, 90.2]}), AOP)
    assert matched.notes == (
        "truth: AoP is more than 0.1° from the angle of the points, which is the one scored: 1 (b.png)",
        "results: aop_deg is more than 0.1° from the angle of the points, which is the one scored: 1 (b.png)",
    )


def test_no_shared_name_shows_three_of_each():
    rows = [row(f"r{number}.png") for number in range(4)]
    with pytest.raises(UsageError, match=r"r0.png, r1.png, r2.png, …; truth has t0.png, t1.png; give") as caught:
        match(rows, truth_of("t0.png", "t1.png"), AOP)
    assert caught.value.exit_code == 2


def test_a_frame_twice_in_the_results_is_an_error():
    with pytest.raises(UsageError, match=r"several for a.png"):
        match([row("a.png"), row("./a.png")], truth_of("a.png"), AOP)


def test_a_frame_twice_in_the_truth_is_an_error():
    with pytest.raises(UsageError, match=r"1 twice or more \(a.png\)"):
        truth_of("a.png", "b.png", "a.png")


def test_an_empty_truth_is_an_error():
    with pytest.raises(UsageError, match="at least one frame"):
        Truth((), np.empty((0, 3, 2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PS2_x": "left"}, "results line 2, PS2_x: expected a number or nothing, found 'left'"),
        ({"status": "fine"}, "results line 2: expected status ok, abstained, unreadable, found 'fine'"),
    ],
)
def test_a_value_that_does_not_fit_names_its_line(changes, message):
    with pytest.raises(UsageError) as caught:
        match([row("a.png", **changes)], truth_of("a.png"), AOP)
    assert str(caught.value) == message


def test_the_columns_tell_the_schema():
    assert schema_of([row("a.png")]) is AOP
    assert schema_of([{"source": "a", **{f"{point}_{axis}": "1" for point in HEAD.points for axis in "xy"}}]) is HEAD
    with pytest.raises(UsageError, match=r"found Filename, PS1; give a results\.csv"):
        schema_of([{"Filename": "a.png", "PS1": "(1, 2)"}])
    with pytest.raises(UsageError, match="found no row"):
        schema_of([])


def test_another_results_table_takes_the_place_of_the_truth():
    rows = [row("a.png", device="X", aop_deg="90"), row("b.png", [""] * 6, status="abstained"), row("c.png", index="1")]
    truth = truth_of_results(rows, AOP)
    assert truth.names == ("a.png",)
    assert truth.coords[0].tolist() == [[100, 100], [0, 100], [100, 200]]
    assert truth.sizes.tolist() == [[300, 400]]
    assert truth.columns["device"] == ("X",)
    matched = match([row("a.png", model="m@1")], truth, AOP)
    assert matched.notes == ("rows of the second table that are not measured, or later frames of a cine, left out: 2",)
    assert matched.models == ("m@1",)


@pytest.mark.parametrize("points", [["nan", *POINTS[1:]], ["", *POINTS[1:]], ["inf", *POINTS[1:]]])
def test_a_second_table_without_a_whole_frame_is_refused(points):
    with pytest.raises(UsageError, match=r"at least one measured frame .* found 0 of 1"):
        truth_of_results([row("a.png", points)], AOP)


def test_a_cell_of_the_second_table_that_is_no_number_is_named():
    with pytest.raises(UsageError, match="truth line 2, PS1_x: expected a number"):
        truth_of_results([row("a.png", ["left", *POINTS[1:]])], AOP)


@pytest.mark.parametrize("nan", ["nan", "inf", "-inf"])
def test_a_point_that_is_not_finite_is_missing(nan):
    matched = match([row("a.png", [nan, *POINTS[1:]])], truth_of("a.png"), AOP)
    assert np.isnan(matched.predicted).all()
    assert matched.notes == ("rows that are ok but lack a point, counted as missing: 1 (a.png)",)


def test_a_picture_of_two_sizes_is_refused():
    with pytest.raises(UsageError, match=r"a.png is 300x400 by the results, 256x256 by the truth"):
        match([row("a.png")], truth_of("a.png", sizes=[[256, 256]]), AOP)
    with pytest.raises(UsageError, match=r"found 1 with two: b.png is 300x400 by the results, 600x800 by the picture"):
        match([row("a.png"), row("b.png")], truth_of("a.png", "b.png"), AOP, np.array([[300, 400], [600, 800.0]]))


def test_a_size_that_no_row_states_is_that_of_the_picture():
    rows = [row("a.png", width="", height="")]
    matched = match(rows, truth_of("a.png"), AOP, np.array([[300.0, 400.0]]))
    assert matched.sizes.tolist() == [[300, 400]]


def test_true_points_outside_their_picture_are_said():
    matched = match([row("a.png", width="150", height="150")], truth_of("a.png"), AOP)
    assert matched.notes[0].startswith("frames with true points outside their picture: 1 (a.png); labels drawn")


def test_stated_intervals_are_kept():
    matched = match([row("a.png", aop_low="80", aop_high="99.5"), row("b.png")], truth_of("a.png", "b.png"), AOP)
    assert matched.intervals["aop_deg"][0].tolist() == [80, 99.5]
    assert np.isnan(matched.intervals["aop_deg"][1]).all()


def test_an_interval_that_is_upside_down_is_none_and_is_said():
    rows = [row("a.png", aop_low="100", aop_high="80"), row("b.png", aop_low="80", aop_high="100")]
    matched = match(rows, truth_of("a.png", "b.png"), AOP)
    assert np.isnan(matched.intervals["aop_deg"][0]).all()
    assert matched.intervals["aop_deg"][1].tolist() == [80, 100]
    assert matched.notes == (
        "rows whose interval is upside down (aop_low above aop_high), taken as without one: 1 (a.png)",
    )


def test_intervals_of_every_quantity_are_read_by_its_stem_or_its_column():
    rows = [row("a.png", hsd_mm_low="10", hsd_mm_high="14")]
    assert match(rows, truth_of("a.png"), AOP).intervals["hsd_mm"].tolist() == [[10, 14]]
    assert "aop_deg" not in match([row("a.png")], truth_of("a.png"), AOP).intervals


def test_a_distance_to_an_outline_is_compared_where_both_tables_state_it():
    stated = {"hsd_px": "20", "hsd_px_low": "15", "hsd_px_high": "26"}
    rows = [row("a.png", **stated), row("b.png", status="abstained", reason="dark")]
    matched = match(rows, truth_of("a.png", "b.png", columns={"HSD_px": ("25", "30")}), AOP)
    np.testing.assert_equal(matched.read["hsd_px"], [[20, 25], [np.nan, 30]])
    assert matched.reasons == ("", "dark")
    figures = Comparison.of(matched, every_frame_alone(2), scale=800).figures
    assert (figures["hsd_mae_px"], figures["hsd_bias_px"], figures["hsd_interval_coverage"]) == (10, -10, 1)
    assert figures["hsd_mae_px_with_missing"] == (10 + 1000) / 2
    assert match(rows, truth_of("a.png", "b.png"), AOP).read == {}


@pytest.mark.parametrize("ends", [("80", ""), ("", "100"), ("-inf", "inf"), ("80", "inf")])
def test_an_interval_that_lacks_an_end_is_none_and_is_said(ends):
    matched = match([row("a.png", aop_low=ends[0], aop_high=ends[1])], truth_of("a.png"), AOP)
    assert np.isnan(matched.intervals["aop_deg"]).all()
    assert "rows whose interval lacks an end (aop_low, aop_high), taken as without one: 1 (a.png)" in matched.notes
