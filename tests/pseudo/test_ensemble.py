"""Several networks in several views: hand-worked means, spreads and weights, and the table that they make."""

import csv
import json

import attrs
import cv2
import numpy as np
import pytest

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference.predictor import Predictor
from aop_pose.pseudo.chosen import find_pseudo
from aop_pose.pseudo.ensemble import VIEWS, Ensemble, robust_mean, teachers
from aop_pose.pseudo.label import COLUMNS_OF_TABLE, POINT_SPREADS, POINT_WEIGHTS
from aop_pose.pseudo.run import Cut, pseudo_label, read_origin, read_pseudo, unlabelled_frames
from tests.fakes import POINTS, contract, fake_network, fake_predictor, write_frames


def moved(name: str, by: tuple[float, float], point: int = 2) -> Predictor:
    """The stand-in with one of its points elsewhere."""

    def network(inputs):
        output = fake_network(inputs)
        output[:, 5 + 2 * point : 7 + 2 * point, 0] += by
        return output

    return Predictor(contract(), network, f"{name}@00000000")


def rows(file):
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_pass_that_went_astray_pulls_little():
    points = np.zeros((5, 1, 2))
    points[:, 0, 0] = [-1, 0, 1, 0, 100]
    mean = robust_mean(points)
    assert 0 <= mean[0, 0] < 1.2
    assert mean[0, 1] == 0
    np.testing.assert_allclose(robust_mean(points[:3]), [[0, 0]])


def test_points_are_the_mean_and_weights_follow_the_spread(tmp_path):
    write_frames(tmp_path / "images", 2)
    networks = [fake_predictor(), moved("second", (0, 4)), moved("third", (0, -4))]
    out = tmp_path / "pseudo.csv"
    pseudo_label(teachers(networks, 1), unlabelled_frames(tmp_path, None, []), out)
    first, _ = rows(out)
    assert list(first) == [*COLUMNS_OF_TABLE, *POINT_WEIGHTS, *POINT_SPREADS]
    assert (first["PS1"], first["FH1"]) == ("(150, 60)", "(170, 120)")
    # Distances 0, 4, 4 from the mean; of 256 pixels, over the tolerance of 1 %.
    assert float(first["spread_FH1"]) == pytest.approx(8 / 3, abs=1e-3)
    assert float(first["spread_PS1"]) == 0
    assert float(first["weight_FH1"]) == pytest.approx(np.exp(-8 / 3 / 2.56), abs=1e-4)
    assert float(first["weight_PS1"]) == 1
    assert float(first["weight"]) == pytest.approx((2 + float(first["weight_FH1"])) / 3, abs=1e-6)
    told = json.loads((tmp_path / "pseudo.run.json").read_text())
    assert told["model"] == "fake@00000000 + second@00000000 + third@00000000"
    assert told["views"] == 1
    assert read_origin(out).confidence is None


def test_views_are_turned_back(tmp_path):
    """A network that finds a bright spot finds it in every view at one place of the picture."""

    def network(inputs):
        output = fake_network(inputs)
        for number, picture in enumerate(inputs[:, 0]):
            y, x = np.unravel_index(cv2.GaussianBlur(picture, (0, 0), 3).argmax(), picture.shape)
            output[number, 5:, 0] = np.tile([x, y], 3) + np.arange(6)
            output[number, 4, 0] = 0.9
        return output

    pixels = np.zeros((256, 256), np.uint8)
    cv2.circle(pixels, (150, 90), 5, 255, -1)
    agreed = Ensemble((Predictor(contract(), network, "spot@0"),)).agree(pixels)
    assert agreed.passes == agreed.found == len(VIEWS)
    np.testing.assert_allclose(agreed.points[0], [150, 91], atol=1.5)
    assert agreed.spreads.max() < 2


