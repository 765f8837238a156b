"""The comparison itself: what passes as the same, and how a difference is shown."""

from pathlib import Path

from tests.golden.recorder import EXPECTED, compared


def test_every_recorded_text_is_that_of_a_test():
    for path in EXPECTED.rglob("*.txt"):
        test = path.stem.partition("-")[0]
        assert f"def test_{test}(" in (Path(__file__).parent / f"test_{path.parent.name}.py").read_text(), path.name


def test_numbers_may_differ_by_the_tolerance_and_by_their_last_digit():
    assert compared("a 1.000, 2.5°", "a 1.019, 2.6°", 0.02) == ""
    assert compared("a 1.000", "a 1.021", 0.02)
    assert compared("a 1.5e-07", "a 1.6e-07", 0.0) == ""


def test_whole_numbers_names_and_lines_may_not():
    assert compared("3 frames", "4 frames", 0.5)
    assert compared("a@1.5", "b@1.5", 0.5)
    assert compared("a\nb", "a", 0.5)
    assert compared("version 1.2.3", "version 1.2.4", 0.5)


def test_a_difference_shows_only_what_differs():
    difference = compared("x 1.000\ny 2.000\nend", "x 1.001\ny 3.000\nend", 0.02)
    assert [line for line in difference.splitlines() if line[0] in "+-"][2:] == ["-y 2.000", "+y 3.000"]
    assert " x 1.000" in difference.splitlines()
