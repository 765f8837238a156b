"""Two views of a frame, and where one shows what the other does: pairs through the warps."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")

from aop_pose.pipelines.data import Example  # noqa: E402
from aop_pose.pipelines.hrnet_gan.augment import Draw, ViewDataset, draw, places_in  # noqa: E402  # noqa: E402
from aop_pose.pipelines.hrnet_gan.config import AugmentSettings  # noqa: E402
from aop_pose.pipelines.hrnet_gan.moco import partners  # noqa: E402
from tests.fakes import textured  # noqa: E402


def test_partners_are_bilinear_between_positions():
    keys = torch.nn.functional.normalize(torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    places = torch.rand(2, 3, 4, 2, generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2
    found, seen = partners(keys, places)
    for frame in range(2):
        for number, (x, y) in enumerate(places[frame].view(-1, 2).tolist()):
            place = frame * 12 + number
            assert bool(seen[place]) == (abs(x) <= 1 and abs(y) <= 1)
            # From edges at -1 and 1 to positions counted at their centres.
            column, row = min(max((x + 1) * 2 - 0.5, 0), 3), min(max((y + 1) * 1.5 - 0.5, 0), 2)
            left, top = min(int(column), 2), min(int(row), 1)
            mixed = torch.zeros(5)
            for dx in (0, 1):
                for dy in (0, 1):
                    share = (1 - abs(column - left - dx)) * (1 - abs(row - top - dy))
                    mixed += share * keys[frame, :, top + dy, left + dx]
            torch.testing.assert_close(found[place], mixed / mixed.norm(), atol=1e-5, rtol=1e-4)


def test_places_go_back_by_one_warp_and_forward_by_the_other():
    still = np.array([[1.0, 0, 0], [0, 1, 0]])
    moved, turned = np.array([[1.0, 0, 8], [0, 1, -4]]), np.array([[0.0, -1, 63], [1, 0, 0]])
    centres = np.stack(np.meshgrid([15.5, 47.5], [15.5, 47.5]), axis=2)

    def pixels(query, key):
        return (places_in(Draw((64, 64), affine=query), Draw((64, 64), affine=key), 2) + 1) * 32 - 0.5

    np.testing.assert_allclose(pixels(still, moved) - centres, [[[8, -4]] * 2] * 2, atol=1e-4)
    np.testing.assert_allclose(pixels(moved, still) - centres, [[[-8, 4]] * 2] * 2, atol=1e-4)
    np.testing.assert_allclose(pixels(moved, moved), centres, atol=1e-4)
    # A quarter turn: (x, y) -> (63 - y, x).
    np.testing.assert_allclose(pixels(still, turned)[0, 1], [63 - 15.5, 47.5], atol=1e-4)


def test_places_show_the_same_anatomy():
    """The gray around a position of the query view and around its place in the key view: one picture, two warps."""
    picture, settings = textured(3), AugmentSettings(aug_elastic_p=1, aug_tone_p=0, aug_blur_p=0, aug_speckle_p=0)
    rng = np.random.default_rng(0)
    query, key = (draw(rng, (256, 256), settings) for _ in range(2))
    places = (places_in(query, key, 8).reshape(-1, 2) + 1) * 128 - 0.5
    centres = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) * 32 - 0.5] * 2), axis=2).reshape(-1, 2)
    assert np.abs(places - centres).max() > 3

    def at(view, points):
        import cv2

        return cv2.remap(view, points[:, None].astype(np.float32), None, cv2.INTER_LINEAR)[:, 0]

    inside = (np.abs(places - 127.5) < 120).all(axis=1)
    shown, matched = at(query.apply(picture), centres[inside]), at(key.apply(picture), places[inside])
    unmatched = at(key.apply(picture), centres[inside])
    assert np.abs(shown - matched).mean() < 0.2 * np.abs(shown - unmatched).mean()


def test_views_follow_from_seed_epoch_and_index_alone():
    examples = [Example("a", textured(0, 80, 120), np.zeros((0, 2)))] * 3
    one, other = (ViewDataset(examples, 64, 2, AugmentSettings(), 0) for _ in range(2))
    last = one[2]
    assert [tuple(value.shape) for value in last[:3]] == [(1, 64, 64), (1, 64, 64), (2, 2, 2)]
    torch.testing.assert_close(last[0], [other[i] for i in range(3)][2][0], rtol=0, atol=0)
    assert not torch.equal(last[0], last[1])
    assert not torch.equal(last[0], one[1][0])
    one.epoch = 1
    assert not torch.equal(last[0], one[2][0])
