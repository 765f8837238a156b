"""The simulation of coverage: it goes on where it stopped, and counts what the intervals held."""

import json

import interval_coverage as tool
import pytest


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(tool, "LARGE", 5000)
    monkeypatch.setattr(tool, "CHUNK", 3)
    return tmp_path


def test_it_goes_on_where_it_was_stopped(results):
    tool.simulate(20, "2", "normal", 3, results=results)
    tool.simulate(20, "2", "normal", 5, results=results)
    found = json.loads((results / "20-2-normal.json").read_text())
    for name, one in found["figures"].items():
        assert sum(one.values()) == 5, name
    assert found["figures"]["aop_loa_low_deg"]["withheld"] == 5
    tool.simulate(20, "2", "normal", 7, counted=True, results=results)
    found = json.loads((results / "20-2-normal.json").read_text())
    counts = {name: sum(one.values()) for name, one in found["figures"].items()}
    assert (counts["aop_bias_deg"], counts["aop_within_5_deg"], counts["aop_at_120_kappa"]) == (5, 7, 7)
    assert found["true"]["aop_sd_deg"] == 6
    assert found["true"]["aop_mae_deg"] == pytest.approx(4.85, abs=0.15)


def test_the_table_says_what_was_held_and_what_withheld(results):
    tool.simulate(20, "2", "normal", 3, results=results)
    rows = {line.split(" | ")[0]: line for line in tool.table(results).splitlines()}
    assert "**Two frames a patient**" in tool.table(results)
    assert rows["| upper limit of agreement"].split(" | ")[1] == tool.NOTHING
    assert rows["| bias"].split(" | ")[1].startswith(("100.0 /", "66.7 /", "33.3 /"))


def test_a_cell_counts_stated_intervals_alone():
    assert tool.cell({"held": 90, "above": 5, "below": 5, "withheld": 0}) == "90.0"
    assert tool.cell({"held": 45, "above": 0, "below": 5, "withheld": 50}) == "90.0 (50 % withheld)"
    assert tool.cell({"held": 5, "above": 0, "below": 0, "withheld": 95}) == tool.NOTHING


def test_shares_without_chance():
    """One of two studies of 12 has a bound and none an interval; of 50, intervals hold in 92 to 97.7 %."""
    assert tool.shares_held(12) == ["12", tool.NOTHING, "5.0"]
    _, held, wrong = tool.shares_held(50)
    least, most, mean = (float(one) for one in held.replace(" to", "").replace(", mean", "").split())
    assert 92 < least < most < 97.7
    assert 94.8 < mean < 95.4
    assert 4 < float(wrong) <= 5.05
