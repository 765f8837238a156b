"""The page: complete, self-contained, and two sheets of paper."""

import re
import shutil
import subprocess
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest

from aop_pose.core.schemas import AOP
from aop_pose.evaluation.errors import to_blame
from aop_pose.evaluation.grouping import contrast
from aop_pose.evaluation.noise import Noise
from aop_pose.evaluation.report.html import Axis, escape
from aop_pose.evaluation.report.page import page
from aop_pose.evaluation.report.pictures import drawn_worst, worst_frames
from tests.evaluation.comparisons import comparison, comparison_of_angles, reading

NOTICE = "Not a medical device; research use only."
VOID = {"meta", "br", "img"}


def page_of(compared, **asked):
    return page(compared, NOTICE, **asked)


class Checker(HTMLParser):
    """Tags are closed in order; addresses and words are collected."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_startendtag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def checked(html):
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    return checker, " ".join(" ".join(checker.words).split())


def full(n=90, **settings):
    quality = np.linspace(30, 60, n)
    settings = {"missing": (0,), "columns": {"device": tuple("ABC" * (n // 3))}, **settings}
    return comparison(n=n, quality=quality, **settings)


def test_the_page_needs_nothing_but_itself():
    html = page_of(full(half_width=5.0, pixels=lambda position: np.full((256, 256), 90, np.uint8)))
    checker, _ = checked(html)
    pictures = [address for address in checker.addresses if address.startswith("data:image/jpeg;base64,")]
    assert len(pictures) == 12 + 1
    links = {address for address in checker.addresses if address.startswith("#")}
    assert len(checker.addresses) == len(pictures) + sum(map(checker.addresses.count, links))
    # A picture is enlarged by the address of its own place, and closed by that of its section.
    assert all(f'id="{link[1:]}"' in html for link in links)
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)
    assert 'name="viewport" content="width=device-width' in html
    assert html.count("<svg") == 4 + 12 + 1


def test_what_must_stand_on_it():
    _, text = checked(page_of(full(half_width=5.0)))
    for words in (
        "mine <b>", "truth.csv", "m@1", NOTICE, "made-up groups", "1 of 90 frames were not measured", "000.png",
        "0.72, nine readers of stored images (Dückelmann 2010)", "0.74, two readers, sagittal (Frick 2020)",
        "ICC(2,1)", "ICC(3,1)", "Pearson r", "Within 5°", "Within 10°",
        "110°", "120°", "140°", "Sensitivity", "Specificity", "Kappa", "Limit of agreement", "Bland-Altman",
        "SDR 20 px", "device", "contrast: standard deviation of the gray values", "Shrout and Fleiss 1979",
        "Positive predictive value", "Likelihood ratio +", "Kalache 2009", "Torkildsen 2011", "ISUOG 2018",
        "Stated interval on both sides of it", "An ICC grows with the range of the values", "Slope: ", "LOESS",
        "Youssef 2021", "inside the stated interval", "Not measured: 1 of 90", "abstained: 1", "AoP, true",
        "89 of 90 measured", str(date.today()),
    ):  # fmt: skip
        assert words.lower() in text.lower(), words


def test_figures_stand_with_their_intervals():
    compared = full()
    estimate = compared.estimates["aop_mae_deg"]
    low, high = estimate.interval
    assert f"{estimate.value:.2f}° [{low:.2f}, {high:.2f}]" in checked(page_of(compared))[1]


def test_intervals_that_do_not_hold_are_said_at_the_top():
    warning = "fewer than the 90 % that calibration aims at"
    assert warning in page_of(comparison(n=300, half_width=5.0, shuffled=True))
    assert warning not in page_of(comparison(n=300, half_width=8.0))
    assert warning not in page_of(comparison(n=300, half_width=8.0, shuffled=True, second_is_a_result=True))


def test_a_coverage_below_the_target_is_marked():
    low = page_of(comparison(n=300, half_width=5.0, shuffled=True))
    # In the tile, in the table, and in each third.
    assert low.count('<span class="below sure">') == 5
    assert 'class="below' not in page_of(comparison(n=300, half_width=30.0))


def test_tables_scroll_by_hand_and_by_key():
    html = page_of(full())
    assert html.count("<table>") == html.count('<div class="scroll" tabindex="0" role="region" aria-label=')


def test_the_noise_of_the_labels_stands_beside_the_errors():
    compared = full(noise=Noise.stated(AOP.quantity("aop_deg"), 3.0, np.ones(90)))
    _, text = checked(page_of(compared))
    for words in (
        "a perfect reader would show 2.39°",
        "one more reader against these labels",
        "reading (--label-sd 3)",
    ):
        assert words in text, words
    assert "Against the noise" not in page_of(full())


def test_examinations_stand_beside_frames():
    _, text = checked(page_of(comparison(n=90, groups=np.arange(90) // 2, examinations=True)))
    assert "AoP per examination" in text
    assert "45 examinations with a measured frame, 45 of them with 2." in text
    assert "Patients 45" in text


def test_a_decision_curve_is_drawn_when_asked_for():
    compared = full(half_width=5.0)
    assert "Decision curve" not in page_of(compared)
    html = page(compared, NOTICE, decision_curve=True)
    assert html.count('aria-label="Decision curve at ') == 3
    assert "Vickers and Elkin 2006" in html
    checked(html)


def test_a_smooth_line_needs_frames():
    assert 'class="loess"' in page_of(comparison(n=90))
    assert 'class="loess"' not in page_of(comparison(n=50))


def test_the_point_to_blame_is_the_one_whose_true_place_mends_the_angle():
    truth = reading([100.0, 120.0])
    predicted = truth.copy()
    predicted[0, 1] += [0, 20]
    predicted[1, 2] += [15, 0]
    points, left = to_blame(predicted, truth, AOP, AOP.quantity("aop_deg"))
    assert points.tolist() == [1, 2]
    assert left == pytest.approx([0, 0], abs=1e-9)


def test_too_few_groups_and_two_methods_are_said():
    _, text = checked(page_of(comparison(n=19, second_is_a_result=True)))
    assert "Intervals are withheld: fewer than 20 groups (19)" in text
    assert "neither side is the truth" in text
    assert "against another results table" in text


def test_the_worst_frames_are_those_with_the_largest_angle_errors_and_missing_ones_are_none():
    compared = full()
    error = np.abs(compared.errors.differences["aop"])
    worst = worst_frames(compared, compared.errors.main)
    assert len(worst) == 12
    assert 0 not in worst
    assert error[worst].min() >= np.nanmax(np.delete(error, worst))
    assert (np.diff(error[worst]) <= 0).all()


def test_contrast_is_that_of_the_lit_pixels():
    pixels = np.zeros((10, 10), np.uint8)
    assert contrast(pixels) == 0
    pixels[:, :4], pixels[:, 4:6], pixels[:, 6:] = 8, 100, 140
    assert contrast(pixels) == pytest.approx(np.std(np.repeat([100.0, 140.0], [20, 40])))


@pytest.mark.parametrize(
    ("values", "low", "high", "step"),
    [([3, 97], 0, 100, 20), ([-0.4, 0.7], -0.4, 0.8, 0.2), ([5, 5], 4, 6, 0.5), ([np.nan], -1, 1, 0.5)],
)
def test_axes_have_round_ends_and_hold_their_values(values, low, high, step):
    axis = Axis.over("x", values)
    assert (axis.low, axis.high, axis.step) == pytest.approx((low, high, step))
    assert axis.ticks[-1] == pytest.approx(high)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("patients", [False, True])
def test_it_prints_to_two_pages(tmp_path, noise, patients):
    """With tables of the labels' noise and of patients or without them, and frames that were not measured."""
    rng = np.random.default_rng(0)
    compared = full(
        half_width=5.0, pixels=lambda position: rng.integers(0, 255, (300, 300), dtype=np.uint8),
        noise=Noise.stated(AOP.quantity("aop_deg"), 5.0, np.ones(90)) if noise else None,
        groups=np.repeat(np.arange(30), 3) if patients else None, examinations=patients,
        missing=range(12) if noise else (0,),
    )  # fmt: skip
    words = page_of(compared, decision_curve=noise and not patients)
    (tmp_path / "report.html").write_text(words, encoding="utf-8")
    flags = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    flags += ["headless", "disable-component-update", "disable-sync", "no-pdf-header-footer"]
    places = [f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={tmp_path / 'r.pdf'}"]
    command = ["chromium", *(f"--{flag}" for flag in flags), *places]
    subprocess.run([*command, (tmp_path / "report.html").as_uri()], check=True, capture_output=True, timeout=60)
    assert re.findall(rb"/Type\s*/Pages\b.*?/Count (\d+)", (tmp_path / "r.pdf").read_bytes(), re.DOTALL) == [b"2"]


def test_a_name_neither_marks_up_a_page_nor_turns_its_writing():
    assert escape("<b>\u202egnp.exe") == "&lt;b&gt;\\u202egnp.exe"


def test_a_turn_above_180_degrees_is_said_under_its_picture():
    low = comparison_of_angles([200, 100], [188, 101], pixels=lambda position: np.full((256, 256), 90, np.uint8))
    first, second = drawn_worst(low, low.errors.main, low.pixels)
    assert first.lines[:2] == ("160.0°, true 172.0°: +12.0°", "as a turn 200.0°, true 188.0°")
    assert not any("turn" in line for line in second.lines)
    words = page_of(low)
    assert "101.0 to 172.0°, SD 50.2°; 1 with a turn above 180°, at most 188.0°" in words
    assert "A turn above 180° is an AoP of 360° minus it" in words
