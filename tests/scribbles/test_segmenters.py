"""The promises of every segmenter, and how one is chosen."""

import warnings

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.inference import fetch as fetching
from aop_pose.phantom import make_phantom
from aop_pose.scribbles import segmenters
from aop_pose.scribbles import strokes as raster
from aop_pose.scribbles.segmenters import base, choose, networks, rules
from aop_pose.scribbles.strokes import strokes_for

PHANTOM = make_phantom(11, 2)


def prompt(points, structure, size=256):
    strokes = strokes_for(points, size, size).strokes
    return raster.masks(strokes, structure, size, size)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(fetching.CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def tiny_unet(tmp_path_factory):
    """An ONNX network of the five channels with random weights."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from aop_pose.scribbles.segmenters.networks import build_network

    torch.manual_seed(0)
    network = build_network((4, 4, 4, 4)).eval()
    file = tmp_path_factory.mktemp("unet") / "tiny.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(1, 5, 128, 128),), str(file), input_names=["inputs"], dynamo=False,
            dynamic_axes={"inputs": {0: "batch"}},
        )  # fmt: skip
    return file, network


@pytest.mark.parametrize("structure", ["PS", "FH"])
@pytest.mark.parametrize("segmenter", [rules.Geometric(), rules.Classical()], ids=lambda one: one.name)
def test_a_rule_finds_most_of_a_phantoms_structure(segmenter, structure):
    positive, negative = prompt(PHANTOM.keypoints.coords, structure)
    found = segmenter(PHANTOM.frame.pixels, positive, negative, structure=structure, points=PHANTOM.keypoints.coords)
    assert (found.dtype, found.shape) == (np.float32, (256, 256))
    assert found.min() >= 0
    assert found.max() <= 1
    truth = PHANTOM.mask == (1 if structure == "PS" else 2)
    assert overlap(found > 0.5, truth) > 0.4


@pytest.mark.parametrize("structure", ["PS", "FH"])
@pytest.mark.parametrize("segmenter", [rules.Geometric(), rules.Classical()], ids=lambda one: one.name)
def test_a_mirrored_frame_gives_the_mirrored_region(segmenter, structure):
    points = PHANTOM.keypoints.coords
    mirrored = points * [-1, 1] + [255, 0]
    plain = segmenter(PHANTOM.frame.pixels, *prompt(points, structure), structure=structure, points=points)
    pixels = np.ascontiguousarray(PHANTOM.frame.pixels[:, ::-1])
    # GrabCut draws its first clusters in the order of the pixels, so its cut moves by a pixel here and there.
    other = segmenter(pixels, *prompt(mirrored, structure), structure=structure, points=mirrored)
    assert overlap(plain > 0.5, other[:, ::-1] > 0.5) > 0.95


def test_geometry_is_the_ellipse_and_the_median_box_by_hand():
    points = np.array([[160.0, 60.0], [100.0, 60.0], [180.0, 110.0]])
    blank = np.zeros((200, 256), np.uint8)
    segmenter = rules.Geometric()
    rows, columns = np.nonzero(segmenter(blank, blank, blank, structure="PS", points=points))
    # Half axes 30 and 15 about (130, 60).
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (100, 160, 45, 75)
    rows, columns = np.nonzero(segmenter(blank, blank, blank, structure="FH", points=points))
    left, top, right, bottom = (256 * share for share in rules.HEAD_FROM_FH1)
    assert columns.min() == pytest.approx(180 + left, abs=1)
    assert columns.max() == pytest.approx(180 + right, abs=1)
    assert rows.min() == pytest.approx(110 + top, abs=1)
    # The frame ends before the box does.
    assert rows.max() == 199 < 110 + bottom


def test_the_head_disc_touches_the_tangent_in_fh1_on_the_side_of_the_strokes():
    points = np.array([[160.0, 60.0], [100.0, 60.0], [190.0, 140.0]])
    positive, _ = prompt(points, "FH")
    disc = rules.head_disc_level(points, positive) <= 1
    rows, columns = np.nonzero(disc)
    ps1, _, fh1 = points
    beyond = (fh1[0] - ps1[0]) * (rows - ps1[1]) - (fh1[1] - ps1[1]) * (columns - ps1[0])
    assert (beyond > -1e-6 * np.hypot(*(fh1 - ps1))).all()
    assert np.hypot(columns - fh1[0], rows - fh1[1]).min() < 1.5
    # Diameter 2 x 60.
    assert disc.sum() == pytest.approx(np.pi * 60**2, rel=0.02)


def test_grabcut_gives_the_same_region_twice_and_survives_a_blank_frame():
    points = PHANTOM.keypoints.coords
    strokes = prompt(points, "FH")
    segmenter = rules.Classical()
    once = segmenter(PHANTOM.frame.pixels, *strokes, structure="FH", points=points)
    again = segmenter(PHANTOM.frame.pixels, *strokes, structure="FH", points=points)
    np.testing.assert_array_equal(once, again)
    blank = segmenter(np.zeros_like(PHANTOM.frame.pixels), *strokes, structure="FH", points=points)
    assert np.isfinite(blank).all()
    whole = np.ones((256, 256), np.uint8)
    everything = segmenter(PHANTOM.frame.pixels, whole, 0 * whole, structure="FH", points=points)
    assert everything.all()


def test_the_stand_in_in_onnx_is_its_torch_network(tiny_unet):
    import torch

    file, network = tiny_unet
    segmenter = networks.load_stand_in(file)
    inputs = np.random.default_rng(0).random((2, 5, 128, 128), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(segmenter.logits(inputs), expected, atol=1e-5)
    assert "not ScribblePrompt" in segmenter.origin
    positive, negative = prompt(PHANTOM.keypoints.coords, "PS")
    found = segmenter(PHANTOM.frame.pixels, positive, negative)
    assert (found.dtype, found.shape) == (np.float32, (256, 256))


def test_a_file_that_is_no_network_of_five_channels_is_refused(tmp_path):
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"nothing")
    with pytest.raises(UsageError, match="expected the ONNX of scribble-unet, found") as failed:
        networks.load_stand_in(file)
    assert "\n" not in str(failed.value)


def test_a_flat_picture_gives_finite_inputs():
    blank = np.full((40, 60), 7, np.uint8)
    inputs = base.network_inputs(blank, np.zeros_like(blank), np.zeros_like(blank))
    assert not inputs.any()
    huge = base.probabilities(np.full((1, 1, 128, 128), -1e6, np.float32), 10, 20)
    assert huge.shape == (10, 20)
    assert huge.max() == pytest.approx(0, abs=1e-12)


def test_auto_says_which_it_took_and_why_not_the_official_one(tiny_unet):
    choice = choose("auto", tiny_unet[0])
    assert choice.segmenter.name == "scribble-unet"
    assert "scribbleprompt passed over: official weights not at hand" in choice.why


def test_auto_takes_the_official_weights_where_they_are(tiny_unet, monkeypatch, tmp_path):

    pytest.importorskip("torch")
    checkpoint = fetching.cache_folder() / fetching.SCRIBBLEPROMPT.file
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"pretend")
    official = networks.ScribblePrompt(None, "official weights")
    monkeypatch.setattr(segmenters, "load_scribbleprompt", lambda path: official if path == checkpoint else None)
    choice = choose("auto", tiny_unet[0])
    assert choice.segmenter is official
    assert choice.why == "segmenter: scribbleprompt (official weights)"


def test_a_wrong_checkpoint_in_the_cache_is_refused_even_by_auto(tiny_unet):
    pytest.importorskip("torch")
    checkpoint = fetching.cache_folder() / fetching.SCRIBBLEPROMPT.file
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"pretend")
    with pytest.raises(UsageError, match="is not the official scribbleprompt: expected 15977486 bytes, found 7"):
        choose("auto", tiny_unet[0])


def test_names_are_checked():
    with pytest.raises(UsageError, match="run aop-pose weights fetch scribbleprompt"):
        choose("scribbleprompt", None)
    with pytest.raises(UsageError, match="expected the shipped artefact, found none"):
        choose("scribble-unet", None)
    with pytest.raises(UsageError, match="expected auto or one of scribbleprompt, scribble-unet, classical, geometry"):
        choose("sam", None)
    assert choose("geometry", None).segmenter.name == "geometry"
    assert choose("classical", None).segmenter.name == "classical"
