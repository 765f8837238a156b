"""Looks one after the other: where each looks, what counts, and what is refused. The networks are made up by hand."""

import numpy as np
import pytest
from pydantic import ValidationError

from aop_pose.core.frame import Volume
from aop_pose.inference.decode import decode_two, encode, highest_peaks
from aop_pose.inference.grid import rotated_maps, rotations, sample
from aop_pose.inference.stages import MOST_PLACES, Finer, Found
from aop_pose.inference.volume_predictor import VolumeContract, VolumePredictor

SPACING = np.array([3.0, 3.0, 4.5])
SHAPE = (60, 56, 40)
FACE = np.array([[80.0, 60, 70], [104, 84, 70], [104, 60, 103.5]])
"""Brain and eyes in mm of the volume's axes; the eyes are 41 mm apart."""
EYES = [["left_eye", "right_eye"]]


def contract_of(**changes):
    stage = {"around": "brain", "size": (32, 32, 32), "voxel_mm": 4.0, "sigma": 2.0, "rotations": 3}
    known = {
        "name": "made-up", "schema": "fetal_face", "size": (32, 32, 32), "voxel_mm": 8.0, "sigma": 1.5,
        "threshold": 0.1, "decode": "subpixel", "training_run": {}, "maps": [["brain"]], "candidates": 3,
        "apart_mm": (20, 60), "stages": [{**stage, "maps": [["brain"], *EYES]}],
    }  # fmt: skip
    return VolumeContract(**{**known, **changes})


def scan(*faces, background=0.02, shape=SHAPE, spacing=SPACING):
    """A volume that is half bright in a ball of 18 mm about each brain, and bright in small balls at the eyes.

    A bright slab along one side makes 1 the brightest there is.
    """
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) * spacing
    gray = np.full(shape, background)
    gray[:, -3:] = 1.0
    for brain, *eyes in faces:
        gray[np.linalg.norm(axes - brain, axis=-1) < 18] = 0.5
        for eye in eyes:
            gray[np.linalg.norm(axes - eye, axis=-1) < 8] = 1.0
    return Volume(gray.astype(np.float32), np.diag([*spacing, 1.0]), "v")


def blurred(values, sigma):
    """The mean of a map over a Gaussian ball, by its transform."""
    spread = [np.exp(-2 * (np.pi * sigma * np.fft.fftfreq(n)) ** 2) for n in values.shape]
    kernel = spread[0][:, None, None] * spread[1][:, None] * spread[2]
    return np.fft.ifftn(np.fft.fftn(values) * kernel).real


def seeing(asked):
    """Networks that see a brain where much is half bright, and eyes where something is bright, as in ``scan``."""

    def network(inputs, stage=0):
        asked.append((stage, inputs.shape[2:]))
        gray = inputs[0, 0]
        brain = 4 * (blurred((abs(gray - 0.5) < 0.2).astype(float), 9 / (4 if stage else 8)) - 0.5)
        maps = [brain, 12 * blurred(np.clip(gray - 0.6, 0, None), 1.0)] if stage else [brain]
        return np.clip(np.stack(maps)[None], 0, 1).astype(np.float32)

    return network


def found_in(volume, contract=None, network=None):
    asked = []
    predictor = VolumePredictor(contract or contract_of(), network or seeing(asked), "m")
    return predictor.find(volume), asked


def test_the_second_look_finds_the_eyes_around_the_brain_of_the_first():
    found, asked = found_in(scan(FACE))
    coords = found.keypoints.coords * SPACING
    eyes = coords[1:] if np.linalg.norm(coords[1] - FACE[1]) < 10 else coords[:0:-1]
    np.testing.assert_allclose(coords[0], FACE[0], atol=3)
    np.testing.assert_allclose(eyes, FACE[1:], atol=2)
    assert [stage for stage, _ in asked].count(0) == 1
    # One place, seen in three rotations, and again with what was found in the middle.
    assert [stage for stage, _ in asked].count(1) == 6
    assert found.rival == 0


def test_of_several_places_the_one_with_the_surest_answer_counts():
    """A ball without eyes that the first look likes better."""
    wrong = [FACE[0] + np.array([10, 0, 90.0])]
    volume = scan(FACE, wrong)
    for candidates, right in ((3, True), (1, False)):
        plain, asked = seeing([]), []

        def network(inputs, stage=0, asked=asked, plain=plain):
            maps = plain(inputs, stage)
            if stage == 0:
                asked.append(maps)
                # What lies farther along the last axis counts twice.
                maps = maps * np.linspace(0.3, 1, maps.shape[-1], dtype=np.float32)
            return maps

        found, _ = found_in(volume, contract_of(candidates=candidates), network)
        near = np.linalg.norm(found.keypoints.coords[0] * SPACING - FACE[0]) < 5
        assert near == right, candidates


