"""Boxes from regions: exact where the region is, left out with a reason where it cannot be the structure."""

import cv2
import numpy as np
import pytest

from aop_pose.formats.pictures import read_gray
from aop_pose.formats.registry import read_labels
from aop_pose.inference import weights as artefacts
from aop_pose.phantom import make_phantom
from aop_pose.scribbles import boxes
from aop_pose.scribbles.segmenters import networks
from aop_pose.scribbles.segmenters.rules import Geometric

PHANTOM = make_phantom(11, 2)
EXACT = boxes.BoxSettings(margin={"PS": (0, 0, 0, 0), "FH": (0, 0, 0, 0)})
NUMBER = {"PS": 1, "FH": 2}


class Told:
    """A segmenter that gives the mask it was made with, shrunk to the frame it is shown."""

    name = origin = "told"

    def __init__(self, mask):
        self.mask = mask

    def __call__(self, picture, positive, negative, *, structure, points):
        scale = picture.shape[0] / max(self.mask.shape)
        region = (self.mask == NUMBER[structure]).astype(np.float32)
        small = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        square = np.zeros(picture.shape, np.float32)
        square[: small.shape[0], : small.shape[1]] = small
        return square


def edges(mask, structure):
    rows, columns = np.nonzero(mask == NUMBER[structure])
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - 0.5


def find(pixels, points, mask, settings=EXACT):
    return boxes.boxes_for(pixels, points, Told(mask), settings)


@pytest.mark.parametrize("structure", boxes.STRUCTURES)
def test_a_region_gets_its_own_outer_edges(structure):
    found = find(PHANTOM.frame.pixels, PHANTOM.keypoints.coords, PHANTOM.mask)
    assert not found.reasons
    # The landmarks are those of the outline, so they may stand half a pixel outside the pixels of the mask.
    np.testing.assert_allclose(found.boxes[structure], edges(PHANTOM.mask, structure), atol=1.0)
    assert found.regions[structure].shape == PHANTOM.mask.shape
    assert (found.regions[structure] == (PHANTOM.mask == NUMBER[structure])).mean() > 0.998


