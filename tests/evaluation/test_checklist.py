"""The checklists: every item once, what files tell filled in, the rest left to the authors."""

import re

import numpy as np

from aop_pose.evaluation.report.checklist import OPEN, checklist
from tests.evaluation.comparisons import comparison


def items(page):
    cells = re.findall(r'<tr><th scope="row">(\w+)</th><td>(.*?)</td><td>(.*?)</td></tr>', page)
    return [(number, known) for number, _, known in cells]


def test_every_item_of_both_lists_stands_once():
    found = [number for number, _ in items(checklist(comparison(half_width=5.0), "research use"))]
    assert found[:15] == [str(number) for number in range(1, 16)]
    assert len(found[15:]) == len(set(found[15:])) == 34
    assert {re.sub("[ab]", "", number) for number in found[15:]} == {str(number) for number in range(1, 31)}


def test_what_the_files_tell_is_filled_in_and_no_more():
    compared = comparison(missing=(3,), half_width=5.0)
    known = dict(reversed(items(checklist(compared, "research use"))))
    assert known["2"] == "m@1"
    assert known["11"].startswith("90 images, 89 measured, in 89 groups (made-up groups)")
    assert f"ICC(2,1) {compared.estimates['aop_icc_2_1'].value:.3f}" in known["13"]
    assert OPEN in known["14"]
    stard = dict(items(checklist(compared, "research use"))[15:])
    table = compared.tables["aop"][120]
    assert f"120°: {table.both} both at or above, {table.only_results} results alone" in stard["23"]
    assert f"{table.straddled} at 120°" in stard["15"]
    assert "1 images without a measurement" in stard["16"]


def test_names_are_escaped_and_a_comparison_of_nothing_has_a_page():
    page = checklist(comparison(missing=range(90)), "research <use>")
    assert "mine &lt;b&gt;" in page
    assert "research &lt;use&gt;" in page
    assert not re.search("(nan|None)[^a-z]", page)
    assert np.char.count(page, "<table>") == 2
