"""Head biometry in millimetres: against numbers by hand, the expert's circumference, and tables that know little."""

import io
import math

import numpy as np
import pytest

from aop_pose.core.results import point_columns
from aop_pose.core.schemas import AOP, HEAD
from aop_pose.errors import UsageError
from aop_pose.evaluation.comparison import Comparison
from aop_pose.evaluation.errors import is_close
from aop_pose.evaluation.figures import metrics, promised
from aop_pose.evaluation.grouping import Grouping
from aop_pose.evaluation.match import Truth, match
from aop_pose.evaluation.report.files import summary_table
from aop_pose.evaluation.report.page import page
from aop_pose.evaluation.rows import Millimetres, millimetres_of, pixel_size_of
from aop_pose.geometry import ramanujan_perimeter

HEAD_POINTS = np.array([(40, 100), (160, 100), (100, 55), (100, 145)], float)
"""OFD 120, BPD 90 pixels."""
LONGER = HEAD_POINTS + np.array([(0, 0), (4, 0), (0, 0), (0, 0)])
SIZE = (300, 400)


def figures_of(predicted, truth, millimetres=None, scale=None):
    return metrics(predicted, truth, [SIZE] * len(truth), scale, HEAD, millimetres)


def stated(*circumferences):
    """What an expert states: the reference of both formulas."""
    return dict.fromkeys(("hc_mm", "hc_ramanujan_mm"), np.array(circumferences))


def test_millimetres_by_hand():
    expert = Millimetres(np.array([0.5]), stated(165.0))
    figures = figures_of([LONGER], [HEAD_POINTS], expert)
    assert (figures["ofd_mae_px"], figures["ofd_mae_mm"], figures["bpd_mae_mm"]) == (4, 2, 0)
    assert figures["hc_bias_mm"] == pytest.approx(math.pi * (124 + 90) / 2 * 0.5 - 165, abs=1e-6)
    assert figures["hc_ramanujan_bias_mm"] == pytest.approx(ramanujan_perimeter(90, 124) * 0.5 - 165, abs=1e-6)
    # 2 of 60 mm are 3.3 %; 168.1 and 169.7 mm are 1.9 % and 2.8 % above the expert's 165.
    assert (figures["ofd_mm_under_2_5_percent"], figures["bpd_mm_under_2_5_percent"]) == (0, 1)
    assert (figures["hc_mm_under_2_5_percent"], figures["hc_ramanujan_mm_under_2_5_percent"]) == (1, 0)


def test_without_an_expert_each_formula_is_compared_with_itself():
    figures = figures_of([LONGER], [HEAD_POINTS], Millimetres(np.array([0.5])))
    assert figures["hc_bias_mm"] == pytest.approx(math.pi, abs=1e-6)
    expected = 0.5 * (ramanujan_perimeter(90, 124) - ramanujan_perimeter(90, 120))
    assert figures["hc_ramanujan_bias_mm"] == pytest.approx(expected, abs=1e-6)


def test_millimetres_do_not_depend_on_the_scale_and_are_absent_where_unknown():
    known = Millimetres(np.array([0.5]))
    plain, scaled = (figures_of([LONGER], [HEAD_POINTS], known, scale) for scale in (None, 800))
    assert (plain["ofd_mae_px"], scaled["ofd_mae_px"]) == (4, 8)
    assert plain["ofd_mae_mm"] == scaled["ofd_mae_mm"] == 2
    assert not any("_mm" in name for name in figures_of([LONGER], [HEAD_POINTS]))


def test_a_missing_head_counts_as_the_diagonal_in_millimetres():
    nothing = np.full((4, 2), np.nan)
    known = Millimetres(np.array([0.5, 0.5, np.nan]), stated(165.0, 165.0, 165.0))
    figures = figures_of([LONGER, nothing, LONGER], [HEAD_POINTS] * 3, known)
    # The picture of 300 x 400 has a diagonal of 500 pixels, 250 mm; where no pixel size is known nothing is lost.
    assert figures["ofd_mae_mm"] == 2
    assert figures["ofd_mae_mm_with_missing"] == (2 + 250) / 2
    assert figures["ofd_mae_px_with_missing"] == pytest.approx((4 + 4 + 500) / 3, abs=1e-6)
    assert figures["hc_mae_mm_with_missing"] == pytest.approx((math.pi * 107 * 0.5 - 165 + 250) / 2, abs=1e-6)
    assert figures["ofd_mm_under_2_5_percent_with_missing"] == 0
    assert figures["bpd_mm_under_2_5_percent_with_missing"] == 0.5


def test_under_is_not_at():
    assert is_close(np.array([2.4, 2.5, 2.6]), np.array([100.0, 100.0, 100.0])).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("row", "size"),
    [
        ({"pixel_size_mm": "0.2", "hc_px": "100", "hc_mm": "30"}, 0.2),
        ({"pixel_size_mm": "", "hc_px": "100", "hc_mm": "30"}, 0.3),
        ({"hc_px": "100", "hc_mm": ""}, math.nan),
        ({"hc_px": "", "hc_mm": "30"}, math.nan),
        ({}, math.nan),
    ],
)
def test_pixel_size_of_a_row(row, size):
    assert pixel_size_of(row, HEAD, "row 1") == pytest.approx(size, nan_ok=True)


