"""Volumes without a head, and the gate that is fitted on them."""

import argparse
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

pytest.importorskip("lightning", reason="lightning comes with the train extra")

import volume_guards
from volume_guards import Seen

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints, Prediction
from aop_pose.core.schemas import FETAL_FACE
from aop_pose.trust.gate import VolumeGate
from lib.fetal_head import fetal_head
from lib.headless import (
    AWAY_MM,
    NEAR_MM,
    around,
    cut_out,
    cut_through,
    made_up,
    of_scan,
    side_by_side,
    wrong_size,
)

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
            assert part.voxels[tuple(np.rint(part.from_mm(head)).astype(int))] != volume.voxels[20, 30, 30]
    assert kinds.count("other part") == 3
    black = cut_out(volume, head, np.random.default_rng(0), filled=False)
    assert black.voxels[20, 30, 30] == 0
    assert black.voxels[60, 60, 50] == volume.voxels[60, 60, 50]


def test_made_up_volumes_are_of_every_kind_and_repeat():
    once, again = ([(kind, volume.voxels.sum()) for kind, volume in made_up(4, 3)] for _ in range(2))
    assert once == again
    assert [kind for kind, _ in once] == ["noise", "adult", "adult", "empty"]


def test_a_womb_without_a_head_is_the_phantom_but_for_its_head():
    coarse = np.full(3, 8.0)
    (whole, truth), (headless, _) = (fetal_head(5, coarse, (38, 38, 27), head=head) for head in (True, False))
    differs = np.argwhere(np.abs(whole.voxels - headless.voxels) > 0.1) * coarse
    assert 30 < np.linalg.norm(differs - truth.coords[0] * coarse, axis=1).max() < AWAY_MM


def test_heads_that_are_cut_doubled_or_of_a_wrong_size_are_where_they_are_said_to_be():
    volume, head = scan(), scan().to_mm(np.array([40.0, 35, 30]))
    draw = np.random.default_rng(3)
    for _ in range(8):
        cut = cut_through(volume, head, draw)
        assert abs(cut.edges_mm(cut.from_mm(head)[None])[0]) < 22
        start = np.rint(volume.from_mm(cut.to_mm(np.zeros(3)))).astype(int)
        i, j, k = (slice(a, a + n) for a, n in zip(start, cut.shape, strict=True))
        np.testing.assert_array_equal(cut.voxels, volume.voxels[i, j, k])
        share = wrong_size(volume, head, draw).spacing / volume.spacing
        assert np.ptp(share) < 1e-9
        assert 2 <= max(share[0], 1 / share[0]) <= 3
    box, start = around(volume, head, 60.0)
    np.testing.assert_array_equal(box.from_mm(head), [40 - start[0], 35 - start[1], 30 - start[2]])
    two = side_by_side(volume, head, volume, head)
    one = around(volume, head, NEAR_MM)[0]
    assert two.shape == (2 * one.shape[0], *one.shape[1:])


def test_a_rival_and_a_head_at_the_edge_do_not_pass():
    gate = VolumeGate(least=dict.fromkeys(NAMES, 0.2), clear_mm={"brain": 25.0}, rival=0.7, risk=0.1, fitted={})
    one = Seen("head", [0.9, 0.8, 0.7], [], 0.6, edges=[30.0, 5.0, 5.0])
    assert volume_guards.passes(gate, one, NAMES)
    assert not volume_guards.passes(gate, attrs.evolve(one, rival=0.7), NAMES)
    second = attrs.evolve(one, second=[0.3, 0.3, 0.3], second_distances=one.distances)
    assert not volume_guards.passes(gate, second, NAMES)
    assert volume_guards.passes(gate, attrs.evolve(second, second=[0.3, 0.3, 0.1]), NAMES)
    assert not volume_guards.passes(gate, attrs.evolve(one, edges=[20.0, 50.0, 50.0]), NAMES)
    assert not volume_guards.passes(gate, attrs.evolve(one, beyond=20.0), NAMES)


