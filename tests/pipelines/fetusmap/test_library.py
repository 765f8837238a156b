"""Retrieval and labels against a loop over the poses and against numbers worked out by hand."""

import numpy as np
import pytest

from aop_pose.core.schema import of_volumes
from aop_pose.core.schemas import FETAL_FACE, FETUS
from aop_pose.errors import UsageError
from aop_pose.pipelines.fetusmap.library import AMBIGUOUS, NEAREST, STABLE, PoseLibrary, check_schema, surest
from tests.geometry.horn import horn


def poses(count, seed=0, spread=4.0):
    """Poses of one body, bent, turned, grown and shifted at random: (count, 22, 3) in mm."""
    generator = np.random.default_rng(seed)
    body = generator.normal(size=(22, 3)) * 30
    turns = np.linalg.qr(generator.normal(size=(count, 3, 3)))[0]
    turns *= np.linalg.det(turns)[:, None, None]
    grown = generator.uniform(0.8, 1.3, size=(count, 1, 1)) * (body + spread * generator.normal(size=(count, 22, 3)))
    return grown @ turns + generator.normal(size=(count, 1, 3)) * 100


def slow_prior(library, predicted, count, similarity):
    """Steps 1 to 3 of section 3.3 as a loop, registration by quaternions."""
    stable = [1, 2, 4, 6, 8]
    ranked = []
    for number, pose in enumerate(library):
        if np.isnan(pose[:10]).any():
            continue
        scale, rotation, shift = horn(pose[stable], predicted[stable], np.ones(5), similarity)
        moved = np.array([scale * rotation @ point + shift for point in pose])
        ranked.append((sum(np.linalg.norm(moved[j] - predicted[j]) for j in stable), number, moved))
    ranked = sorted(ranked, key=lambda entry: entry[:2])[:count]
    labels = {i: (predicted[i] + sum(moved[i] for _, _, moved in ranked) / len(ranked)) / 2 for i in (0, 3, 5, 7, 9)}
    return labels, [number for _, number, _ in ranked], [total / 5 for total, _, _ in ranked]


@pytest.mark.parametrize("similarity", [False, True])
@pytest.mark.parametrize("count", [1, 8, 100])
@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_a_loop_over_all_poses(seed, count, similarity):
    library = poses(40, seed)
    library[7, 3] = np.nan  # a missing point of head or trunk: the pose is left out
    library[8, 15] = np.nan  # a missing wrist: it is not
    predicted = poses(1, seed)[0] + np.random.default_rng(seed).normal(size=(22, 3))
    labels, nearest, errors = slow_prior(library, predicted, count, similarity)
    found = PoseLibrary(library).prior(predicted, count, similarity)
    assert found.nearest.tolist() == nearest
    assert found.errors == pytest.approx(np.array(errors))
    for point in range(22):
        expected = labels.get(point, np.full(3, np.nan))
        np.testing.assert_allclose(found.labels[point], expected, atol=1e-9)


def test_the_points_and_k_are_the_papers():
    assert [point + 1 for point in STABLE] == [2, 3, 5, 7, 9]
    assert [point + 1 for point in AMBIGUOUS] == [1, 4, 6, 8, 10]
    assert NEAREST == 8


def test_labels_by_hand():
    """Two poses shifted as a whole, their rumps 6 and 2 mm further up: the label is half of the mean, 2 mm, up."""
    predicted = poses(1)[0]
    library = np.stack([predicted + np.array([10, 0, 0]), predicted - [0, 5, 5]])
    library[:, 9, 2] += [6, 2]
    found = PoseLibrary(library).prior(predicted, similarity=False)
    np.testing.assert_allclose(found.labels[9], predicted[9] + [0, 0, 2])
    np.testing.assert_allclose(found.labels[0], predicted[0])
    np.testing.assert_allclose(found.errors, 0, atol=1e-9)


def test_the_surest_points_are_registered_on_and_the_others_refined():
    scores = np.full(22, 0.9)
    scores[:10] = [0.8, 0.1, np.nan, 0.7, 0.3, 0.6, 0.3, 0.2, 0.5, 0.3]
    # 0.8, 0.7, 0.6, 0.5, and of three with 0.3 the first.
    assert surest(scores) == (0, 3, 4, 5, 8)
    predicted = poses(1)[0]
    wrong = predicted.copy()
    wrong[[1, 2, 6, 7, 9]] += [40.0, -20, 10]
    library = PoseLibrary(np.stack([predicted * [-1, 1, 1], predicted]))
    found = library.prior(wrong, 1, False, surest(scores))
    assert found.refined == (1, 2, 6, 7, 9)
    assert found.nearest.tolist() == [1]
    # Halfway back from 40, -20 and 10 mm off.
    np.testing.assert_allclose(found.labels[list(found.refined)], predicted[list(found.refined)] + [20, -10, 5])
    assert np.isnan(found.labels[[0, 3, 4, 5, 8]]).all()
    assert library.prior(wrong, 1, False).refined == AMBIGUOUS


def test_a_grown_pose_fits_as_a_similarity_only():
    predicted = poses(1)[0]
    library = PoseLibrary(1.5 * predicted[None])
    assert library.prior(predicted, similarity=True).errors[0] == pytest.approx(0, abs=1e-9)
    assert library.prior(predicted, similarity=False).errors[0] > 5


def test_a_mirrored_pose_does_not_fit():
    predicted = poses(1)[0]
    library = PoseLibrary(np.stack([predicted * [-1, 1, 1], predicted + 3]))
    found = library.prior(predicted)
    assert found.nearest.tolist() == [1, 0]
    assert found.errors[1] > 5


def test_equal_poses_come_in_the_librarys_order():
    predicted = poses(1)[0]
    assert PoseLibrary(np.stack([predicted] * 5)).prior(predicted, 3).nearest.tolist() == [0, 1, 2]


def broken(how):
    predicted = poses(1)[0]
    if how == "missing":
        predicted[STABLE[0]] = np.nan
    elif how == "on a line":
        predicted[list(STABLE)] = np.outer(range(5), [1.0, 2, 3])
    else:
        predicted[list(STABLE)] = 4.0
    return predicted


@pytest.mark.parametrize("how", ["missing", "on a line", "coincident"])
def test_a_prediction_that_cannot_be_registered_has_no_prior(how):
    assert PoseLibrary(poses(5)).prior(broken(how)) is None


def test_a_pose_that_cannot_be_registered_is_passed_over():
    predicted = poses(1)[0]
    found = PoseLibrary(np.stack([broken("on a line"), broken("coincident"), predicted])).prior(predicted)
    assert found.nearest.tolist() == [2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((0, 22, 3)), "found none among 0"),
        (np.full((4, 22, 3), np.nan), "found none among 4"),
        (np.zeros((4, 3, 3)), r"found \(4, 3, 3\)"),
        (np.zeros((22, 3)), r"found \(22, 3\)"),
        (np.zeros((4, 22, 2)), r"found \(4, 22, 2\)"),
    ],
)
def test_a_library_without_a_usable_pose_is_refused(given, message):
    with pytest.raises(UsageError, match=rf"^pose library: expected .*{message}[^\n]*$"):
        PoseLibrary(given)


def test_only_schemas_with_head_and_trunk_are_refined():
    check_schema(FETUS)
    with pytest.raises(UsageError, match=r"^refinement: expected .* fetus, .* found schema fetal_face; [^\n]*$"):
        check_schema(FETAL_FACE)
    assert len(of_volumes()) == 2
