"""A volume of a made-up fetus: the same each time, exact points, speckle, shadow and field of view as stated."""

import cv2
import numpy as np
import pytest

from aop_pose.core.schemas import FETUS
from aop_pose.errors import UsageError
from aop_pose.phantom.fetus import make_fetus, make_fetus_sequence
from aop_pose.phantom.fetus.body import Ellipsoid, Place, head_parts
from aop_pose.phantom.fetus.movement import TOUCH
from aop_pose.phantom.fetus.scan import BeamGrid, Probe, Tissue, envelope, pulse, scan_convert
from tests.phantom.joints import within_bounds

SMALL = (44, 28, 28)
MIDDLE = (66, 42, 42)
PROBE = Probe((90.0, 60.0, 60.0), near=27.0, wide=0.7, tall=0.5)


@pytest.fixture(scope="module")
def phantoms():
    return [make_fetus(11, index, MIDDLE) for index in range(6)]


def gray_at(phantom, points):
    """Gray values of the nearest voxels, points in scan coordinates (n, 3)."""
    across, _, up = phantom.scene.probe.box
    shift = np.array([across / 2, -phantom.scene.probe.near, up / 2])
    indices = np.rint((points + shift) / phantom.scene.spacing - 0.5).astype(int)
    i, j, k = indices.clip(0, np.array(phantom.volume.shape) - 1).T
    return phantom.volume.voxels[i, j, k]


def test_a_seed_and_an_index_give_the_same_fetus_in_any_company():
    one, again, other = make_fetus(3, 2, SMALL), make_fetus(3, 2, SMALL), make_fetus(3, 1, SMALL)
    assert (one.volume.voxels == again.volume.voxels).all()
    assert (one.keypoints.coords == again.keypoints.coords).all()
    assert not np.array_equal(one.keypoints.coords, other.keypoints.coords)
    assert not np.array_equal(make_fetus(4, 2, SMALL).keypoints.coords, one.keypoints.coords)


def test_another_machine_gives_the_same_fetus():
    """Numbers of the machine on which it was written: results on phantoms are only comparable while they hold."""
    phantom = make_fetus(0)
    np.testing.assert_allclose(phantom.keypoints["cranial_crest"], [30.702, 7.768, 33.695], atol=1e-3)
    np.testing.assert_allclose(phantom.keypoints["left_wrist"], [53.555, 33.049, 33.719], atol=1e-3)
    assert phantom.volume.voxels.mean() == pytest.approx(42.755, abs=0.02)


