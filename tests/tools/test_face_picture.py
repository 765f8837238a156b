"""The made-up fetal head: its points lie where it shows them, and its picture is that of what was found."""

import argparse

import attrs
import cv2
import numpy as np
import pytest

pytest.importorskip("lightning", reason="lightning comes with the train extra")

import face_picture

from aop_pose.core.keypoints import Keypoints, Prediction
from lib.fetal_head import EYES_APART_MM, SPACING, TO_EYES_MM, fetal_head


@pytest.mark.parametrize("seed", [0, 1])
def test_the_eyes_are_bright_and_as_far_apart_as_said(seed):
    volume, truth = fetal_head(seed)
    points = truth.coords * SPACING
    assert np.linalg.norm(points[1] - points[2]) == pytest.approx(EYES_APART_MM)
    assert np.linalg.norm(points[1:].mean(axis=0) - points[0]) == pytest.approx(TO_EYES_MM)
    assert not truth.outside(*volume.shape)
    axes = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij"), axis=-1) * SPACING
    for eye in points[1:]:
        far = np.linalg.norm(axes - eye, axis=-1)
        # An eye is a bright ball of 16 mm; behind it the face is dark.
        behind = np.linalg.norm(axes - (eye + 0.35 * (points[0] - eye)), axis=-1)
        assert volume.voxels[far < 5].mean() > 1.5 * volume.voxels[behind < 4].mean()
    again = fetal_head(seed)[0]
    np.testing.assert_array_equal(volume.voxels, again.voxels)


def test_the_picture_shows_what_was_found_and_refuses_nothing_found(monkeypatch, tmp_path):
    _, truth = fetal_head(0)

    @attrs.frozen
    class Finds:
        keypoints: Keypoints | None

        def find(self, volume):
            return Prediction(self.keypoints, 0.5, "")

    given = argparse.Namespace(out=tmp_path / "pictures" / "face.png", weights=None, seed=0, true_points=False)
    swapped = Keypoints(truth.schema, truth.coords[[0, 2, 1]] + 0.5, np.ones(3))
    monkeypatch.setattr(face_picture, "load", lambda weights, schema: Finds(swapped))
    face_picture.run(given)
    picture = cv2.imread(str(given.out))
    assert min(picture.shape[:2]) > 400
    monkeypatch.setattr(face_picture, "load", lambda weights, schema: Finds(None))
    with pytest.raises(face_picture.UsageError, match="take another"):
        face_picture.run(given)
