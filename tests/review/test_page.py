"""The page in a real browser: its numbers against geometry, pointer, finger and keys, kills and reloads."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.measure import measure
from aop_pose.core.results import Result
from aop_pose.core.schema import SCHEMAS
from aop_pose.core.schemas import HEAD
from aop_pose.geometry import implausible_axes
from aop_pose.io.table import ResultsWriter
from aop_pose.review.session import Session
from tests.review.browser import CHROMIUM, SHIFT, Browser
from tests.review.test_server import served

pytest.importorskip("websocket", reason="websocket-client is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
RECORDING = os.environ.get("AOP_POSE_RECORD") == "1"
PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
TABLE = json.loads((Path(__file__).parent / "angles.json").read_text(encoding="utf-8"))
SHOWN = "document.getElementById('name')?.textContent"
SAVED = "document.getElementById('saved').textContent === 'saved'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found
        assert not found.complaints


@pytest.fixture
def page(browser, a_run):
    """The page of a run on its first frame, and the session behind it."""
    session = Session(a_run[0], "anna", a_run[1])
    with served(session) as address:
        browser.size(1280, 800)
        browser.open(address)
        browser.until(f"{SHOWN} === '0002.png'")
        yield browser, session
        browser.until(SAVED)
        browser.open("about:blank")


def place_of(browser, name):
    """Where a point is seen, in pixels of the window."""
    return browser.run(
        f"(() => {{ const box = document.querySelector('[data-point={name}] .ring').getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )


def angle(browser):
    return float(browser.run("document.querySelector('#numbers .main').lastChild.textContent").rstrip("°"))


def said(session, source):
    return session.log.of((source, 0))


def test_python_measures_what_the_table_says():
    for case in TABLE:
        schema = SCHEMAS[case["schema"]]
        coords = np.array([case["points"][name] or (np.nan, np.nan) for name in schema.points], float)
        spacing = case["scale"] and case["scale"][::-1]
        found = measure(Keypoints(schema, coords, np.ones(len(coords))), spacing).measurements
        for column, value in case["values"].items():
            if column in found:
                assert found[column].value == pytest.approx(value, abs=1e-9)
            else:
                # Axes of no head are not measured; the page shows their numbers and says what is wrong.
                assert implausible_axes(coords * (case["scale"] or 1))
        if case["schema"] == "aop":
            assert set(found) == set(case["values"])


def test_the_page_measures_what_the_table_says(page):
    browser, _ = page
    for case in TABLE:
        found = browser.run(
            f"import('./geometry.js').then((one) => one.measure({json.dumps(case['schema'])}, "
            f"{json.dumps(case['points'])}, {json.dumps(case['scale'])}))"
        )
        found.pop("hc_ramanujan_mm", None)
        assert found == pytest.approx(case["values"], abs=1e-9)


def test_the_page_and_geometry_agree_on_any_points(page, random_points):
    browser, _ = page
    for schema in (SCHEMAS["aop"], SCHEMAS["head"]):
        cases = [dict(zip(schema.points, case.tolist(), strict=False)) for case in random_points]
        found = browser.run(
            f"import('./geometry.js').then((one) => {json.dumps(cases)}.map((points) => [one.measure("
            f"'{schema.name}', points, [0.3, 0.3]), one.implausible('{schema.name}', points, [0.3, 0.3], [256, 256])]))"
        )
        for points, (values, wrong) in zip(random_points, found, strict=True):
            coords = points[: len(schema.points)]
            for column, value in values.items():
                quantity = schema.quantity(column)
                scale = 1 if quantity.unit == "px" else 0.3
                assert value == pytest.approx(float(schema.values(quantity, coords * scale)), abs=1e-9)
            if schema.name == "head":
                assert wrong == implausible_axes(coords * 0.3)


def test_a_drag_moves_a_point_and_the_angle_and_is_saved(page):
    browser, session = page
    before, (x, y) = angle(browser), place_of(browser, "FH1")
    browser.drag((x + 4, y + 3), (x + 64, y + 3))
    assert place_of(browser, "FH1") == pytest.approx([x + 60, y], abs=1)
    assert abs(angle(browser) - before) > 2
    browser.until(SAVED)
    coords = said(session, "0002.png").points
    assert angle(browser) == pytest.approx(
        float(SCHEMAS["aop"].quantities[0].formula(*(coords[name] for name in ("PS1", "PS2", "FH1")))), abs=0.06
    )


def test_impossible_geometry_is_said_while_it_is_drawn(page):
    browser, _ = page
    (x, y), (left, top) = place_of(browser, "FH1"), place_of(browser, "PS2")
    browser.drag((x, y), (left + 30, top - 30), release=False)
    assert "FH1 lies above the symphysis" in browser.text("warning")
    browser.mouse("Moved", x, y, buttons=1)
    browser.mouse("Released", x, y, clickCount=1)
    assert browser.text("warning") == ""


def test_keys_alone_move_accept_reject_undo(page):
    browser, session = page
    start = session.frame(0)["points"]
    browser.key("3")
    browser.key("ArrowRight")
    browser.key("ArrowDown", SHIFT)
    browser.until(SAVED)
    x, y = start["FH1"]
    assert said(session, "0002.png").points["FH1"] == pytest.approx((x + 1, y + 10), abs=0.01)
    browser.key("a")
    browser.until(f"{SHOWN} === '0005.png'")
    browser.until(SAVED)
    assert said(session, "0002.png").state == "accepted"
    browser.key("r")
    browser.key("3")
    browser.until(f"{SHOWN} === '0004.png'")
    browser.until(SAVED)
    assert (said(session, "0005.png").state, said(session, "0005.png").reason) == ("rejected", "poor picture")
    assert browser.text("left") == "2 of 5"
    browser.key("u")
    browser.until(f"{SHOWN} === '0005.png'")
    assert said(session, "0005.png").state == "open"
    browser.key("Escape")
    browser.key("ArrowRight")
    browser.until(f"{SHOWN} === '0004.png'")
    browser.key("b")
    browser.until(f"{SHOWN} === '0005.png'")
    browser.key("p")
    browser.until(f"{SHOWN} === '0002.png'")


def test_a_click_places_the_chosen_point_and_no_other_click_does(page):
    browser, session = page
    x, y = place_of(browser, "PS2")
    browser.click(x + 90, y + 120)
    assert not session.log.decisions
    browser.key("2")
    browser.click(x + 30, y + 40)
    assert place_of(browser, "PS2") == pytest.approx([x + 30, y + 40], abs=1)
    browser.until(SAVED)
    assert set(session.log.decisions) == {("0002.png", 0)}


def test_the_wheel_zooms_at_the_pointer(page):
    browser, _ = page
    x, y = place_of(browser, "PS1")
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-600)
    browser.until("document.getElementById('stage').viewBox.baseVal.width < 200")
    assert place_of(browser, "PS1") == pytest.approx([x, y], abs=3)
    browser.key("0")
    browser.until("document.getElementById('stage').viewBox.baseVal.width > 255")


def test_a_finger_drags_a_point(page):
    browser, session = page
    browser.size(390, 844, touch=True)
    x, y = place_of(browser, "PS2")
    browser.touch((x - 12, y + 12), (x + 13, y + 32))
    browser.until(SAVED)
    assert place_of(browser, "PS2") == pytest.approx([x + 25, y + 20], abs=2)
    assert ("0002.png", 0) in session.log.decisions


def test_a_reload_in_the_middle_of_a_drag_keeps_what_stood_before(page):
    browser, session = page
    x, y = place_of(browser, "FH1")
    browser.drag((x, y), (x + 50, y), release=False)
    assert place_of(browser, "FH1")[0] == pytest.approx(x + 50, abs=2)
    browser.run("window.before = true")
    browser.call("Page.reload")
    browser.until(f"!window.before && {SHOWN} === '0002.png'")
    assert place_of(browser, "FH1") == pytest.approx([x, y], abs=1)
    browser.mouse("Released", x, y, clickCount=1)
    assert not session.log.decisions


@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 800, False), (390, 844, True)])
def test_pictures_of_the_page(page, tmp_path, width, height, dark):
    """Those of the docs are written anew with ``AOP_POSE_RECORD=1``."""
    browser, _ = page
    browser.size(width, height, dark, touch=width < 1000)
    browser.key("n")
    browser.until(f"{SHOWN} === '0005.png' && {SAVED}")
    name = "review-phone.png" if width < 1000 else "review.png"
    browser.picture((PICTURES if RECORDING else tmp_path) / name)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)"
    )


def test_a_head_has_four_points_and_its_lengths_follow(browser, tmp_path):
    frames, results = tmp_path / "frames", tmp_path / "results"
    frames.mkdir()
    cv2.imwrite(str(frames / "head.png"), np.full((200, 240), 90, np.uint8))
    points = Keypoints(HEAD, np.array([[20, 100], [220, 100], [120, 20], [120, 180]], float), np.ones(4))
    found = measure(points).measurements
    with ResultsWriter(results / "results.csv", HEAD, resume=False) as writer:
        writer.write(Result("head.png", 0, "ok", "", 240, 200, points, 0.9, found, "test@1"))
    session = Session(results, "anna", frames)
    with served(session) as address:
        browser.size(820, 1180, dark=True)
        browser.open(address)
        browser.until(f"{SHOWN} === 'head.png'")
        assert browser.run("[...document.querySelectorAll('#numbers div')].map((one) => one.textContent)") == [
            "OFD200.0 px", "BPD160.0 px", "HC565.5 px"
        ]  # fmt: skip
        browser.key("4")
        browser.key("ArrowUp", SHIFT)
        assert "BPD150.0 px" in browser.text("numbers")
        x, y = place_of(browser, "OFD2")
        browser.drag((x, y), (x - 180, y))
        assert "BPD is longer than OFD" in browser.text("warning") or "cross" in browser.text("warning")
        browser.key("a")
        browser.until(SAVED)
        browser.until("document.getElementById('left').textContent === '1 of 1'")
        assert said(session, "head.png").points["BPD2"] == (120.0, 170.0)


def test_the_label_is_shown_on_demand_and_the_log_says_so(browser, a_run):
    results, frames = a_run
    (results.parent / "labels.csv").write_text('Filename,PS1,PS2,FH1\n0005.png,"(60, 60)","(30, 60)","(60, 200)"\n')
    session = Session(results, "anna", frames, results.parent / "labels.csv")
    with served(session) as address:
        browser.size(1280, 800)
        browser.open(address)
        browser.until(f"{SHOWN} === '0002.png'")
        browser.key("n")
        browser.until(f"{SHOWN} === '0005.png'")
        assert browser.run("document.querySelectorAll('.ghost').length") == 0
        browser.key("l")
        browser.key("m")
        browser.until("document.querySelectorAll('.ghost').length === 6")
        browser.key("a")
        browser.until(f"{SHOWN} !== '0005.png' && {SAVED}")
        assert said(session, "0005.png").saw == ("labels",)


def test_a_second_look_on_demand_or_the_word_that_it_is_not_at_hand(page):
    browser, session = page
    browser.key("s")
    browser.until("document.getElementById('hint').textContent.includes('test@1 is not at hand')")
    assert browser.run("document.getElementById('show-second').ariaPressed") == "false"
    session._second = SimpleNamespace(of=lambda frame, region: np.array([(60.0, 60), (30, 60), (60, 200)]))
    browser.key("s")
    browser.until("document.querySelectorAll('.ghost').length === 3")
    assert browser.run("document.querySelector('.ghosts text').textContent") == "second look"
    browser.key("s")
    browser.until("document.querySelectorAll('.ghost').length === 0")


def test_filters_and_the_list(page):
    browser, _ = page
    rows = "document.querySelectorAll('.item').length"
    assert browser.run(rows) == 6
    browser.run("(() => { const one = document.getElementById('by-status'); one.value = 'ok';"
                "one.dispatchEvent(new Event('change')); })()")  # fmt: skip
    assert browser.run(rows) == 4
    assert browser.run("[...document.querySelectorAll('.item b')].map((one) => one.textContent)") == [
        "0005.png", "0004.png", "0001.png", "0000.png"
    ]  # fmt: skip


def test_everything_that_is_pressed_has_a_name(page):
    browser, _ = page
    nameless = browser.run(
        "[...document.querySelectorAll('button, input, select, textarea, [role=button]')].filter((one) => "
        "!(one.ariaLabel || one.textContent.trim() || one.labels?.length)).map((one) => one.outerHTML)"
    )
    assert nameless == []


def test_a_killed_server_loses_nothing_and_the_page_says_that_it_is_gone(browser, a_run):
    results, frames = a_run
    command = [sys.executable, "-m", "aop_pose", "review", results, "--frames", frames, "--reader", "anna"]

    def started():
        process = subprocess.Popen([*command, "--no-browser"], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        return process, process.stdout.readline().split()[0]

    process, address = started()
    with process:
        browser.size(1280, 800)
        browser.open(address)
        browser.until(f"{SHOWN} === '0002.png'")
        x, y = place_of(browser, "FH1")
        browser.drag((x, y), (x + 40, y))
        browser.key("a")
        browser.until(f"{SHOWN} === '0005.png' && {SAVED}")
        process.send_signal(signal.SIGKILL)
    browser.key("r")
    browser.key("1")
    browser.until("document.getElementById('saved').textContent.startsWith('not saved: the server does not answer')")
    process, address = started()
    with process:
        browser.open(address)
        browser.until(f"{SHOWN} === '0005.png'")
        assert browser.text("left").startswith("1 of 5")
        assert browser.text("state") == "not reviewed"
        browser.key("p")
        browser.until(f"{SHOWN} === '0002.png'")
        assert browser.text("state") == "accepted"
        assert place_of(browser, "FH1") == pytest.approx([x + 40, y], abs=1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
