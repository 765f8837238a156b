"""Table 1: picture and points by one draw, replayed exactly, as large as it says and not larger."""

import cv2
import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.pipelines.config import validate
from aop_pose.pipelines.hrnet_gan.augment import Draw, augment, draw
from aop_pose.pipelines.hrnet_gan.config import AugmentSettings

OFF = {"aug_elastic_p": 0, "aug_tone_p": 0, "aug_blur_p": 0, "aug_speckle_p": 0}
ONE_AT_A_TIME = {
    "aug_elastic_p": "affine", "aug_tone_p": "tone", "aug_blur_p": "kernel", "aug_speckle_p": "speckle",
}  # fmt: skip
POINTS = np.array([[90.3, 120.7], [150.0, 100.2], [130.6, 160.9]])


def settings(**changes):
    return AugmentSettings(**{**OFF, **changes})


def dots(size=256):
    """Soft dots at POINTS on black, uint8."""
    rows, columns = np.mgrid[:size, :size]
    picture = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50) for x, y in POINTS)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def grays(seed=0, size=64):
    return np.random.default_rng(seed).integers(0, 256, (size, size)).astype(np.uint8)


def test_defaults_are_table_1():
    table = AugmentSettings()
    assert (table.aug_alpha, table.aug_sigma, table.aug_affine, table.aug_elastic_p) == (5, 10, 10, 0.8)
    assert (table.aug_brightness, table.aug_contrast, table.aug_tone_p) == (0.2, 0.2, 0.5)
    assert (table.aug_blur_least, table.aug_blur_most, table.aug_blur_p) == (3, 5, 0.5)
    assert (table.aug_speckle, table.aug_speckle_p) == (0.01, 0.5)