def test_a_size_changes_the_sampling_and_nothing_else():
    coarse, fine = make_fetus(5, 0, SMALL), make_fetus(5, 0, (88, 56, 56))
    np.testing.assert_allclose(coarse.points_mm, fine.points_mm, atol=1e-9)
    halved = fine.volume.voxels.reshape(44, 2, 28, 2, 28, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(halved.ravel(), coarse.volume.voxels.ravel())[0, 1] > 0.8


def test_voxels_and_millimetres_agree(phantoms):
    for phantom in phantoms:
        volume, points = phantom.volume, phantom.keypoints
        assert volume.voxels.dtype == np.float32
        assert volume.shape == MIDDLE
        assert volume.handedness == 1
        assert points.outside(*volume.shape) == []
        assert points.complete
        scene = phantom.scene
        np.testing.assert_allclose(np.diff(phantom.points_mm, axis=0), np.diff(scene.points, axis=0), atol=1e-9)
        thigh = phantom.points_mm[FETUS.index("left_knee")] - phantom.points_mm[FETUS.index("left_hip")]
        assert np.linalg.norm(thigh) == pytest.approx(scene.attitude.trunk.body.thigh)


def test_every_point_is_seen(phantoms):
    for phantom in phantoms:
        assert phantom.scene.probe.contains(phantom.scene.points, 4.0).all()


def test_values_are_gray_levels_and_nothing_is_seen_outside_the_field(phantoms):
    for phantom in phantoms:
        voxels = phantom.volume.voxels
        assert voxels.min() == 0
        assert 150 < voxels.max() <= 255
        assert np.array_equal(voxels, np.rint(voxels))
        # The corners beside the probe are outside the pyramid.
        assert (voxels[:3, :3] == 0).all()
        assert (voxels[-3:, :3] == 0).all()


def test_the_skull_is_bright_and_lies_where_the_points_say(phantoms):
    """Mean gray along rays from the centre of the skull, in half axes: brain, bone just inside 1, and beyond."""
    inside, bone, outside = [], [], []
    rng = np.random.default_rng(0)
    rays = rng.standard_normal((60, 3))
    rays /= np.linalg.norm(rays, axis=1)[:, None]
    for phantom in phantoms:
        skull = head_parts(phantom.scene.attitude.trunk)["skull"].moved(phantom.scene.world)
        for level, found in ((0.75, inside), (0.97, bone), (1.3, outside)):
            places = skull.middle + (level * rays * skull.half) @ skull.place.turn.T
            found.append(gray_at(phantom, places).mean())
    assert np.mean(bone) > np.mean(inside) + 40
    assert np.mean(bone) > np.mean(outside) + 40


def test_bones_are_brighter_than_the_fluid_around(phantoms):
    shafts, fluid = [], []
    for phantom in phantoms:
        points = dict(zip(FETUS.points, phantom.scene.points, strict=True))
        for side in ("left", "right"):
            for start, end in (("shoulder", "elbow"), ("hip", "knee"), ("knee", "ankle")):
                middle = (points[f"{side}_{start}"] + points[f"{side}_{end}"]) / 2
                shafts.append(gray_at(phantom, middle[None])[0])
        cavity, solids = phantom.scene.cavity, phantom.scene.attitude.solids
        darts = np.random.default_rng(1).uniform(-0.8, 0.8, (400, 3)) * cavity.half + cavity.middle
        apart = np.min([solid.moved(phantom.scene.world).distance(*darts.T) for solid in solids], axis=0)
        clear = (apart > 5) & (cavity.distance(*darts.T) < -5) & phantom.scene.probe.contains(darts, 2.0)
        fluid.append(gray_at(phantom, darts[clear]).mean())
    assert np.mean(shafts) > 90
    assert np.mean(fluid) < 30


def test_speckle_is_rayleigh_and_correlated_over_the_size_of_the_pulse():
    """Of an even medium: mean over spread 1.913, mean square kept, intensities correlated as the pulse says."""
    sigmas = (1.0, 1.5, 0.8)
    amplitude = envelope(np.random.default_rng(0), np.full((80, 90, 70), 3.0, np.float32), sigmas)
    # Near a border the pulse sees its own mirror image.
    amplitude = amplitude[5:-5, 5:-5, 5:-5]
    assert amplitude.mean() / amplitude.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)
    assert np.mean(amplitude**2) == pytest.approx(9.0, rel=0.03)
    intensity = amplitude.astype(float) ** 2
    for axis, sigma in enumerate(sigmas):
        values = np.moveaxis(intensity, axis, 0)
        for lag in (1, 2, 5):
            found = np.corrcoef(values[:-lag].ravel(), values[lag:].ravel())[0, 1]
            assert found == pytest.approx(np.exp(-((lag / (2 * sigma)) ** 2)) ** 2, abs=0.05)


def test_the_pulse_has_the_stated_size_where_the_grid_resolves_it():
    grid = BeamGrid.of(PROBE, 0.3)
    down, across, up = pulse(grid)
    assert down * grid.step == pytest.approx(0.45)
    assert across * (grid.u[1] - grid.u[0]) == pytest.approx(0.009)
    assert up * (grid.v[1] - grid.v[0]) == pytest.approx(0.013)


def test_bone_casts_a_shadow_away_from_the_probe_and_nowhere_else():
    grid = BeamGrid.of(PROBE, 1.0)
    tissue = Tissue.empty(grid)
    ball = Ellipsoid(Place(np.eye(3), np.array([5.0, 50.0, -4.0])), (4.0, 4.0, 4.0))
    tissue.bone(ball, 0.0, 5.0)
    lost = tissue.lost()
    line = ball.middle / np.linalg.norm(ball.middle)
    beam = int(np.argmin(np.abs(grid.u - line[0] / line[1]))), int(np.argmin(np.abs(grid.v - line[2] / line[1])))
    depth = float(np.linalg.norm(ball.middle))
    before, behind = (int(np.argmin(np.abs(grid.radius - place))) for place in (depth - 7, depth + 9))
    # 8 mm of bone at 5 dB per mm, a little less where the shadow's soft sides come in.
    assert lost[behind][beam] == pytest.approx(40, abs=6)
    assert lost[before][beam] == pytest.approx(0, abs=0.5)
    assert lost[behind, 3, 3] == pytest.approx(0, abs=1e-3)
    assert lost[-1][beam] == pytest.approx(lost[behind][beam], abs=0.5)


