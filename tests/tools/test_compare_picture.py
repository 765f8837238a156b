"""The picture shows truth in green and prediction in red, and keeps patients' frames out of the repository."""

import sys

import compare_picture
import numpy as np
import pytest
from compare_picture import GREEN, RED, Shown, draw, phantoms, sheet

from tests.fakes import POINTS, fake_predictor, textured


def is_shown(picture, colour, places):
    return [tuple(picture[round(y), round(x)]) == colour for x, y in places]


def test_points_are_drawn_where_they_are_in_their_colour():
    picture = np.zeros((200, 200, 3), np.uint8)
    points = np.array([[150.0, 60.0], [80.0, 80.0], [170.0, 120.0]])
    draw(picture, points, GREEN)
    assert all(is_shown(picture, GREEN, points))
    draw(picture, points + 20, RED)
    assert all(is_shown(picture, RED, points + 20))


def test_a_tile_says_both_errors_or_that_nothing_was_found(monkeypatch):
    said = []
    monkeypatch.setattr(compare_picture, "put_text", lambda canvas, text, *rest: said.append(text))
    # Bright enough to be found, with the truth 3 and 4 pixels away at every point: 10 px on the 512 scale.
    frames = [Shown("a", textured(0), POINTS - [3, 4]), Shown("b", textured(1, first_row=0), POINTS)]
    whole = sheet(frames, [("A", fake_predictor())], "phantoms")
    assert whole.shape[1] < 2 * compare_picture.TILE
    assert said[:2] == ["A: 10.0 px, +0.0\N{DEGREE SIGN}", "A: nothing found"]
    assert "research use only" in said[-1]


def test_phantoms_have_their_exact_answers():
    one, again = (next(phantoms(1, seed=3)) for _ in range(2))
    assert np.array_equal(one.pixels, again.pixels)
    assert one.truth.shape == (3, 2)


@pytest.mark.parametrize(("out", "code"), [("a.png", 2), ("runs/a.png", 0)])
def test_real_frames_are_written_below_runs_only(rehearsal, tmp_path, monkeypatch, capsys, out, code):
    monkeypatch.setattr(compare_picture, "load_weights", lambda *given: fake_predictor())
    words = ["compare_picture", "A=some", "--out", str(tmp_path / out), "--data", str(rehearsal), "--count", "1"]
    monkeypatch.setattr(sys, "argv", words)
    assert compare_picture.main() == code
    assert (tmp_path / out).exists() == (code == 0)
    assert ("below a folder named runs only" in capsys.readouterr().err) == (code == 2)