def test_the_truth_goes_before_the_results_and_doubts_are_said():
    notes = []
    columns = {"pixel_size_mm": ("0.1", "", "0.3", ""), "head_circumference_mm": ("170", "180", "", "190")}
    known = millimetres_of(columns, np.array([0.2, 0.2, 0.3, np.nan]), list("abcd"), notes, HEAD)
    assert known.per_pixel.tolist()[:3] == [0.1, 0.2, 0.3]
    assert math.isnan(known.per_pixel[3])
    for values in (known.stated["hc_mm"], known.stated["hc_ramanujan_mm"]):
        np.testing.assert_array_equal(values, [170, 180, np.nan, 190])
    assert notes == [
        "results: millimetres are of another pixel size (more than 1% off) than the truth file says, "
        "which is the one used: 1",
        "frames of unknown pixel size, in no figure in millimetres: 1",
        "frames without the expert's head circumference, in no figure of it: 1",
    ]
    assert millimetres_of({}, np.array([np.nan]), ["a"], [], HEAD) is None
    assert millimetres_of({}, np.array([0.2]), ["a"], [], HEAD).stated == {}
    # Nothing of AoP is compared in millimetres: HSD needs an outline.
    assert millimetres_of({}, np.array([0.2]), ["a"], [], AOP) is None


def test_a_pixel_size_that_is_no_number_is_named():
    with pytest.raises(UsageError, match="truth, a, pixel_size_mm: expected a number"):
        millimetres_of({"pixel_size_mm": ("wide",)}, np.array([np.nan]), ["a"], [], HEAD)


def compared(n=30, columns=None, seed=0):
    """A comparison of n heads of several sizes with a pixel of noise, every axis named backwards."""
    rng = np.random.default_rng(seed)
    middle = np.array([150, 150])
    truth = [middle + (HEAD_POINTS - 100) * factor for factor in rng.uniform(0.6, 1.6, n)]
    rows = []
    for i, points in enumerate(truth):
        noisy = points[[1, 0, 3, 2]] + rng.normal(0, 1, (4, 2))
        cells = dict(zip(point_columns(HEAD), map(str, noisy.ravel()), strict=True))
        rows.append({"source": f"{i}.png", "width": "300", "height": "300", "status": "ok", **cells})
    reference = Truth([row["source"] for row in rows], truth, columns=columns or {})
    return Comparison.of(match(rows, reference, HEAD), Grouping(np.arange(n), "made-up groups"))


def test_every_promised_figure_has_an_interval():
    known = compared(columns={"pixel_size_mm": ("0.2",) * 30, "head_circumference_mm": ("70",) * 30})
    figures = promised(known.errors)
    shared = [name for name in known.estimates if name in figures]
    assert {"hc_ramanujan_mae_mm", "hc_mm_under_2_5_percent", "ofd_bias_px", "mre_px_bpd2"} <= set(shared)
    for name in shared:
        assert known.estimates[name].value == pytest.approx(figures[name], abs=1e-6), name
    difference = known.errors.differences["hc_ramanujan_mm"]
    limit, bias = known.estimates["hc_ramanujan_loa_low_mm"], known.estimates["hc_ramanujan_bias_mm"]
    assert limit.value == pytest.approx(difference.mean() - 1.96 * difference.std(ddof=1))
    assert bias.interval[0] < bias.value < bias.interval[1]
    # A pixel of noise, and not the length of the axes that are named backwards.
    assert figures["mre_px"] < 2


def text_of(known):
    from rich.console import Console

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(summary_table(known))
    return console.export_text()


def test_the_page_and_the_table_speak_of_millimetres_where_they_are_known():
    pixels = compared()
    columns = {"pixel_size_mm": ("0.2",) * 30}
    with_expert = {**columns, "head_circumference_mm": tuple(map(str, range(60, 90)))}
    own, expert = compared(columns=columns), compared(columns=with_expert)
    pages = [page(known, "research use only") for known in (pixels, own, expert)]
    words = [
        "No pixel size is known, so nothing is given in millimetres.",
        "The reference of each is the same formula on the true points.",
        "The reference of both in millimetres is the expert&#x27;s circumference.",
    ]
    for i, html in enumerate(pages):
        assert [word in html for word in words] == [i == j for j in range(3)]
        assert html.count("Bland-Altman plot of") == 2 * (1 if i == 0 else 2)
        assert ("Agreement in millimetres" in html) == (i > 0)
        assert "Agreement in pixels" in html
    assert "HC (Ramanujan) under 2.5 %" in text_of(expert)
    assert "HC mean abs. error" in text_of(pixels)
    assert " mm" not in text_of(pixels)
