"""Registration against Horn's quaternions, ITK's landmark transforms, and sets that have no answer."""

import numpy as np
import pytest

from aop_pose.geometry import register

from .horn import horn


def turned(generator):
    """A random proper rotation."""
    matrix, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    return matrix * np.linalg.det(matrix)


def sets(seed, noise=0.0, n=6, scale=1.0):
    """Random points, the same moved, and the motion: mm, 200 mm from the origin."""
    generator = np.random.default_rng(seed)
    source, rotation = generator.normal(size=(n, 3)) * 30 + 200, turned(generator)
    shift = generator.normal(size=3) * 50
    target = scale * source @ rotation.T + shift + noise * generator.normal(size=(n, 3))
    return source, target, rotation, shift


def assert_same(found, scale, rotation, shift):
    assert found.scale == pytest.approx(scale, rel=1e-9)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(found.shift, shift, atol=1e-6)


@pytest.mark.parametrize("similarity", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_known_motion_is_found_again(seed, similarity):
    scale = 1.3 if similarity else 1.0
    source, target, rotation, shift = sets(seed, scale=scale)
    found = register(source, target, similarity=similarity)
    assert_same(found, scale, rotation, shift)
    np.testing.assert_allclose(found(source), target, atol=1e-9)


@pytest.mark.parametrize("similarity", [False, True])
@pytest.mark.parametrize("noise", [0.0, 2.0, 40.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_same_as_horns_quaternions(seed, noise, similarity):
    source, target, _, _ = sets(seed, noise, scale=0.7)
    weights = np.random.default_rng(seed + 100).random(len(source))
    assert_same(register(source, target, weights, similarity), *horn(source, target, weights, similarity))


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize("similarity", [False, True])
def test_the_same_as_itks_landmark_transform(similarity, noise):
    sitk = pytest.importorskip("SimpleITK")
    for seed in range(4):
        source, target, _, _ = sets(seed, noise, scale=1.2 if similarity else 1.0)
        transform = sitk.Similarity3DTransform() if similarity else sitk.VersorRigid3DTransform()
        other = sitk.LandmarkBasedTransformInitializer(transform, source.ravel().tolist(), target.ravel().tolist())
        found = register(source, target, similarity=similarity)
        other = type(transform)(other)
        assert found.rotation == pytest.approx(np.reshape(other.GetMatrix(), (3, 3)) / scale_of(other), abs=1e-6)
        if similarity and noise == 0:  # ITK's scale is the ratio of the spreads, which noise makes larger
            assert found.scale == pytest.approx(other.GetScale(), rel=1e-6)
        if not similarity:
            moved = [other.TransformPoint(point.tolist()) for point in source]
            np.testing.assert_allclose(found(source), moved, atol=1e-4)


def scale_of(transform):
    return transform.GetScale() if hasattr(transform, "GetScale") else 1.0


@pytest.mark.parametrize("similarity", [False, True])
def test_no_motion_near_it_is_nearer(similarity):
    source, target, _, _ = sets(3, noise=10.0)
    weights = np.array([1, 2, 0.5, 1, 3, 0.1])
    found = register(source, target, weights, similarity)

    def cost(scale, rotation, shift):
        return weights @ ((scale * source @ rotation.T + shift - target) ** 2).sum(axis=1)

    least, generator = cost(found.scale, found.rotation, found.shift), np.random.default_rng(0)
    for _ in range(200):
        skew = np.cross(np.eye(3), generator.normal(size=3) * 1e-3)
        rotation, _ = np.linalg.qr((np.eye(3) + skew) @ found.rotation)
        rotation *= np.sign((rotation * found.rotation).sum(axis=0))
        scale = found.scale * (1 + 1e-3 * generator.normal() * similarity)
        centre = weights @ source / weights.sum()
        best_shift = weights @ target / weights.sum() - scale * rotation @ centre
        assert cost(scale, rotation, best_shift) > least
        assert cost(found.scale, found.rotation, found.shift + generator.normal(size=3) * 0.1) > least


@pytest.mark.parametrize("similarity", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_a_mirrored_set_gets_a_rotation(flat, similarity):
    source, _, _, _ = sets(1)
    source[:, 2] *= not flat
    found = register(source, source * [-1, 1, 1], similarity=similarity)
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    assert found.scale > 0
    if flat:  # a flat set is turned over like a page
        np.testing.assert_allclose(found(source), source * [-1, 1, 1], atol=1e-9)
    else:
        assert np.abs(found(source) - source * [-1, 1, 1]).max() > 1


def test_weights_count_like_repeated_points_and_0_leaves_a_point_out():
    source, target, _, _ = sets(2, noise=5.0)
    counts = np.array([1, 2, 3, 0, 1, 1])
    doubled = register(np.repeat(source, counts, axis=0), np.repeat(target, counts, axis=0))
    source[3], target[3] = np.nan, 1e9
    weighted = register(source, target, counts)
    assert_same(weighted, doubled.scale, doubled.rotation, doubled.shift)


LINE = np.outer(np.arange(5), [1.0, -2.0, 0.3]) + 100
SPREAD = np.random.default_rng(0).normal(size=(5, 3)) * 20


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (LINE, SPREAD),
        (SPREAD, LINE),
        (LINE, LINE @ np.diag([0, 1.0, 0])),
        (np.full((5, 3), 7.0), SPREAD),
        (SPREAD[:2], SPREAD[:2] + 1),
        (SPREAD[:1], SPREAD[:1]),
        (np.where(np.arange(15).reshape(5, 3) == 4, np.nan, SPREAD), SPREAD),
        (SPREAD, np.where(np.arange(15).reshape(5, 3) == 4, np.inf, SPREAD)),
        # Mirrored along all axes alike: any axis may be the one that is turned the wrong way.
        (np.vstack([np.eye(3), -np.eye(3)]), np.vstack([-np.eye(3), np.eye(3)])),
    ],
)
@pytest.mark.parametrize("similarity", [False, True])
def test_no_answer_is_nan_throughout(source, target, similarity):
    found = register(source, target, similarity=similarity)
    for part in (found.scale, found.rotation, found.shift, found(SPREAD)):
        assert np.isnan(part).all()


def test_without_any_weight_there_is_no_answer():
    assert np.isnan(register(SPREAD, SPREAD, np.zeros(5)).rotation).all()


def test_a_line_is_enough_in_a_plane():
    source = np.array([[0.0, 0], [1, 1], [2, 2]])
    found = register(source, source @ [[0, 1], [-1, 0]] + 3, similarity=True)
    np.testing.assert_allclose(found.rotation, [[0, -1], [1, 0]], atol=1e-12)


@pytest.mark.parametrize("similarity", [False, True])
def test_several_at_once_are_those_one_by_one(similarity):
    sources = np.stack([sets(seed, 3.0)[0] for seed in range(4)] + [np.full((6, 3), 1.0)])
    target = sets(9)[1]
    found = register(sources, target, similarity=similarity)
    carried = found(sources)
    for index, source in enumerate(sources):
        alone = register(source, target, similarity=similarity)
        np.testing.assert_allclose(found.rotation[index], alone.rotation, atol=1e-12)
        np.testing.assert_allclose(carried[index], alone(source), atol=1e-9)
    assert np.isnan(carried[-1]).all()
    assert np.isfinite(carried[:-1]).all()


@pytest.mark.parametrize(
    ("source", "target", "weights"),
    [
        (SPREAD, SPREAD[:4], None),
        (SPREAD, SPREAD[:, :2], None),
        (SPREAD[0], SPREAD[0], None),
        (np.zeros((5, 4)), np.zeros((5, 4)), None),
        (SPREAD, SPREAD, np.ones(4)),
        (SPREAD, SPREAD, [1, 1, -1, 1, 1]),
        (SPREAD, SPREAD, [1, 1, np.nan, 1, 1]),
    ],
)
def test_what_does_not_match_is_refused(source, target, weights):
    with pytest.raises(ValueError, match=r"^expected .* found .*$"):
        register(source, target, weights)