@pytest.mark.parametrize("size", [(512, 512), (480, 512), (768, 600), (200, 256)])
def test_boxes_are_in_pixels_of_a_frame_of_any_size(size):
    height, width = size
    scale = max(size) / 256
    pixels = cv2.resize(PHANTOM.frame.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    mask = cv2.resize(PHANTOM.mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    points = (PHANTOM.keypoints.coords + 0.5) * scale - 0.5
    pixels, mask = pixels[:height, :width], mask[:height, :width]
    found = find(pixels, points, mask)
    assert not found.reasons
    for structure in boxes.STRUCTURES:
        np.testing.assert_allclose(found.boxes[structure], edges(mask, structure), atol=1.5 * scale)
        assert found.regions[structure].shape == size
    axis = next(stroke for stroke in found.strokes.strokes if stroke.name == "ps_axis")
    assert np.hypot(*(np.array(axis.line.coords[0]) - points[0])) < 0.1 * np.hypot(*(points[0] - points[1]))


def test_a_mirrored_frame_gets_the_mirrored_boxes_and_margins():
    uneven = boxes.BoxSettings(margin={"PS": (0.1, 0, 0, 0), "FH": (0.1, 0, 0, 0)})
    pixels, mask = (np.ascontiguousarray(plane[:, ::-1]) for plane in (PHANTOM.frame.pixels, PHANTOM.mask))
    points = PHANTOM.keypoints.coords * [-1, 1] + [255, 0]
    plain = find(PHANTOM.frame.pixels, PHANTOM.keypoints.coords, PHANTOM.mask, uneven)
    mirrored = find(pixels, points, mask, uneven)
    for structure in boxes.STRUCTURES:
        left, top, right, bottom = plain.boxes[structure]
        assert left < edges(PHANTOM.mask, structure)[0] - 2
        np.testing.assert_allclose(mirrored.boxes[structure], [255 - right, top, 255 - left, bottom], atol=1.1)


def test_margins_grow_the_region_but_never_cut_off_a_landmark():
    plain = find(PHANTOM.frame.pixels, PHANTOM.keypoints.coords, PHANTOM.mask).boxes["FH"]
    width, height = plain[2:] - plain[:2]
    wide = boxes.BoxSettings(margin={"PS": (-0.4, -0.4, -0.4, -0.4), "FH": (0.05, 0.02, 0.01, 0.03)})
    found = find(PHANTOM.frame.pixels, PHANTOM.keypoints.coords, PHANTOM.mask, wide).boxes
    expected = plain + np.array([-0.05 * width, -0.02 * height, 0.01 * width, 0.03 * height])
    np.testing.assert_allclose(found["FH"], np.clip(expected, -0.5, 255.5), atol=1.0)
    for point in PHANTOM.keypoints.coords[:2]:
        assert (found["PS"][:2] <= point).all()
        assert (point <= found["PS"][2:]).all()


def test_a_blob_that_no_stroke_touches_and_holes_are_left_alone():
    mask = PHANTOM.mask.copy()
    rows, columns = np.nonzero(mask == 2)
    middle = int(rows.mean()), int(columns.mean())
    mask[middle[0] : middle[0] + 4, middle[1] : middle[1] + 4] = 0
    mask[240:250, 5:15] = 2
    found = find(PHANTOM.frame.pixels, PHANTOM.keypoints.coords, mask)
    np.testing.assert_allclose(found.boxes["FH"], edges(PHANTOM.mask, "FH"), atol=1.0)
    assert found.regions["FH"][middle] == 1


def test_the_head_ends_at_its_tangent_and_the_symphysis_where_ps1_and_ps2_are_farthest():
    ps1, ps2, fh1 = PHANTOM.keypoints.coords
    found = find(PHANTOM.frame.pixels, PHANTOM.keypoints.coords, np.full_like(PHANTOM.mask, 1))
    rows, columns = np.nonzero(found.regions.get("PS", np.zeros((1, 1))))
    length = np.hypot(*(ps1 - ps2))
    assert np.hypot(columns - ps1[0], rows - ps1[1]).max(initial=0) <= length + 1.5
    region, _ = boxes.region_of(np.ones((256, 256)), _fh_strokes(), PHANTOM.keypoints.coords, "FH")
    rows, columns = np.nonzero(region)
    tangent = (fh1 - ps1) / np.hypot(*(fh1 - ps1))
    depth = tangent[0] * (rows - ps1[1]) - tangent[1] * (columns - ps1[0])
    middle = np.argwhere(PHANTOM.mask == 2).mean(axis=0)[::-1]
    side = np.sign(tangent[0] * (middle[1] - ps1[1]) - tangent[1] * (middle[0] - ps1[0]))
    assert (side * depth >= -1).all()


def _fh_strokes():
    strokes = boxes.strokes_for(PHANTOM.keypoints.coords, 256, 256).strokes
    return boxes.raster.masks(strokes, "FH", 256, 256)[0]


def reasons(points=None, mask=None):
    points = PHANTOM.keypoints.coords if points is None else np.array(points, float)
    return find(PHANTOM.frame.pixels, points, PHANTOM.mask if mask is None else mask).reasons


def test_landmarks_that_give_no_strokes_leave_both_out():
    ps1, ps2, fh1 = PHANTOM.keypoints.coords
    for points, expected in (
        ([ps1, ps1, fh1], "coincide"),
        ([[300, 20], ps2, fh1], "outside the frame"),
        ([ps1, ps2, [np.nan, np.nan]], "missing"),
    ):
        found = reasons(points)
        assert set(found) == set(boxes.STRUCTURES)
        assert all(expected in reason for reason in found.values()), found


def test_regions_that_cannot_be_the_structure_are_left_out_with_the_reason():
    blank = np.zeros_like(PHANTOM.mask)
    assert reasons(mask=blank) == dict.fromkeys(boxes.STRUCTURES, "the segmenter finds nothing under the strokes")
    ps1, ps2, fh1 = PHANTOM.keypoints.coords.round().astype(int)
    only_middle = blank.copy()
    cv2.circle(only_middle, ((ps1 + ps2) // 2).tolist(), 6, 1, -1)
    assert "its outline passes PS1 at" in reasons(mask=only_middle)["PS"]
    thread = blank.copy()
    cv2.line(thread, ps1.tolist(), ps2.tolist(), 1, 3)
    assert "times as wide as long" in reasons(mask=thread)["PS"]
    crumb = blank.copy()
    cv2.circle(crumb, fh1.tolist(), 12, 2, -1)
    assert "times as long as the symphysis, expected 0.8 to 4" in reasons(mask=crumb)["FH"]
    everywhere = np.full_like(blank, 2)
    found = reasons(mask=everywhere)["FH"]
    assert "of the frame" in found or "times as long as the symphysis" in found


def test_every_structure_has_a_box_or_a_reason_and_boxes_stay_in_the_frame():
    rng = np.random.default_rng(4)
    for _ in range(60):
        height, width = rng.integers(40, 400, 2)
        points = rng.uniform(-10, 410, (3, 2))
        pixels = rng.integers(0, 255, (height, width), dtype=np.uint8)
        found = boxes.boxes_for(pixels, points, Geometric())
        assert set(found.boxes) | set(found.reasons) == set(boxes.STRUCTURES)
        assert not set(found.boxes) & set(found.reasons)
        for box in found.boxes.values():
            assert (box[:2] < box[2:]).all()
            assert (box >= -0.5).all()
            assert (box <= np.array([width, height, width, height]) - 0.5).all()


def test_boxes_of_real_frames_agree_with_their_masks(shared_data):
    data = shared_data / "psfhs"
    segmenter = networks.load_stand_in(artefacts.resolve(networks.STAND_IN))
    agreement = {structure: [] for structure in boxes.STRUCTURES}
    for frame in read_labels(data / "val.csv", data)[::6]:
        mask = read_gray(data / "masks" / frame.name)
        found = boxes.boxes_for(read_gray(frame.path), frame.keypoints.coords, segmenter)
        for structure in boxes.STRUCTURES:
            truth, box = edges(mask, structure), found.boxes.get(structure)
            if box is None:
                agreement[structure].append(0.0)
                continue
            both = np.prod(np.maximum(np.minimum(box[2:], truth[2:]) - np.maximum(box[:2], truth[:2]), 0))
            areas = np.prod(box[2:] - box[:2]) + np.prod(truth[2:] - truth[:2])
            agreement[structure].append(both / (areas - both))
    assert np.mean(agreement["PS"]) >= 0.80
    assert np.mean(agreement["FH"]) >= 0.78
