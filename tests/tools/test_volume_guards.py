"""Volumes without a head, and the gate that is fitted on them."""

import argparse

import numpy as np
import pytest

pytest.importorskip("lightning", reason="lightning comes with the train extra")

import volume_guards
from volume_guards import Seen

from aop_pose.core.frame import Volume
from aop_pose.core.schemas import FETAL_FACE
from lib.headless import AWAY_MM, cut_out, made_up, of_scan

NAMES = ["brain", "left_eye", "right_eye"]


def scan(shape=(80, 70, 60), spacing=4.0):
    values = np.random.default_rng(0).random(shape, dtype=np.float32) + 0.5
    return Volume(values, np.diag([spacing, -spacing, spacing, 1.0]), "v")


def test_no_part_of_a_scan_comes_near_the_head():
    volume = scan()
    head = volume.to_mm(np.array([20.0, 30, 30]))
    kinds = []
    for kind, part in of_scan(volume, head, 6, (0, 1)):
        kinds.append(kind)
        if kind == "other part":
            corners = np.stack(np.meshgrid(*(np.arange(n) for n in part.shape), indexing="ij"), -1).reshape(-1, 3)
            assert np.linalg.norm(part.to_mm(corners) - head, axis=1).min() > AWAY_MM
            start = np.rint(volume.from_mm(part.to_mm(np.zeros(3)))).astype(int)
            i, j, k = (slice(a, a + n) for a, n in zip(start, part.shape, strict=True))
            np.testing.assert_array_equal(part.voxels, volume.voxels[i, j, k])
        else:
            assert part.shape == volume.shape
    assert kinds.count("other part") == 3
    black = cut_out(volume, head, np.random.default_rng(0), filled=False)
    assert black.voxels[20, 30, 30] == 0
    assert black.voxels[60, 60, 50] == volume.voxels[60, 60, 50]


def test_made_up_volumes_are_of_every_kind_and_repeat():
    once, again = ([(kind, volume.voxels.sum()) for kind, volume in made_up(4, 3)] for _ in range(2))
    assert once == again
    assert [kind for kind, _ in once] == ["noise", "adult", "adult", "empty"]


def test_a_gate_lets_heads_through_and_what_reaches_their_peaks_not():
    draw = np.random.default_rng(0)
    distances = draw.uniform([40, 40, 30], [60, 60, 45], (40, 3))
    real = [Seen("head", [0.9, *draw.uniform(0.4, 0.9, 2).round(3)], row.tolist(), 0.1) for row in distances]
    others = [Seen("noise", [], [], 0.0) for _ in range(30)]
    others += [Seen("adult", [0.9, 0.05, 0.04], [50.0, 50, 40], 0.0) for _ in range(30)]
    others += [Seen("other part", [0.9, 0.9, 0.9], [150.0, 50, 40], 0.0) for _ in range(30)]
    given = argparse.Namespace(seed=0, pass_share=0.95, fit_share=1 / 3, schema=FETAL_FACE)
    gate = volume_guards.fit(real, others, NAMES, distances, given)
    assert gate.fitted["of_them_measured"] >= 36
    assert gate.fitted["of_them_measured_all_the_same"] == 0
    assert gate.fitted["volumes_without_a_head"] == 60
    assert 0.04 < gate.least["right_eye"] < 0.9
    (one, other, low, high) = gate.within_mm[0]
    assert (one, other) == ("brain", "left_eye")
    assert low < distances[:, 0].min() < distances[:, 0].max() < high