def test_a_gate_lets_heads_through_and_what_reaches_their_peaks_not():
    draw = np.random.default_rng(0)
    distances = draw.uniform([40, 40, 30], [60, 60, 45], (40, 3))
    real = [Seen("head", [0.9, *draw.uniform(0.4, 0.9, 2).round(3)], row.tolist(), 0.1) for row in distances]
    others = [Seen("noise", [], [], 0.0) for _ in range(30)]
    others += [Seen("adult", [0.9, 0.05, 0.04], [50.0, 50, 40], 0.0) for _ in range(30)]
    others += [Seen("other part", [0.9, 0.9, 0.9], [150.0, 50, 40], 0.0) for _ in range(30)]
    given = argparse.Namespace(seed=0, pass_share=0.95, fit_share=1 / 3, schema=FETAL_FACE, clear_mm={"brain": 25.0})
    gate = volume_guards.fit(real, others, NAMES, distances, given)
    assert gate.fitted["of_them_measured"] >= 36
    assert gate.fitted["of_them_measured_all_the_same"] == 0
    assert gate.fitted["volumes_without_a_head"] == 60
    assert 0.3 < gate.together < 0.9
    assert gate.least["right_eye"] == pytest.approx(0.4 * np.median([min(one.scores[1:]) for one in real]), abs=1e-4)
    (one, other, low, high) = gate.within_mm[0]
    assert (one, other) == ("brain", "left_eye")
    assert low < distances[:, 0].min() < distances[:, 0].max() < high


def test_what_gets_through_is_counted_by_kind_and_as_wrong_where_it_is():
    gate = VolumeGate(least=dict.fromkeys(NAMES, 0.2), together=0.5, clear_mm={"brain": 25.0}, risk=0.1, fitted={})
    high, low = ([peak] * 3 for peak in (0.9, 0.4))
    looked_at = [
        *(Seen("noise", low, [], 0.0) for _ in range(8)),
        Seen("adult", high, [], 0.0, edges=[40.0] * 3),
        Seen("adult", high, [], 0.0, edges=[10.0] * 3),
        Seen("head cut through", high, [], 0.0, edges=[40.0] * 3, mm=[2.0, 3.0, 31.0]),
        Seen("wrong size", [], [], 0.0, unfit="too large"),
    ]
    assert volume_guards.told_by_kind(gate, looked_at, NAMES) == {
        "noise": {"of": 8, "measured": 0, "wrong": 0},
        "adult": {"of": 2, "measured": 1, "wrong": 0},
        "head cut through": {"of": 1, "measured": 1, "wrong": 1},
        "wrong size": {"of": 1, "measured": 0, "wrong": 0},
    }


def test_pairs_are_told_with_and_without_the_place_beside(monkeypatch):
    """A second head in the longer volume, surely found: told by the place beside alone."""
    points = np.array([[20.0, 30, 30], [26, 34, 30], [26, 26, 30]])
    labels = [SimpleNamespace(name=name, volume=scan, points_of=lambda schema: points) for name in "ab"]
    face = Keypoints(FETAL_FACE, points, np.full(3, 0.9))
    gate = VolumeGate(least=dict.fromkeys(NAMES, 0.2), rival=0.8, risk=0.1, fitted={})

    def find(volume):
        alone = volume.shape == scan().shape
        return Prediction(face, 0.9, rival=0.4, beside=attrs.evolve(face, scores=np.full(3, 0.1 if alone else 0.3)))

    monkeypatch.setattr(volume_guards, "read", lambda given: (labels, FETAL_FACE, np.zeros(2)))
    artefact = SimpleNamespace(contract=SimpleNamespace(gate=gate), find=find)
    monkeypatch.setattr(volume_guards, "load", lambda file: artefact)
    told = volume_guards.two_heads(argparse.Namespace(artefact="x", fold=None, pairs=1)).splitlines()[2:]
    assert told[0].startswith("| a | b | measured | withheld: two places look alike (the second scores 0.40")
    assert told[1] == "| a | alone | measured | measured |"