@pytest.mark.parametrize(("search_mm", "right"), [(None, False), (40.0, True)])
def test_a_head_that_the_first_look_does_not_see_is_found_by_searching(search_mm, right):
    seeing_all, asked = seeing([]), []

    def network(inputs, stage=0):
        asked.append(stage)
        maps = seeing_all(inputs, stage)
        return maps if stage else np.flip(maps, axis=4) * np.float32(0.5)

    volume = scan(FACE, shape=(60, 56, 70))
    found, _ = found_in(volume, contract_of(size=(48, 48, 48), search_mm=search_mm), network)
    keypoints = found.keypoints
    near = keypoints is not None and np.linalg.norm(keypoints.coords[0] * SPACING - FACE[0]) < 5
    assert near == right
    # However large the volume says it is, the places are not without number.
    assert len(asked) < MOST_PLACES + 100


def test_a_second_head_is_told_as_a_rival():
    """Twins: the other head is as sure as the first."""
    volume = scan(FACE, FACE + np.array([0, 0, 150.0]), shape=(60, 56, 70))
    found, _ = found_in(volume, contract_of(size=(48, 48, 48)))
    assert 0.8 < found.rival <= 1
    alone, _ = found_in(scan(FACE, shape=(60, 56, 70)), contract_of(size=(48, 48, 48)))
    assert alone.rival < 0.1


SECOND = FACE + np.array([0, 0, 120.0])


class Canned(Finer):
    """Finds at each place what is said of the nearest one: its points in mm, and how sure each is."""

    def glance(self, volume, gray, middle, turns=()):
        points, sure = min(gray, key=lambda one: np.linalg.norm(one[0][0] - middle * SPACING))
        return Found(points / SPACING, np.full(3, sure))

    def at(self, volume, gray, middle):
        self.rule.append(middle * SPACING)
        return self.glance(volume, gray, middle)


@pytest.mark.parametrize(("other", "is_second"), [
    (SECOND, True), (np.stack([SECOND[0], *FACE[1:]]), False), (FACE + np.array([0, 0, 20.0]), False),
])  # fmt: skip
def test_a_second_head_is_looked_at_as_closely_however_much_surer_the_first_is(other, is_second):
    """Three places at the first head are surer. Where eyes or brain are the first one's there is no second head."""
    first = [(FACE + np.array([mm, 0, 0]), sure) for mm, sure in ((0, 0.9), (5, 0.8), (10, 0.7))]
    looked = []
    contract = contract_of()
    look = Canned(contract.stages[0], contract.schema_of_points.points, looked, (20, 60), (0, 1000), None)
    known = [*first, (other, 0.3)]
    best, rival, second = look.choose(scan(), known, [points[0] / SPACING for points, _ in known])
    np.testing.assert_allclose(best.points * SPACING, FACE)
    assert (second is not None) == is_second
    assert len(looked) == 3 + is_second
    if is_second:
        np.testing.assert_allclose(second.points * SPACING, SECOND)
        assert rival == pytest.approx((0.3 / 0.9) ** (4 / 3))


def test_the_same_eyes_with_a_brain_on_either_side_are_rivals():
    """Of a head that is cut at its middle the trunk may be taken for the brain; a trained network sees a brain only
    near the middle of its input."""
    sees = seeing([])
    axes = np.meshgrid(*(np.arange(32) - 15.5,) * 3, indexing="ij")
    near = sum(axis**2 for axis in axes) < 10**2

    def network(inputs, stage=0):
        maps = sees(inputs, stage)
        return np.concatenate([maps[:, :1] * near, maps[:, 1:]], axis=1) if stage else maps

    other_side = [2 * FACE[1:].mean(axis=0) - FACE[0]]
    found, _ = found_in(scan([*FACE], other_side), network=network)
    assert 0.8 < found.rival <= 1
    alone, _ = found_in(scan([*FACE]), network=network)
    assert alone.rival < 0.1


def test_without_a_head_nothing_is_found():
    found, asked = found_in(scan())
    assert found.keypoints is None
    assert "no anatomy found" in found.reason
    assert {stage for stage, _ in asked} == {0}