LEVELS = (0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def graded():
    """The same two fetuses at three difficulties."""
    return [[make_fetus(11, index, MIDDLE, difficulty=level) for level in LEVELS] for index in range(2)]


def test_a_harder_volume_shows_the_same_fetus_and_the_easiest_is_the_plain_one(graded, phantoms):
    for index, levels in enumerate(graded):
        np.testing.assert_array_equal(levels[0].volume.voxels, phantoms[index].volume.voxels)
        for harder in levels[1:]:
            np.testing.assert_array_equal(harder.keypoints.coords, levels[0].keypoints.coords)
            assert not np.array_equal(harder.volume.voxels, levels[0].volume.voxels)
            # Nothing is seen where no beam goes.
            assert not harder.volume.voxels[levels[0].volume.voxels == 0].mean() > 20


def test_fluid_and_tissue_are_harder_to_tell_apart_step_by_step(graded):
    specks = []
    for levels in graded:
        plain = cv2.blur(levels[0].volume.voxels.astype(np.float32), (5, 5))
        seen = levels[0].volume.voxels > 0
        fluid, wall = seen & (plain < 20), seen & (plain > 60)
        assert min(fluid.sum(), wall.sum()) > 2000
        contrasts, brightness = [], []
        for phantom in levels:
            gray = phantom.volume.voxels
            spread = np.sqrt((gray[fluid].var() + gray[wall].var()) / 2)
            contrasts.append((gray[wall].mean() - gray[fluid].mean()) / spread)
            brightness.append(gray[wall].mean())
        assert contrasts[0] > 1.1 * contrasts[1] > 1.2 * contrasts[2], contrasts
        # Loss with depth and parts without contact make tissue darker.
        assert brightness[0] > brightness[1] > brightness[2], brightness
        specks.append([(phantom.volume.voxels[fluid] > 60).sum() for phantom in levels])
    plain, half, most = np.sum(specks, axis=0)
    assert plain < half < most


def test_scan_conversion_puts_samples_where_they_belong():
    grid = BeamGrid.of(PROBE, 0.7)
    shape = (45, 30, 24)
    centres = [(np.arange(count) + 0.5) * side / count for count, side in zip(shape, PROBE.box, strict=True)]
    places = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1) - np.array([45.0, -27.0, 30.0])
    seen = PROBE.contains(places, 1.0)
    assert 0.3 < seen.mean() < 0.9
    for axis, values in enumerate((grid.x, grid.y, grid.z)):
        found = scan_convert(grid, values, shape)
        np.testing.assert_allclose(found[seen], places[..., axis][seen], atol=0.02)
        assert (found[~PROBE.contains(places, -1.0)] == 0).all()


def test_a_given_spacing_is_kept_and_may_differ_between_axes():
    spacing = (2.4, 2.0, 3.0)
    phantom = make_fetus(1, 0, (60, 56, 36), spacing)
    np.testing.assert_allclose(phantom.volume.spacing, spacing)
    assert phantom.keypoints.outside(60, 56, 36) == []
    body = phantom.scene.attitude.trunk.body
    arm = phantom.points_mm[FETUS.index("right_elbow")] - phantom.points_mm[FETUS.index("right_shoulder")]
    assert np.linalg.norm(arm) == pytest.approx(body.upper_arm)


@pytest.mark.parametrize(
    "request_",
    [
        {"seed": -1},
        {"index": -1},
        {"shape": (8, 28, 28)},
        {"shape": (44, 28)},
        {"shape": (44, 28, 999)},
        {"spacing": (0.0, 1.0, 1.0)},
        {"spacing": (float("nan"), 1.0, 1.0)},
        {"spacing": (1.0, 1.0)},
        {"spacing": (0.5, 0.5, 0.5)},
    ],
)
def test_what_cannot_be_made_is_one_line(request_):
    with pytest.raises(UsageError, match="phantom: expected") as caught:
        make_fetus(**{"seed": 0, "shape": SMALL, **request_})
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def moving():
    return list(make_fetus_sequence(5, 0, 13, SMALL))


def test_a_sequence_begins_with_the_still_volume_whatever_its_length(moving):
    still = make_fetus(5, 0, SMALL)
    assert (moving[0].volume.voxels == still.volume.voxels).all()
    assert [phantom.volume.index for phantom in moving] == list(range(13))
    for short, long in zip(make_fetus_sequence(5, 0, 2, SMALL), moving, strict=False):
        assert (short.volume.voxels == long.volume.voxels).all()


def test_a_sequence_moves_smoothly_within_the_same_bounds(moving):
    points = np.stack([phantom.points_mm for phantom in moving])
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    assert np.linalg.norm(points[-1] - points[0], axis=-1).max() > 1.0
    assert steps.max() < 4.0
    # It starts and ends at rest: no jerk.
    bends = np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1)
    assert bends.max() < 1.0
    for phantom in moving:
        attitude = phantom.scene.attitude
        assert within_bounds(attitude.pose)
        assert attitude.deepest() <= TOUCH * attitude.trunk.body.unit + 1e-6
        assert phantom.keypoints.outside(*SMALL) == []
    for start, end in (("left_hip", "left_knee"), ("right_shoulder", "right_elbow")):
        bone = points[:, FETUS.index(end)] - points[:, FETUS.index(start)]
        np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), np.linalg.norm(bone[0]))


def test_a_sequence_of_nothing_is_refused_at_once():
    with pytest.raises(UsageError, match="expected at least 1 frame, found 0"):
        make_fetus_sequence(0, 0, 0)
