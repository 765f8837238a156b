"""The figures of a comparison, against plain numpy and against what must show."""

import json

import attrs
import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.evaluation.comparison import Comparison, manifest
from aop_pose.evaluation.figures import promised
from aop_pose.evaluation.grouping import every_frame_alone, grouped_by, subset_columns
from lib.means import group_bootstrap
from tests.evaluation.comparisons import angles, comparison, comparison_of_angles


def test_the_promised_figures_stand_first_with_their_twins():
    compared = comparison(missing=(3, 40))
    first = promised(compared.errors)
    assert list(compared.figures)[: len(first)] == list(first)
    assert {name: compared.figures[name] for name in first} == first
    for name in ("mre_px", "mre_px_fh1", "mae_px", "sdr_20", "aop_mae_deg", "aop_median_deg", "aop_p95_deg"):
        assert first[f"{name}_with_missing"] is not None, name
        assert compared.estimates[name].value == pytest.approx(first[name], abs=1e-6), name


def test_the_other_figures_against_plain_numpy():
    compared = comparison()
    true, found = angles(compared.matched.truth), angles(compared.matched.predicted)
    distance = np.linalg.norm(compared.matched.truth - compared.matched.predicted, axis=-1)
    expected = {
        "sdr_5_ps2": np.mean(distance[:, 1] <= 5),
        "aop_within_5_deg": np.mean(np.abs(found - true) <= 5),
        "aop_sd_deg": np.std(found - true, ddof=1),
        "aop_loa_low_deg": np.mean(found - true) - 1.96 * np.std(found - true, ddof=1),
        "aop_pearson_r": np.corrcoef(true, found)[0, 1],
        "aop_at_120_accuracy": np.mean((true >= 120) == (found >= 120)),
        "aop_at_110_sensitivity": np.mean(found[true >= 110] >= 110),
        "aop_at_140_specificity": np.mean(found[true < 140] < 140),
    }
    for name, value in expected.items():
        assert compared.estimates[name].value == pytest.approx(value), name


def test_intervals_are_those_of_the_groups_and_wider_than_those_of_frames():
    groups = np.arange(90) // 3
    grouped, alone = comparison(groups=groups), comparison()
    error = np.abs(grouped.errors.differences["aop"])
    slow = group_bootstrap(error, groups, draws=2000)
    assert grouped.estimates["aop_mae_deg"].interval == pytest.approx((slow.low, slow.high), rel=0.05)
    assert (grouped.n_groups, alone.n_groups) == (30, 90)
    copies = comparison(groups=np.zeros(90, int))
    assert copies.withheld
    assert all(estimate.interval is None for estimate in copies.estimates.values())


def test_a_missing_frame_is_in_no_figure_but_counted_in_its_row():
    columns = {"Device": tuple("AB" * 45), "patient": tuple(map(str, range(90)))}
    compared = comparison(columns=columns, missing=(0, 2))
    first, second, *rest = compared.subsets
    assert [(s.by, s.label, s.n, s.n_missing, s.n_groups) for s in (first, second)] == [
        ("Device", "A", 45, 2, 43),
        ("Device", "B", 45, 0, 45),
    ]
    error = np.abs(compared.errors.differences["aop"])
    assert first.estimates["aop_mae_deg"].value == pytest.approx(np.nanmean(error[::2]))
    assert {subset.by for subset in rest} == {"AoP (reference)"}


def test_thirds_hold_every_frame_once():
    contrast = np.random.default_rng(1).normal(50, 5, 90)
    compared = comparison(quality=contrast, half_width=np.linspace(2, 9, 90))
    for by in ("AoP (reference)", "contrast", "stated interval, width"):
        thirds = [subset for subset in compared.subsets if subset.by == by]
        assert [subset.n for subset in thirds] == [30, 30, 30]
    few = comparison(n=8, quality=contrast[:8])
    assert few.subsets == ()
    same = comparison(half_width=5.0)
    assert {subset.by for subset in same.subsets} == {"AoP (reference)"}


def test_stated_intervals_hold_as_often_as_they_do_and_a_shuffled_calibration_shows():
    right = comparison(n=300, half_width=8.0)
    true, found = angles(right.matched.truth), angles(right.matched.predicted)
    coverage = right.estimates["aop_interval_coverage"]
    assert coverage.value == pytest.approx(np.mean(np.abs(true - found) <= 8))
    assert coverage.value > 0.9
    assert right.estimates["aop_interval_width_deg"].value == pytest.approx(16)
    wrong = comparison(n=300, half_width=8.0, shuffled=True).estimates["aop_interval_coverage"]
    assert wrong.interval[1] < 0.5
    assert "aop_interval_coverage" not in comparison().estimates


