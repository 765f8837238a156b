"""Points of volumes from a network's maps: original voxel indices, sides, windows, and what a contract has to say."""

import numpy as np
import pytest

from aop_pose.core.frame import Volume
from aop_pose.core.schema import SCHEMAS
from aop_pose.core.schemas import FETAL_FACE, FETUS
from aop_pose.errors import UsageError
from aop_pose.inference.decode import encode
from aop_pose.inference.predictor import Opened
from aop_pose.inference.volume_predictor import (
    VolumeContract,
    VolumePredictor,
    measures_volumes,
    read_maps,
    sides_order,
    volume_predictor_of,
)
from aop_pose.pipelines import open_weights
from tests.fakes import SIDED_FACE

AFFINES = {
    "plain": np.diag([3.0, 2.0, 4.5, 1.0]),
    "mirrored": np.diag([3.0, -2.0, 4.5, 1.0]),
    "turned": np.array([[0.0, 0, 4.5, 1], [3, 0, 0, 2], [0, -2, 0, 3], [0, 0, 0, 1]]),
}
SHAPE = (24, 30, 14)
POINTS = np.array([[4.0, 7, 3], [12, 21, 8], [19, 5, 11]])


def contract_of(**changes):
    known = {"name": "made-up", "schema": "fetal_face", "size": (24, 24, 24), "sigma": 2.0, "threshold": 0.1}
    return VolumeContract(**{**known, "decode": "subpixel", "training_run": {}, **changes})


def bright(points=POINTS):
    """A volume whose points have gray values of 60, 70, 80, ... and everything else 0."""
    voxels = np.zeros(SHAPE, np.float32)
    for height, point in enumerate(points.astype(int)):
        voxels[tuple(point)] = 60 + 10 * height
    return voxels


def network_of(predictor_place):
    """Answers with maps of ``POINTS`` where the volume lies: a network that is always right."""

    def network(inputs):
        points = predictor_place().forward(POINTS)
        return encode(points[None, :, ::-1], inputs.shape[2:], 2.0).astype(np.float32)

    return network


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("voxel_mm", [None, 3.7])
def test_points_come_back_in_voxels_of_the_original_volume(affine, voxel_mm):
    volume = Volume(bright(), affine, "v")
    contract = contract_of(voxel_mm=voxel_mm)
    predictor = VolumePredictor(contract, lambda inputs: None, "m")
    predictor = VolumePredictor(contract, network_of(lambda: predictor.place(volume, volume.voxels)), "m")
    found = predictor.find(volume)
    np.testing.assert_allclose(found.keypoints.coords, POINTS, atol=0.02)
    assert found.score > 0.8
    assert found.reason == ""


def test_axes_of_maps_and_points_are_in_the_same_order():
    maps = np.zeros((1, 9, 8, 7), np.float32)
    maps[0, 2, 5, 6] = 0.7
    points, scores = read_maps(maps, "argmax")
    assert points.tolist() == [[2, 5, 6]]
    assert scores == pytest.approx(0.7)


def test_what_is_not_found_is_named_and_a_blank_volume_has_no_points():
    volume = Volume(bright(), AFFINES["plain"], "v")
    heights = np.array([0.9, 0.05, 0.4])[None, :, None, None, None]
    good = VolumePredictor(contract_of(), lambda inputs: None, "m")
    whole = network_of(lambda: good.place(volume, volume.voxels))
    found = VolumePredictor(contract_of(), lambda inputs: whole(inputs) * heights, "m").find(volume)
    assert np.isnan(found.keypoints["left_eye"]).all()
    assert np.isfinite(found.keypoints["right_eye"]).all()
    assert found.score == pytest.approx(0.4, abs=0.05)
    assert found.reason == "not found: left_eye"
    nothing = VolumePredictor(contract_of(), lambda inputs: whole(inputs) * 0.01, "m").find(volume)
    assert nothing.keypoints is None
    assert "no anatomy found (best score 0.010, needed 0.1)" in nothing.reason
    flat = good.find(Volume(np.full(SHAPE, 3.0, np.float32), AFFINES["plain"], "v"))
    assert flat.keypoints is None
    assert "one value" in flat.reason


def test_a_volume_smaller_than_the_stride_is_padded_and_said():
    volume = Volume(bright(), np.eye(4), "v")
    contract = contract_of(voxel_mm=2.0, size=(32, 32, 32), stride=16)
    predictor = VolumePredictor(contract, lambda inputs: None, "m")
    predictor = VolumePredictor(contract, network_of(lambda: predictor.place(volume, volume.voxels)), "m")
    reason = predictor.find(volume).reason
    assert reason == "padded: the volume has 24x30x14 voxels, in the network's grid 12x15x7 of 2 mm; its stride is 16"