@pytest.mark.parametrize("cut", [64.0, 80.0])
def test_half_a_head_at_the_border_has_points_within_the_volume_or_none(cut):
    found, _ = found_in(scan(FACE - np.array([cut, 0, 0])))
    if found.keypoints is None:
        assert "no anatomy found" in found.reason
    else:
        coords = found.keypoints.coords
        known = coords[np.isfinite(coords).all(axis=1)]
        assert ((known >= -0.5) & (known <= np.array(SHAPE) - 0.5)).all()


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_wrong_spacing_takes_no_more_memory_than_a_right_one(factor):
    """Boxes are as large as the input of a look, whatever the size of the volume in millimetres."""
    seen = scan(FACE)
    volume = Volume(seen.voxels, np.diag([*SPACING * factor, 1.0]), "v")
    _, asked = found_in(volume)
    assert {size for _, size in asked} == {(32, 32, 32)}


def test_slices_five_times_as_thick_are_measured_in_millimetres():
    spacing = np.array([2.0, 2.0, 10.0])
    found, _ = found_in(scan(FACE, shape=(90, 84, 18), spacing=spacing))
    coords = found.keypoints.coords * spacing
    np.testing.assert_allclose(coords[0], FACE[0], atol=5)
    assert sorted(np.linalg.norm(coords[1:, None] - FACE[None, 1:], axis=-1).min(axis=1))[1] < 6


def test_a_contract_whose_looks_do_not_hang_together_is_refused():
    stage = contract_of().stages[0].model_dump()
    for changes, said in (
        ({"maps": [["left_eye"]]}, "around a point that was found before"),
        ({"maps": [["brain"], ["nose"]]}, "expected one or two of"),
        ({"stages": []}, "found none of left_eye, right_eye"),
        ({"stages": [{**stage, "maps": [["brain"]]}]}, "found none of left_eye, right_eye"),
        ({"stages": [{**stage, "rotations": 0}]}, "greater than or equal to 1"),
    ):
        with pytest.raises(ValidationError, match=said):
            contract_of(**changes)


def test_two_points_of_one_map_are_the_two_highest_peaks_at_a_likely_distance():
    points = np.array([[[10.0, 8.4, 6], [10, 20.2, 9], [11, 10, 7]]])
    maps = encode(points, (24, 24, 24), 1.5)[0]
    # The third, not far from the first, is higher than either.
    shown = np.maximum(np.maximum(0.6 * maps[0], 0.5 * maps[1]), 0)
    shown[7, 10, 11] = 0.9
    found, scores = decode_two(shown, "subpixel", 8, 14)
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(np.linalg.norm(points[0, 0] - points[0, 1]), abs=3.5)
    both = np.maximum(0.6 * maps[0], 0.5 * maps[1])
    found, scores = decode_two(both, "subpixel", 8, 14)
    np.testing.assert_allclose(found, points[0, :2], atol=0.05)
    np.testing.assert_allclose(scores, [0.6, 0.5], atol=0.07)
    alone, scores = decode_two(both, "subpixel", 2, 5)
    np.testing.assert_allclose(alone[0], points[0, 0], atol=0.05)
    assert np.isnan(alone[1]).all()
    assert scores[1] == 0
    nothing, scores = decode_two(np.zeros((8, 8, 8)), "subpixel", 2, 5)
    assert np.isnan(nothing).all()
    assert scores.tolist() == [0, 0]


def test_peaks_are_the_highest_first_and_apart():
    values = np.zeros((9, 9))
    values[1, 1], values[1, 3], values[7, 7], values[4, 8] = 3, 2.5, 2, 1
    assert highest_peaks(values, 4).tolist() == [[1, 1], [1, 3], [7, 7], [4, 8]]
    assert highest_peaks(values, 4, apart=4.0).tolist() == [[1, 1], [7, 7]]
    assert highest_peaks(values, 1).tolist() == [[1, 1]]
    assert highest_peaks(np.zeros((4, 4)), 2).shape == (0, 2)


def test_maps_of_rotations_are_turned_back():
    """A network that answers with its input has the same maps in every rotation, but for the interpolation."""
    axes = np.ogrid[:40, :40, :40]
    values = np.exp(-sum((a - p) ** 2 for a, p in zip(axes, (22, 17, 20), strict=True)) / (2 * 3.0**2))
    centre = np.array([19.5, 19.5, 19.5])
    once = rotated_maps(lambda inputs: inputs, values, centre, (24, 24, 24), rotations(1))
    np.testing.assert_allclose(once[0], values[8:32, 8:32, 8:32], atol=1e-6)
    often = rotated_maps(lambda inputs: inputs, values, centre, (24, 24, 24), rotations(12))
    assert np.abs(often - once)[0, 4:20, 4:20, 4:20].max() < 0.06
    for turn in rotations(24):
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
    assert sample(values, np.array([[22.0, 17, 20]])) == pytest.approx([1])
