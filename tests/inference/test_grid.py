"""How a volume enters a network: points there and back exactly, handedness, padding, resampling, windows."""

import numpy as np
import pytest

from aop_pose.inference.grid import brightest, levelled, normalised, place, resample, window_weights, windows

# Anisotropic; mirrored along one axis; axes in another order; oblique.
TURNED = np.array([[0.0, 0, 4.5, 1], [3, 0, 0, 2], [0, -2, 0, 3], [0, 0, 0, 1]])
MIRRORED = np.diag([3.0, -2.0, 4.5, 1.0])
COSINE, SINE = np.cos(0.4), np.sin(0.4)
OBLIQUE = np.array([[COSINE * 2, -SINE * 2, 0, 5], [SINE * 2, COSINE * 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
AFFINES = {"plain": np.diag([3.0, 2.0, 4.5, 1.0]), "mirrored": MIRRORED, "turned": TURNED, "oblique": OBLIQUE}
SHAPE = (20, 31, 12)


def blob(shape, point, sigma=2.0):
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return np.exp(-sum((axis - p) ** 2 for axis, p in zip(axes, point, strict=True)) / (2 * sigma**2)).astype("f4")


def middle_of(values):
    axes = np.ogrid[tuple(slice(n) for n in values.shape)]
    return np.array([(axis * values).sum() / values.sum() for axis in axes])


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("voxel_mm", [None, 2.5])
def test_points_come_back_exactly(affine, voxel_mm):
    placement = place(SHAPE, affine, voxel_mm, (48, 48, 48))
    points = np.random.default_rng(0).uniform(-0.5, 30, (9, 3))
    np.testing.assert_allclose(placement.backward(placement.forward(points)), points, atol=1e-12)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("voxel_mm", [None, 1.7, 3.1])
def test_what_is_seen_stands_where_the_points_do(affine, voxel_mm):
    point = np.array([8.0, 17.0, 5.0])
    placement = place(SHAPE, affine, voxel_mm, (48, 48, 48))
    seen = resample(blob(SHAPE, point), placement)
    np.testing.assert_allclose(middle_of(seen), placement.forward(point), atol=0.06)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_distances_in_the_grid_are_millimetres(affine):
    placement = place(SHAPE, affine, 2.5, (64, 64, 64))
    one, other = np.array([[3.0, 4, 5], [12, 20, 9]])
    millimetres = np.linalg.norm(affine[:3, :3] @ (one - other))
    assert placement.voxel_mm == 2.5
    in_grid = np.linalg.norm(placement.forward(one) - placement.forward(other))
    assert in_grid * 2.5 == pytest.approx(millimetres)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_the_grid_is_right_handed_whatever_the_file(affine):
    """The triple product of three steps in the grid has the sign that it has in the patient."""
    placement = place(SHAPE, affine, None, (32, 32, 32))
    steps = np.eye(3) * 3
    in_grid = placement.forward(steps) - placement.forward(np.zeros(3))
    in_patient = steps @ affine[:3, :3].T
    assert np.linalg.det(in_grid) * np.linalg.det(in_patient) > 0


def test_a_file_and_its_mirrored_copy_look_the_same():
    values = np.random.default_rng(1).random(SHAPE, dtype=np.float32)
    affine, flipped = AFFINES["plain"], AFFINES["plain"].copy()
    flipped[2, 2] *= -1
    flipped[2, 3] = affine[2, 2] * (SHAPE[2] - 1)
    one = resample(values, place(SHAPE, affine, None, (24, 24, 24)))
    other = resample(values[:, :, ::-1], place(SHAPE, flipped, None, (24, 24, 24)))
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_small_volume_lies_in_the_middle_of_zeros():
    placement = place((4, 6, 8), np.eye(4), 1.0, (16, 16, 16))
    seen = resample(np.ones((4, 6, 8), np.float32), placement)
    assert placement.extent == (4, 6, 8)
    assert seen[6:10, 5:11, 4:12].min() == 1
    assert seen.sum() == 4 * 6 * 8


def test_a_large_volume_gets_larger_voxels_and_loses_nothing():
    placement = place((100, 40, 40), np.eye(4), 1.0, (32, 32, 32))
    assert placement.voxel_mm == pytest.approx(100 / 32)
    corners = placement.forward([[-0.5, -0.5, -0.5], [99.5, 39.5, 39.5]])
    assert (corners >= -0.5 - 1e-6).all()
    assert (corners <= 31.5 + 1e-6).all()


def test_what_fits_exactly_keeps_its_voxels():
    affine = np.diag([3.0, 3.0, 4.5, 1.0])
    placement = place((160, 160, 64), affine, 6.0, (80, 80, 48))
    assert placement.voxel_mm == 6.0
    assert placement.extent == (80, 80, 48)


def test_downsampling_skips_no_voxel():
    """One bright voxel of 4 x 4 x 4 gives the same sum wherever it stands."""
    placement = place((32, 32, 32), np.eye(4), 4.0, (8, 8, 8))
    sums = []
    for index in range(12, 20):
        values = np.zeros((32, 32, 32), np.float32)
        values[index, index, index] = 1
        sums.append(resample(values, placement).sum())
    np.testing.assert_allclose(sums, 1 / 64, rtol=1e-4)


def test_a_linear_ramp_stays_linear():
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None, None], (20, 20, 20))
    placement = place((20, 20, 20), np.eye(4), 0.7, (16, 16, 16), shrink=False)
    seen = resample(ramp, placement)
    expected = placement.backward(np.stack([np.arange(16.0)] * 3, axis=1))[:, 0]
    np.testing.assert_allclose(seen[:, 8, 8], expected, atol=1e-4)


def test_a_grid_of_no_size_takes_what_the_volume_needs():
    placement = place((10, 20, 31), np.diag([1.0, 1, 2, 1]), 2.0, (0, 0, 0))
    assert placement.size == (5, 10, 31)
    with pytest.raises(ValueError, match="voxel_mm"):
        place((10, 20, 30), np.eye(4), None, (0, 16, 16))


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_an_aimed_grid_is_the_same_grid_some_whole_voxels_further(affine):
    aim = np.array([4.0, 22, 9])
    plain = place(SHAPE, affine, 1.3, (16, 16, 16), shrink=False)
    aimed = place(SHAPE, affine, 1.3, (16, 16, 16), shrink=False, aim=aim)
    steps = aimed.shift - plain.shift
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    assert np.abs(aimed.forward(aim) - 7.5).max() <= 0.5 + 1e-9
    points = np.random.default_rng(0).uniform(0, 12, (5, 3))
    np.testing.assert_allclose(aimed.backward(aimed.forward(points)), points, atol=1e-12)


def test_the_brightest_place_is_the_mean_position():
    gray = np.zeros((6, 7, 8), np.float32)
    gray[1, 2, 3], gray[5, 2, 7] = 1, 3
    np.testing.assert_allclose(brightest(gray), [4, 2, 6])


def test_gray_values_lie_between_the_percentiles():
    values = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    gray = normalised(values)
    assert gray.dtype == np.float32
    assert gray[values == 10].item() == pytest.approx(0.0)
    assert gray[values == 995].item() == pytest.approx(1.0)
    assert gray[values == 502.5 - 0.5].item() == pytest.approx((502 - 10) / 985)
    assert (gray.min(), gray.max()) == (0, 1)


def test_a_few_bright_voxels_are_still_seen_and_one_value_is_nothing():
    values = np.zeros((30, 30, 30), np.float32)
    assert normalised(values) is None
    values[3, 3, 3] = 7
    assert normalised(values)[3, 3, 3] == 1


def test_the_shading_of_a_coil_is_levelled_and_what_lies_in_it_stays():
    """A scan that is more than twice as bright at one end as at the other; the same in other voxels of one space."""
    draw, spacing = np.random.default_rng(0), np.array([3.0, 3.0, 4.5])
    plain = draw.uniform(0.2, 0.6, (40, 40, 30)).astype(np.float32)
    coil = np.exp(-np.arange(40) * 3.0 / 120)[:, None, None].astype(np.float32)
    even, shaded = (levelled(gray, spacing, 25.0) for gray in (plain, plain * coil))
    assert shaded.dtype == np.float32
    assert shaded.mean() == pytest.approx(0.4, abs=0.06)
    inside = (slice(5, -5),) * 3
    assert np.corrcoef(even[inside].ravel(), shaded[inside].ravel())[0, 1] > 0.95
    # The mean is over millimetres: along an axis of voxels half as long it reaches twice as many.
    finer = levelled(np.repeat(plain, 2, axis=2), spacing * (1, 1, 0.5), 25.0)
    np.testing.assert_allclose(finer[:, :, ::2][inside], even[inside], atol=0.02)


def test_levelled_noise_of_a_dark_part_stays_dark_and_nothing_asked_changes_nothing():
    gray = np.random.default_rng(0).uniform(0, 0.01, (30, 30, 30)).astype(np.float32)
    assert levelled(gray, np.ones(3), 25.0).max() < 0.1
    assert levelled(gray, np.ones(3), None) is gray


@pytest.mark.parametrize(("shape", "overlap"), [((20, 9, 8), 0.5), ((8, 8, 8), 0.5), ((33, 17, 12), 0.25)])
def test_windows_cover_the_grid_and_overlap(shape, overlap):
    covered = np.zeros(shape)
    starts = set()
    for window in windows(shape, (8, 8, 8), overlap):
        assert covered[window].shape == (8, 8, 8)
        covered[window] += window_weights((8, 8, 8))
        starts.add(window[0].start)
    assert covered.min() > 0
    assert np.diff(sorted(starts)).max(initial=0) <= 8 * (1 - overlap)