def test_a_volume_enlarged_to_the_grid_is_said_to_be_smaller_than_the_stride():
    tiny = Volume(np.arange(8, dtype=np.float32).reshape(2, 2, 2), np.eye(4), "v")
    predictor = VolumePredictor(contract_of(stride=8), lambda inputs: np.ones((1, 3, 24, 24, 24)), "m")
    assert predictor.find(tiny).reason.startswith("padded: the volume has 2x2x2 voxels")


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_peak_in_the_padding_is_no_point(affine):
    """A slab in a cube: the network is surest beyond it."""
    slab = Volume(np.random.default_rng(0).random((24, 30, 3), dtype=np.float32), affine, "v")
    place = VolumePredictor(contract_of(), lambda inputs: None, "m").place(slab, slab.voxels)
    maps = np.ones((1, 3, *place.size), np.float32)
    maps[(0, slice(None), *place.covered)] = (
        0.5 * encode(place.forward(POINTS)[:, ::-1], place.size, 2.0)[(slice(None), *place.covered)]
    )
    found = VolumePredictor(contract_of(threshold=0.0), lambda inputs: maps, "m").find(slab)
    assert found.keypoints.outside(*slab.shape) == []
    np.testing.assert_allclose(found.keypoints.coords[0], POINTS[0], atol=1.0)


def test_sides_that_cannot_be_told_apart_are_no_points():
    """Without the nasal bone equation 7 is silent."""
    fetus = upright_fetus()
    fetus = fetus if sides_order(fetus) == list(range(22)) else fetus * [-1, 1, 1]
    volume = Volume(np.random.default_rng(0).random((50, 50, 50), dtype=np.float32), np.eye(4), "v")
    contract = contract_of(schema="fetus", sides="equation 7", size=(50, 50, 50), voxel_mm=1.0)
    heights = np.where(np.arange(22) == FETUS.index("nasal_bone"), 0.01, 1.0)[None, :, None, None, None]

    def network(inputs):
        return heights * encode((fetus + np.array([25, 25, 15]))[None, :, ::-1], inputs.shape[2:], 2.0)

    found = VolumePredictor(contract, network, "m").find(volume)
    sided = [index for side in FETUS.sides for part in side for index in part]
    assert np.isnan(found.keypoints.coords[sided]).all()
    assert np.isfinite(np.delete(found.keypoints.coords, [*sided, FETUS.index("nasal_bone")], axis=0)).all()
    assert found.reason.startswith("not found: nasal_bone; left and right not told apart: left_shoulder")


def test_windows_of_a_network_that_sees_single_voxels_give_the_whole():
    volume = Volume(np.random.default_rng(0).random(SHAPE, dtype=np.float32), AFFINES["plain"], "v")
    seen = []

    def network(inputs):
        seen.append(inputs.shape)
        return np.concatenate([inputs, inputs**2, 1 - inputs], axis=1)

    windowed = VolumePredictor(contract_of(mode="patch", voxel_mm=2.0, size=(16, 16, 16)), network, "m")
    maps = windowed.maps(volume)
    assert maps.placement.size == (36, 30, 32)
    assert set(seen) == {(1, 1, 16, 16, 16)}
    assert len(seen) > 8
    seen.clear()
    whole = VolumePredictor(contract_of(voxel_mm=2.0, size=(36, 30, 32)), network, "m").maps(volume)
    np.testing.assert_allclose(maps.maps, whole.maps, atol=1e-6)


@pytest.mark.parametrize(("size", "turns"), [((36, 36, 36), 24), ((36, 30, 32), 4), ((36, 30, 36), 8)])
def test_all_turns_that_keep_the_input_s_shape_are_averaged(size, turns):
    """Of a network that sees single voxels the maps stay the same; it sees as many inputs, one at a time."""
    volume = Volume(bright(), AFFINES["mirrored"], "v")
    seen = []

    def network(inputs):
        seen.append(inputs[0, 0])
        return np.concatenate([inputs, inputs**2, 1 - inputs], axis=1)

    plain = VolumePredictor(contract_of(size=size, voxel_mm=2.5), network, "m")
    turned = VolumePredictor(contract_of(size=size, voxel_mm=2.5, turns=24), network, "m")
    np.testing.assert_allclose(turned.maps(volume).maps, plain.maps(volume).maps, atol=1e-6)
    assert {one.shape for one in seen} == {size}
    assert len({one.tobytes() for one in seen}) == len(seen) - 1 == turns
    assert turned.further_facts == {"turns": turns}
    assert plain.further_facts == {}


def test_windows_are_turned_too():
    volume = Volume(np.random.default_rng(0).random(SHAPE, dtype=np.float32), AFFINES["plain"], "v")
    network = lambda inputs: np.concatenate([inputs, inputs**2, 1 - inputs], axis=1)  # noqa: E731
    contract = contract_of(mode="patch", voxel_mm=2.0, size=(16, 16, 16))
    turned = VolumePredictor(contract.model_copy(update={"turns": 24}), network, "m").maps(volume)
    np.testing.assert_allclose(turned.maps, VolumePredictor(contract, network, "m").maps(volume).maps, atol=1e-6)