@pytest.mark.parametrize("warp", [{"aug_alpha": 0}, {}, {"aug_alpha": 400, "aug_sigma": 30, "aug_affine": 25}])
def test_picture_and_points_move_by_one_draw(warp):
    """The dots of the new picture are found where the moved points say."""
    rows, columns = np.mgrid[:256, :256]
    farthest = 0.0
    for seed in range(5):
        made = augment(dots(), POINTS, np.random.default_rng(seed), settings(aug_elastic_p=1, **warp))
        farthest = max(farthest, np.abs(made.points - POINTS).max())
        for x, y in made.points:
            near = made.picture * ((columns - x) ** 2 + (rows - y) ** 2 < 12**2)
            found = (near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()
            np.testing.assert_allclose(found, (x, y), atol=0.15)
    assert farthest > 3


def test_the_backward_map_says_what_each_pixel_shows():
    """Of a picture of ramps, whose gray is its place."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    made = augment(ramp, POINTS, np.random.default_rng(3), settings(aug_elastic_p=1, aug_alpha=50))
    seen = (made.back > 1).all(axis=2) & (made.back < 254).all(axis=2)
    assert seen.mean() > 0.8
    # OpenCV rounds the place that it reads from to 1/32 pixel.
    np.testing.assert_allclose(made.picture[seen] * 255, made.back[..., 0][seen], atol=0.05)
    # What comes in from outside is black.
    assert not made.picture[(made.back < -1).any(axis=2) | (made.back > 256).any(axis=2)].any()


@pytest.mark.parametrize("alpha", [0, 5, 50])
def test_forward_and_backward_undo_each_other(alpha):
    rng = np.random.default_rng(0)
    drawn = draw(rng, (96, 128), settings(aug_elastic_p=1, aug_alpha=alpha))
    points = rng.uniform(5, 90, (40, 2))
    # OpenCV reads the displacement at places rounded to 1/32 pixel.
    np.testing.assert_allclose(drawn.forward(drawn.backward(points)), points, atol=5e-3)
    rows, columns = np.mgrid[:96, :128]
    np.testing.assert_allclose(drawn.back[rows, columns], drawn.backward(np.stack([columns, rows], 2)), atol=1e-3)


def test_the_corners_move_by_10_pixels_at_most_and_by_that_evenly():
    """albumentations: three corners of a centred square, a third of the picture from its centre to its sides."""
    rng, moves = np.random.default_rng(0), []
    corners = 255.5 + 512 / 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    for _ in range(300):
        drawn = draw(rng, (512, 512), settings(aug_elastic_p=1, aug_alpha=0))
        moves.append(drawn.forward(corners) - corners)
    moves = np.array(moves)
    assert 9.9 < np.abs(moves).max() <= 10.001
    # Of a uniform draw from -10 to 10.
    np.testing.assert_allclose(moves.std(axis=0), 10 / np.sqrt(3), rtol=0.1)
    np.testing.assert_allclose(moves.mean(axis=0), 0, atol=1.2)


@pytest.mark.parametrize(("alpha", "sigma"), [(5, 10), (2, 2.4), (40, 20)])
def test_the_elastic_displacement_is_smoothed_noise(alpha, sigma):
    """Uniform noise smoothed by a Gaussian: the spread of its values, and how fast they change."""
    rng, fields = np.random.default_rng(0), []
    for _ in range(30):
        field = draw(rng, (240, 240), settings(aug_elastic_p=1, aug_alpha=alpha, aug_sigma=sigma)).displacement
        fields.append(field[60:-60, 60:-60])
    fields = np.array(fields)
    spread = alpha / np.sqrt(3) / (2 * np.sqrt(np.pi) * sigma)
    assert fields.std() == pytest.approx(spread, rel=0.1)
    assert np.diff(fields, axis=1).std() == pytest.approx(spread / (np.sqrt(2) * sigma), rel=0.1)


def test_grays_are_shares_of_255():
    picture = grays()
    made = augment(picture, POINTS, np.random.default_rng(0), settings())
    assert made.picture.dtype == np.float32
    np.testing.assert_array_equal(made.picture, picture.astype(np.float32) / 255)
    np.testing.assert_array_equal(made.points, POINTS)
    np.testing.assert_array_equal(made.back[7, 5], [5, 7])


def test_tone_is_a_factor_and_a_sum_cut_to_the_range():
    drawn = Draw((64, 64), tone=(1.1, -0.05))
    np.testing.assert_allclose(drawn.apply(grays()), np.clip(grays() / 255 * 1.1 - 0.05, 0, 1), atol=1e-6)
    rng = np.random.default_rng(0)
    tones = np.array([draw(rng, (4, 4), settings(aug_tone_p=1)).tone for _ in range(400)])
    assert 0.8 <= tones[:, 0].min() < 0.81
    assert 1.19 < tones[:, 0].max() <= 1.2
    assert -0.2 <= tones[:, 1].min() < -0.19
    assert 0.19 < tones[:, 1].max() <= 0.2
    assert abs(np.corrcoef(tones.T)[0, 1]) < 0.15


def test_blur_is_opencvs_of_3_or_5():
    rng = np.random.default_rng(0)
    kernels = [draw(rng, (4, 4), settings(aug_blur_p=1)).kernel for _ in range(50)]
    assert set(kernels) == {3, 5}
    weights = np.array([1, 4, 6, 4, 1]) / 16
    spot = np.zeros((9, 9), np.uint8)
    spot[4, 4] = 255
    found = Draw((9, 9), kernel=5).apply(spot)
    np.testing.assert_allclose(found[4, 2:7], weights * weights[2], rtol=1e-5)


def test_speckle_grows_with_the_gray():
    flat = np.repeat(np.array([[50], [100]], np.uint8), 5000, axis=1)
    found = augment(flat, POINTS, np.random.default_rng(0), settings(aug_speckle_p=1)).picture
    spreads = found.std(axis=1) / (np.array([50, 100]) / 255)
    np.testing.assert_allclose(spreads, 0.01, rtol=0.05)


@pytest.mark.parametrize(("name", "field"), ONE_AT_A_TIME.items())
def test_each_kind_is_drawn_as_often_as_it_says_and_by_itself(name, field):
    rng = np.random.default_rng(0)
    draws = [draw(rng, (16, 16), AugmentSettings()) for _ in range(400)]
    share = np.mean([getattr(one, field) is not None for one in draws])
    assert share == pytest.approx(getattr(AugmentSettings(), name), abs=0.07)
    alone = draw(rng, (16, 16), settings(**{name: 1}))
    assert [other for other in ONE_AT_A_TIME.values() if getattr(alone, other) is not None] == [field]


def test_a_draw_can_be_replayed():
    one, other = (draw(np.random.default_rng(9), (64, 64), AugmentSettings()) for _ in range(2))
    np.testing.assert_array_equal(one.apply(grays()), other.apply(grays()))
    np.testing.assert_array_equal(one.apply(grays()), one.apply(grays()))
    np.testing.assert_array_equal(one.forward(POINTS), other.forward(POINTS))
    assert not np.array_equal(
        one.apply(grays()), draw(np.random.default_rng(8), (64, 64), AugmentSettings()).apply(grays())
    )


def test_the_given_picture_and_points_stay_as_they_are():
    picture, points = grays(), POINTS.copy()
    made = augment(picture, points, np.random.default_rng(0), settings())
    made.points[:] = 0
    np.testing.assert_array_equal(points, POINTS)
    augment(picture, points, np.random.default_rng(1), AugmentSettings(aug_elastic_p=1))
    np.testing.assert_array_equal(picture, grays())
    np.testing.assert_array_equal(points, POINTS)


def test_the_warp_is_one_of_opencvs_own():
    """The affine part alone, against cv2.warpAffine."""
    picture = cv2.GaussianBlur(grays(), (0, 0), 3)
    drawn = draw(np.random.default_rng(0), (64, 64), settings(aug_elastic_p=1, aug_alpha=0))
    wanted = cv2.warpAffine(picture.astype(np.float32) / 255, drawn.affine, (64, 64), flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(drawn.apply(picture), wanted, atol=0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aug_blur_least": 4}, "have to be odd"),
        ({"aug_blur_least": 7}, "the first not above the second"),
        ({"aug_alpha": 51}, r"aug_alpha above aug_sigma\^2 / 2 = 50 folds the picture over"),
        ({"aug_elastic": 0.5}, "unknown setting 'aug_elastic'; did you mean 'aug_elastic_p'"),
        ({"aug_tone_p": 1.5}, "aug_tone_p: Input should be less than or equal to 1; found 1.5"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, said):
    with pytest.raises(UsageError, match=said):
        validate(AugmentSettings, changes, "--set")