def test_a_frame_that_most_passes_do_not_know_is_dropped(tmp_path):
    write_frames(tmp_path / "images", 1)
    blind = Predictor(contract(threshold=0.99), fake_network, "blind@0")
    out = tmp_path / "pseudo.csv"
    with pytest.raises(AopPoseError, match="no frame of 1 was kept"):
        pseudo_label(teachers([blind], 3), unlabelled_frames(tmp_path, None, []), out)
    assert rows(out)[0]["reason"] == "no anatomy found in 3 of 3 passes"


def test_an_interrupted_table_goes_on_to_the_same_bytes(tmp_path):
    write_frames(tmp_path / "images", 4)
    frames = unlabelled_frames(tmp_path, None, [])
    teacher = teachers([fake_predictor(), moved("second", (2, 0))], 2)
    pseudo_label(teacher, frames, tmp_path / "straight.csv")

    def stop(row, done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pseudo_label(teacher, frames, tmp_path / "resumed.csv", on_row=stop)
    pseudo_label(teacher, frames, tmp_path / "resumed.csv")
    assert (tmp_path / "resumed.csv").read_bytes() == (tmp_path / "straight.csv").read_bytes()


def test_uniform_weights_are_1_for_every_point(tmp_path):
    write_frames(tmp_path / "images", 1)
    out = tmp_path / "pseudo.csv"
    teacher = teachers([fake_predictor(), moved("second", (9, 0))], 1)
    pseudo_label(teacher, unlabelled_frames(tmp_path, None, []), out, cut=Cut(uniform=True))
    row = rows(out)[0]
    assert {row[column] for column in ("weight", *POINT_WEIGHTS)} == {"1"}


def test_weights_of_each_point_have_the_mean_1(tmp_path):
    write_frames(tmp_path / "images", 2)
    given = '{name},"(150, 60)","(80, 80)","(170, 120)",100,1,,0.9,1.5,,0.5,{each}'
    table = tmp_path / "pseudo.csv"
    header = ",".join([*COLUMNS_OF_TABLE, *POINT_WEIGHTS])
    lines = [given.format(name="000.png", each="0.1,0.5,0.2"), given.format(name="001.png", each="0.3,0.5,0")]
    table.write_text("\n".join([header, *lines]) + "\n")
    found = find_pseudo("pseudo.csv", tmp_path, None, {})
    np.testing.assert_allclose(found.point_weights(), [[0.5, 1, 2], [1.5, 1, 0]])
    np.testing.assert_array_equal(read_pseudo(table, tmp_path)[0].weights, [0.1, 0.5, 0.2])
    table.write_text("\n".join([header, lines[1].replace("001.png", "000.png")]) + "\n")
    with pytest.raises(UsageError, match=r"pseudo\.csv: expected weights above 0, found only 0 for FH1 on 1 frames"):
        find_pseudo("pseudo.csv", tmp_path, None, {}).point_weights()
    table.write_text("\n".join([header, lines[0].replace("0.1,0.5", "0.1,1.5")]) + "\n")
    with pytest.raises(UsageError, match=r"pseudo\.csv:2: weight_PS2: expected a number from 0 to 1, found '1.5'"):
        read_pseudo(table, tmp_path)


def test_what_cannot_label_together_is_refused():
    with pytest.raises(UsageError, match="one schema, found aop, head"):
        Ensemble((fake_predictor(), attrs.evolve(fake_predictor(schema="head", head="heatmap", decode="argmax"))))
    with pytest.raises(UsageError, match="each network once, found fake@00000000 again"):
        Ensemble((fake_predictor(), fake_predictor()))
    with pytest.raises(UsageError, match="--views: expected 1 to 7, found 8"):
        Ensemble((fake_predictor(),), 8)
    assert teachers([one := fake_predictor()], None) is one


def test_a_lone_network_in_views_weighs_points_too(tmp_path):
    write_frames(tmp_path / "images", 1)
    out = tmp_path / "pseudo.csv"
    pseudo_label(teachers([fake_predictor()], 1), unlabelled_frames(tmp_path, None, []), out)
    assert rows(out)[0]["weight_PS2"] == "1.00000000"
    np.testing.assert_allclose(read_pseudo(out, tmp_path)[0].frame.keypoints.coords, POINTS)
