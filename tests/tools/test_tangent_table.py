"""The second angle of pseudo-labels: FH1 moves as worked out by hand, and a true outline mends a wrong angle."""

import cv2
import numpy as np
import pytest
from tangent_table import PROMPTS, compare, head_of, moved_onto, rows

from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas.aop import AOP
from aop_pose.formats.label import Label
from aop_pose.pseudo.run import PseudoFrame
from tests.fakes import textured

CENTRE, RADIUS = (60.0, 80.0), 25.0


def disc(picture, positive, negative, **words):
    """A segmenter that knows the head, whatever it is prompted with."""
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    return (np.hypot(x - CENTRE[0], y - CENTRE[1]) <= RADIUS).astype(np.float32)


def test_fh1_is_turned_onto_the_tangent_and_keeps_its_distance():
    points = np.array([[(0, 0), (-4, 0), (3, 4)]], float)
    # 5 from PS1 as before, on the ray through (0, 2).
    assert moved_onto(np.array([[0.0, 2.0]]), points)[0].tolist() == [[0, 0], [-4, 0], [0, 5]]


@pytest.fixture
def labels(tmp_path):
    """Two frames whose pseudo-angle is wrong by as much to either side; the true FH1 touches the disc."""
    ps1, ps2 = np.array([100.0, 30.0]), np.array([70.0, 20.0])
    towards = np.array(CENTRE) - ps1
    distance = np.hypot(*towards)
    reach, half = np.sqrt(distance**2 - RADIUS**2), np.arcsin(RADIUS / distance)

    def turned(by):
        turn = np.array([(np.cos(by), -np.sin(by)), (np.sin(by), np.cos(by))])
        return ps1 + turn @ (towards / distance) * reach

    true = max((turned(half), turned(-half)), key=lambda one: one[0] + one[1])
    labels, truth = [], {}
    for number, off in enumerate((-6.0, 6.0)):
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), textured(number, 128, 128))
        points = np.stack([ps1, ps2, true + np.array([off, 0.0])])
        labels.append(PseudoFrame(Label(path.name, path, (128, 128), Keypoints.from_points(AOP, points)), 1.0))
        truth[path.name] = np.stack([ps1, ps2, true])
    return labels, truth


def test_an_outline_that_is_right_mends_the_angle(labels):
    compared = compare(*labels, disc, "all strokes")
    assert (len(compared.points), compared.lost) == (2, 0)
    assert compared.tangents == pytest.approx(compared.truth[:, 2], abs=1.5)
    lines = rows(compared)
    errors = [float(line.split("|")[4].split()[0]) for line in lines[2:6]]
    assert errors[0] > 3 > 1 > errors[1]
    assert errors[2] == pytest.approx(errors[0] / 2, abs=0.5)


def test_free_strokes_draw_no_tangent(labels):
    seen = []

    def watching(picture, positive, negative, **words):
        seen.append(int(negative.sum()))
        return disc(picture, positive, negative)

    for without in PROMPTS.values():
        head_of(textured(0, 128, 128), labels[0][0].frame.keypoints.coords, watching, without)
    assert seen[0] > seen[1]
