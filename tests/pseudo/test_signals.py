"""Signals of made-up networks whose answers are known."""

import attrs
import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.inference.decode import encode, to_map
from aop_pose.inference.predictor import Predictor
from aop_pose.pseudo.signals import Noise, check_head, judge, rng_for
from tests.fakes import POINTS, contract, fake_predictor, textured

STILL = Noise(shift=0, rotation=0, scale=0, gamma=0, speckle=0)


def following(inputs):
    """Three bright pixels' places are the points: a network that finds the same spots however they are moved."""
    output = np.zeros((len(inputs), 11, 2), np.float32)
    output[:, :4] = np.array([128, 128, 100, 100])[:, None]
    output[:, 4] = [0.9, 0.3]
    for number, picture in enumerate(inputs[:, 0]):
        y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
        for point, place in enumerate(POINTS):
            near = picture * ((x - place[0]) ** 2 + (y - place[1]) ** 2 < 30**2)
            output[number, 5 + 2 * point : 7 + 2 * point] = (
                np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
            )[:, None]
    return output


def judged(network, pixels, noise=None, **changes):
    return judge(Predictor(contract(**changes), network, "x@0"), pixels, rng=rng_for(0, "a.png"), draws=4, noise=noise)


def spots(size=256):
    picture = np.zeros((256, 256), np.uint8)
    for x, y in POINTS.astype(int):
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    return picture


def test_a_network_that_follows_the_anatomy_is_steady_under_noise():
    # The spots move by some ten pixels; the network follows, and undoing the noise brings its points together.
    found = judged(following, spots())
    np.testing.assert_allclose(found.points, POINTS.astype(int), atol=0.01)
    assert found.signals.noise_spread < 0.3 / 256
    assert found.signals.cosine > 0.49999


def test_a_network_that_says_the_same_of_every_picture_is_not():
    def constant(inputs):
        output = following(inputs[:1] * 0 + spots() / np.float32(255))
        return np.repeat(output, len(inputs), axis=0)

    found = judged(constant, spots())
    assert found.signals.noise_spread > 2 / 256
    assert found.signals.cosine_scores == pytest.approx(0.5)


def test_without_noise_every_pass_says_the_same():
    found = judged(following, spots(), STILL).signals
    assert found.noise_spread == pytest.approx(0, abs=1e-6)
    assert (found.cosine, found.cosine_centred, found.cosine_scores) == pytest.approx((0.5, 0.5, 0.5))
    assert found.candidate_spread == pytest.approx(0, abs=1e-6)
    # Scores 0.9 and 0.3: shares 3/4 and 1/4 of two candidates, in bits.
    assert found.score_entropy == pytest.approx(-(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)), abs=1e-6)
    assert found.score == pytest.approx(0.9)


def test_spreads_are_shares_and_points_are_pixels_at_every_resolution():
    small = judged(following, spots())
    large = judged(following, np.kron(spots(), np.ones((2, 2), np.uint8)))
    np.testing.assert_allclose(large.points, (small.points + 0.5) * 2 - 0.5, atol=0.05)
    assert large.signals.noise_spread == pytest.approx(small.signals.noise_spread, abs=1e-4)


def test_candidates_that_disagree_are_spread():
    def divided(inputs):
        output = following(inputs)
        output[:, 4] = 0.5
        output[:, 5, 1] += 8
        return output

    # One of three points of two equal candidates lies 4 to either side of the mean.
    assert judged(divided, spots(), STILL).signals.candidate_spread * 256 == pytest.approx(np.sqrt(16 / 3), rel=1e-4)


def test_an_answer_that_is_not_finite_gives_no_points():
    found = judged(lambda inputs: np.full((len(inputs), 11, 3), np.nan, np.float32), textured(0))
    assert np.isnan(found.points).all()
    assert found.signals.score == 0


def test_draws_follow_from_seed_and_name_alone():
    first, again, other = rng_for(0, "a.png"), rng_for(0, "a.png"), rng_for(0, "b.png")
    number = first.random()
    assert number == again.random() != other.random()
    assert number != rng_for(1, "a.png").random()


def test_a_head_that_nothing_reads_is_an_error():
    predictor = fake_predictor()
    check_head(predictor)
    strange = attrs.evolve(predictor, contract=predictor.contract.model_copy(update={"head": "crystal"}))
    with pytest.raises(UsageError, match="expected a network with the head pose or heatmap, found crystal"):
        check_head(strange)


def mapped(sigma):
    """A heatmap network that always shows the same points, each by a Gaussian of ``sigma`` map pixels."""
    maps = encode(to_map(POINTS, 4), (64, 64), sigma)
    return lambda inputs: np.repeat(maps[None], len(inputs), axis=0).astype(np.float32)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_the_spread_of_maps_is_that_of_their_gaussians(sigma):
    found = judged(mapped(sigma), textured(0), STILL, head="heatmap", decode="subpixel")
    np.testing.assert_allclose(found.points, POINTS, atol=0.2)
    # Root mean square distance from the centre of a round Gaussian: sigma times the root of 2, at 4 pixels a map pixel.
    assert found.signals.candidate_spread * 256 == pytest.approx(4 * sigma * np.sqrt(2), rel=0.05)
    # Shannon entropy of a discrete Gaussian, log(2 pi e sigma^2), plus log 3 for three maps read as one.
    nats = np.log(2 * np.pi * np.e * sigma**2) + np.log(3)
    assert found.signals.score_entropy == pytest.approx(nats / np.log(3 * 64 * 64), rel=0.02)
    assert found.signals.cosine_scores == pytest.approx(0.5)


def test_outlines_and_stances_change_no_signal_of_a_point():
    def more(inputs):
        points = mapped(2.0)(inputs)
        return np.concatenate([points, np.full((len(inputs), 2, 64, 64), 0.9, np.float32)], axis=1)

    plain = judged(mapped(2.0), textured(0), STILL, head="heatmap", decode="subpixel").signals
    assert judged(more, textured(0), STILL, head="heatmap", decode="subpixel", outlines=("PS", "FH")).signals == plain


def test_maps_that_are_not_finite_give_no_points():
    broken = judged(lambda inputs: mapped(2.0)(inputs) * np.nan, textured(0), head="heatmap", decode="subpixel")
    assert np.isnan(broken.points).all()
    assert broken.signals.score == 0
