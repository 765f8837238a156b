"""A cell that a spreadsheet would run, or that turns the direction of writing, is harmless in a file and comes back."""

import csv
import io

import pytest

from aop_pose.io.csv_text import Writer, harmless, restored

RUN = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "-x.png", "\tx", "\r=1", "'=1", "''=1", "=", "+", "-", "@"]
WHOLE = ["", "a.png", "-1", "-1.5", "+3", "1e-5", "-1e-5", ".5", "it's", "'quoted'", "a=b", "naïve.png", "Ünï"]
MARKS = ["a\u202egnp.exe", "\u2066x\u2069.png", "\u200fx", "=\u202ex"]


@pytest.mark.parametrize("text", RUN + WHOLE + MARKS)
def test_what_is_written_comes_back(text):
    assert restored(harmless(text)) == text


@pytest.mark.parametrize("text", RUN + MARKS)
def test_nothing_dangerous_is_written(text):
    written = harmless(text)
    assert written[0] not in "=+@-\t\r"
    assert not set(written) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


@pytest.mark.parametrize("text", WHOLE)
def test_numbers_and_common_names_are_unchanged(text):
    assert harmless(text) == text


def test_a_writer_makes_every_cell_harmless():
    stream = io.StringIO()
    Writer(stream).writerows([["source", "x"], ["=1,2", "-1.5"]])
    assert list(csv.reader(io.StringIO(stream.getvalue()))) == [["source", "x"], ["'=1,2", "-1.5"]]