def test_sides_that_were_not_taught_are_not_mixed_by_the_turns(monkeypatch):
    """A network that calls the eye with the lower last index left, in whatever turn it sees it."""

    def network(inputs):
        found = [np.unravel_index((abs(inputs[0, 0] - gray)).argmin(), inputs.shape[2:]) for gray in (0.75, 0.875, 1)]
        points = np.array([found[0], *sorted(found[1:], key=lambda point: point[2])], float)
        return encode(points[None, :, ::-1], inputs.shape[2:], 1.0).astype(np.float32)

    # One voxel of the volume is one of the grid, and the points are the brightest 3 of a volume scaled to its maximum.
    volume = Volume(bright(), np.eye(4), "v")
    monkeypatch.setitem(SCHEMAS, SIDED_FACE.name, SIDED_FACE)
    contract = contract_of(schema=SIDED_FACE.name, voxel_mm=1.0, size=(30, 30, 30), turns=24)
    unsided = VolumePredictor(contract.model_copy(update={"sides": "unknown"}), network, "m").find(volume)
    assert unsided.score == pytest.approx(1, abs=1e-3)
    eyes = unsided.keypoints.coords[1:]
    np.testing.assert_allclose(eyes[np.argsort(eyes[:, 0])], POINTS[1:], atol=0.05)
    assert VolumePredictor(contract, network, "m").find(volume).score < 0.7


def upright_fetus():
    """A fetus that looks along y and stands along z, its left at negative x: (22, 3) mm in RAS."""
    draw = np.random.default_rng(3)
    points = draw.normal(scale=2, size=(22, 3))
    points[[0, 3, 5]] = [[0, 0, 30], [0, 12, 20], [0, -10, 12]]
    for left, right in FETUS.sides:
        points[list(left), 0] -= 15
        points[list(right), 0] += 15
    return points


def test_sides_are_named_by_equation_7_in_mirrored_files_too():
    """In a network's answer with sides exchanged, in either handedness of the file."""
    fetus = upright_fetus()
    fetus = fetus if sides_order(fetus) == list(range(22)) else fetus * [-1, 1, 1]
    exchanged = fetus.copy()
    for left, right in FETUS.sides:
        exchanged[[*left, *right]] = fetus[[*right, *left]]
    for sign in (1, -1):
        affine = np.diag([1.0, 1.0, sign, 1.0])
        affine[:3, 3] = -25, -25, -sign * 25 + 10
        volume = Volume(np.random.default_rng(0).random((50, 50, 50), dtype=np.float32), affine, "v")
        contract = contract_of(schema="fetus", sides="equation 7", size=(50, 50, 50), voxel_mm=1.0, threshold=0.0)
        predictor = VolumePredictor(contract, lambda inputs: None, "m")

        def network(inputs, volume=volume, predictor=predictor):
            points = predictor.place(volume, volume.voxels).forward(volume.from_mm(exchanged))
            return encode(points[None, :, ::-1], inputs.shape[2:], 2.0).astype(np.float32)

        found = VolumePredictor(contract, network, "m").find(volume)
        np.testing.assert_allclose(volume.to_mm(found.keypoints.coords), fetus, atol=0.1)
        learned = contract.model_copy(update={"sides": "learned"})
        kept = VolumePredictor(learned, network, "m").find(volume)
        np.testing.assert_allclose(volume.to_mm(kept.keypoints.coords), exchanged, atol=0.1)


def opened(tmp_path, contract, network):
    return Opened(tmp_path / "x.onnx", network, {"aop_pose": contract}, "0" * 64)


def test_a_contract_says_what_it_is(tmp_path):
    good = contract_of().model_dump_json(by_alias=True)
    answering = lambda inputs: np.zeros((1, 3, *inputs.shape[2:]), np.float32)  # noqa: E731
    assert measures_volumes(opened(tmp_path, good, answering))
    assert not measures_volumes(opened(tmp_path, '{"head": "pose"}', answering))
    assert not measures_volumes(opened(tmp_path, "[]", answering))
    assert not measures_volumes(opened(tmp_path, "{", answering))
    predictor = volume_predictor_of(opened(tmp_path, good, answering))
    assert predictor.schema is FETAL_FACE
    assert predictor.model_id == "made-up@00000000"
    with pytest.raises(UsageError, match="does not fit this version"):
        volume_predictor_of(opened(tmp_path, good.replace('"subpixel"', '"crystal"'), answering))
    with pytest.raises(UsageError, match="schema"):
        volume_predictor_of(opened(tmp_path, good.replace('"fetal_face"', '"aop"'), answering))
    with pytest.raises(UsageError, match=r"expected an answer of shape \(1, 3, 24, 24, 24\), found \(1, 2"):
        volume_predictor_of(opened(tmp_path, good, lambda inputs: np.zeros((1, 2, *inputs.shape[2:]))))

    def refusing(inputs):
        raise RuntimeError("no")

    with pytest.raises(UsageError, match="does not take"):
        volume_predictor_of(opened(tmp_path, good, refusing))


def test_an_artefact_of_frames_is_still_one():
    assert open_weights(None).schema.name == "aop"