def test_groups_of_a_column():
    grouping = grouped_by({"patient": ("x", "", "x", "")}, "patient")
    assert grouping.ids.tolist() == [0, 1, 0, 2]
    assert grouping.note == "frames without a value of patient, each its own group: 2"
    assert every_frame_alone(3).ids.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("columns", "known"), [({}, "none beside the points"), ({"device": ("x",)}, "(device)")])
def test_a_group_column_that_is_not_there_is_one_line(columns, known):
    with pytest.raises(UsageError, match="--group: expected a column") as caught:
        grouped_by(columns, "patient")
    assert known in str(caught.value)


def test_columns_that_get_rows():
    columns = {
        "DEVICE": ("a", "b"), "centre": ("x", "x"), "site": tuple(map(str, range(13))), "note": ("p", "q")
    }  # fmt: skip
    assert list(subset_columns(columns)) == ["DEVICE"]


def test_pictures_of_several_sizes_without_a_scale_are_said():
    compared = comparison()
    sizes = compared.matched.sizes.copy()
    assert compared.notes == ()
    sizes[4] = 1024, 768
    again = Comparison.of(attrs.evolve(compared.matched, sizes=sizes), compared.grouping)
    assert again.notes[0].startswith("pictures of 2 sizes (256x256 to 1024x768): pixel errors are means over unlike")


def test_facts_are_those_beside_the_results(tmp_path):
    facts = {"model": "m@12345678", "artefact_sha256": "12345678", "calibration": "none", "sources": ["private/x"]}
    (tmp_path / "results.json").write_text(f'{{"run": {json.dumps(facts)},\n"results": [\n]}}\n')
    made = manifest(["m@12345678"], tmp_path / "results.csv", tmp_path / "labels.csv")
    assert made["models"] == ["m@12345678"]
    assert made["results_run"] == {"model": "m@12345678", "artefact_sha256": "12345678", "calibration": "none"}
    assert made["reference_run"] is None
    assert made["versions"]["numpy"]


def test_a_table_without_its_document_or_with_a_damaged_one_has_no_facts(tmp_path):
    assert manifest([], tmp_path / "results.csv", tmp_path / "results.csv")["results_run"] is None
    for text in ("", "{", "[]", '{"run": 3,\n', "\x00"):
        (tmp_path / "results.json").write_text(text)
        assert manifest([], tmp_path / "results.csv", tmp_path / "l.csv")["results_run"] is None


@pytest.mark.parametrize(
    ("found", "true"),
    [
        (np.random.default_rng(0).uniform(90, 130, 120), np.full(120, 110.0)),  # constant truth
        (np.linspace(80, 150, 120) + 5, np.linspace(80, 150, 120)),  # all errors equal
        (np.repeat([100.0, 130.0], 1000), np.repeat([95.0, 125.0], 1000)),  # two thousand ties
        (np.linspace(80, 150, 120), np.linspace(80, 150, 120)),  # perfect
    ],
)
def test_degenerate_data_give_no_interval_of_zero_width_and_a_reason_instead(found, true):
    compared = comparison_of_angles(found, true)
    for name, estimate in compared.estimates.items():
        if estimate.interval is not None:
            low, high = estimate.interval
            assert np.isfinite([low, high]).all(), name
            assert high - low > 1e-6, name
            assert low - 1e-9 <= estimate.value <= high + 1e-9, name
        elif np.isfinite(estimate.value):
            assert estimate.withheld, name


def test_the_rounding_of_tables_is_no_spread():
    """Angles from points with three decimals are off by some 0.0003 degrees: no correlation, slope or p-value."""
    rng = np.random.default_rng(0)
    noise, angles = rng.normal(0, 3e-4, 200), np.linspace(80, 150, 200)
    for found, true, without in (
        (angles, 110 + noise, ("pearson_r", "slope", "slope_p")),
        (110 + noise, angles, ("pearson_r", "slope", "slope_p")),
        (angles + 3 + noise, angles, ("slope_p", "median_deg_ci", "bias_deg_ci")),
        (angles + noise + np.resize([5, 0, -5], 200), angles, ("median_deg_ci", "p95_deg_ci")),
    ):
        figures = comparison_of_angles(found, true).figures
        assert [name for name in without if figures[f"aop_{name}"] is not None] == []
