"""Pictures of volumes: where points are drawn, that proportions are physical, and that nothing breaks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aop_pose.core.frame import Volume
from aop_pose.core.keypoints import Keypoints
from aop_pose.core.schemas import FETAL_FACE, FETUS
from aop_pose.draw.marks import ORANGE, SKY, name_point, text_size
from aop_pose.draw.skeleton import Skeleton, axis_lines, directions, draw_view, from_the_side, half_extent
from aop_pose.draw.volume import draw_midsagittal, gray_values, volume_sheet
from aop_pose.phantom.fetus import make_fetus
from tests.fakes import SIDED_FACE, random_volume


@pytest.fixture(scope="module")
def phantom():
    return make_fetus(0, 1, shape=(44, 28, 28))


def has(picture, colour):
    return bool((picture == colour).all(axis=-1).any())


def centre_of(picture, colour):
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    return columns.mean(), rows.mean()


def test_truth_is_blue_and_prediction_orange(phantom):
    volume, truth = phantom.volume, phantom.keypoints
    moved = Keypoints.from_points(FETUS, truth.coords + 3)
    both, alone = volume_sheet(volume, moved, truth), volume_sheet(volume, moved)
    assert both.dtype == np.uint8
    assert has(both, ORANGE)
    assert has(both, SKY)
    assert has(alone, ORANGE)
    assert not has(alone, SKY)


def test_a_sheet_is_readable_without_points_and_says_why(phantom):
    nothing = Keypoints.from_points(FETUS, np.full((22, 3), np.nan))
    for keypoints in (None, nothing):
        sheet = volume_sheet(phantom.volume, keypoints, reason="no anatomy found")
        assert sheet.shape[0] > 200
        assert not has(sheet, ORANGE)
    amber = (60, 170, 255)
    assert has(volume_sheet(phantom.volume, None, reason="no anatomy found"), amber)


def test_a_point_that_was_not_found_is_said(phantom):
    amber = (60, 170, 255)
    coords = phantom.keypoints.coords.copy()
    assert not has(volume_sheet(phantom.volume, phantom.keypoints), amber)
    coords[3] = np.nan
    assert has(volume_sheet(phantom.volume, Keypoints.from_points(FETUS, coords)), amber)


def test_points_that_are_named_on_the_pictures_are_listed_only_where_something_is_said_of_them(monkeypatch):
    said = []
    monkeypatch.setattr("aop_pose.draw.volume.put_text", lambda canvas, text, *where: said.append(text))
    coords = np.array([[5.0, 6.0, 7.0], [9.0, 6.0, 3.0], [12.0, 9.0, 3.0]])
    face, volume = Keypoints.from_points(FETAL_FACE, coords), random_volume((16, 14, 12))
    volume_sheet(volume, face)
    assert said.count("left eye") == 1, "the title of its slices"
    volume_sheet(volume, face, Keypoints.from_points(FETAL_FACE, coords + 1))
    assert "left eye: 4.6 mm off" in said
    coords[1] = np.nan
    volume_sheet(volume, Keypoints.from_points(FETAL_FACE, coords))
    assert "left eye: not found" in said


@pytest.mark.parametrize("shape", [(1, 1, 1), (40, 3, 2), (2, 30, 5)])
@pytest.mark.parametrize("far", [0.0, 1e4])
def test_any_shape_and_points_far_outside_are_drawn(shape, far):
    volume = random_volume(shape)
    points = Keypoints.from_points(FETAL_FACE, np.array([[0.0, 0, 0], [far, 0, 0], [0, far, 1]]))
    assert volume_sheet(volume, points, points).ndim == 3


def test_all_points_in_one_place_are_drawn(phantom):
    one = Keypoints.from_points(FETUS, np.full((22, 3), 10.0))
    assert volume_sheet(phantom.volume, one, one).ndim == 3


def test_slices_go_through_the_points_that_are_named(phantom):
    few = volume_sheet(phantom.volume, phantom.keypoints, through=("rump",))
    many = volume_sheet(phantom.volume, phantom.keypoints, through=FETUS.points)
    assert many.shape[0] > few.shape[0]
    with pytest.raises(ValueError, match="found 'tail'"):
        volume_sheet(phantom.volume, phantom.keypoints, through=("tail",))


def test_truth_of_another_schema_is_refused(phantom):
    face = Keypoints.from_points(FETAL_FACE, np.zeros((3, 3)))
    with pytest.raises(ValueError, match="truth: expected schema fetal_face, found fetus"):
        volume_sheet(phantom.volume, face, phantom.keypoints)


def test_from_its_left_and_from_the_front(phantom):
    """The two views are at right angles; the crown is up in both, the left side right in the second, as facing it."""
    side, front = directions(phantom.points_mm, FETUS)
    for view in (side, front):
        assert np.linalg.norm([view.right, view.up], axis=1) == pytest.approx([1, 1])
        assert view.right @ view.up == pytest.approx(0, abs=1e-9)
        crown, rump = (view.flat(phantom.points_mm[FETUS.index(name)]) for name in ("cranial_crest", "rump"))
        assert crown[1] > rump[1]
    assert abs(side.right @ front.right) == pytest.approx(0, abs=1e-9)
    left, right = (phantom.points_mm[FETUS.index(f"{side}_hip")] for side in ("left", "right"))
    assert front.flat(left)[0] > front.flat(right)[0]
    # From its left the eye is on the left: right times up points there.
    assert np.cross(side.right, side.up) @ (left - right) > 0
    nose, back = (phantom.points_mm[FETUS.index(name)] for name in ("nasal_bone", "occiput"))
    assert np.cross(front.right, front.up) @ (nose - back) > 0


def test_without_a_midsagittal_plane_the_views_are_along_the_patients_axes():
    side, front = directions(np.zeros((3, 3)), FETAL_FACE)
    assert np.array_equal([side.right, side.up, front.right], np.eye(3)[[0, 2, 1]])


def test_the_axes_of_a_head_are_seen_along_its_crown_and_in_the_patient():
    """A head that looks to the front with its crown up: from above the eyes lie side by side, the brain behind them."""
    points = np.array([[0.0, 0, 0], [-17, 40, 0], [17, 40, 0]])
    above, of_patient, _ = directions(points, FETAL_FACE)
    brain, left, right = above.flat(points)
    assert left[1] == right[1] == pytest.approx(brain[1] + 40)
    assert (left[0], right[0]) == pytest.approx((-17, 17))
    assert np.array_equal([of_patient.right, of_patient.up], np.eye(3)[[0, 2]])
    lines = axis_lines(points, FETAL_FACE)
    assert list(lines) == ["look", "crown"]
    start, end = lines["look"]
    assert (end - start) / np.linalg.norm(end - start) == pytest.approx([0, 1, 0])
    side = from_the_side(points, FETAL_FACE)
    assert np.array_equal([side.right, side.up], np.eye(3)[[1, 2]])
    assert axis_lines(np.full((3, 3), np.nan), FETAL_FACE) == {}


def test_two_views_have_one_scale():
    """Points of 30 mm across x and y and 10 mm along z: 30 mm are as many pixels in either view."""
    points = np.array([[0.0, 0, 0], [30, 0, 10], [0, 30, 10]])
    views = directions(points, SIDED_FACE)
    skeleton = Skeleton(points, ORANGE)
    half = half_extent([skeleton], views, SIDED_FACE)
    assert half == 15
    spans = []
    for view in views:
        picture = np.zeros((300, 300, 3), np.uint8)
        draw_view(picture, [skeleton], FETAL_FACE, view, ["", "", ""], half)
        columns = np.nonzero((picture == ORANGE).all(axis=-1))[1]
        spans.append(columns.max() - columns.min())
    assert spans[0] == pytest.approx(spans[1], abs=1)


@pytest.mark.parametrize(("far", "side"), [([30.0, 0, 0], "right"), ([0.0, 0, 30], "up")])
def test_up_is_up_and_right_is_right(far, side):
    """The middle of the body at the origin in blue on top, a second point away from it in orange."""
    away, here = np.full((3, 3), np.nan), np.full((3, 3), np.nan)
    away[1], here[0] = far, 0
    picture = np.zeros((300, 300, 3), np.uint8)
    draw_view(
        picture,
        [Skeleton(away, ORANGE), Skeleton(here, SKY)],
        FETAL_FACE,
        directions(here, FETAL_FACE)[0],
        [""] * 3,
        15,
    )
    (x, y), (other_x, other_y) = centre_of(picture, ORANGE), centre_of(picture, SKY)
    span = 300 - 2 * 34
    expected = (span, 0) if side == "right" else (0, -span)
    assert (x - other_x, y - other_y) == pytest.approx(expected, abs=0.5)


def test_the_midsagittal_plane_shows_what_lies_in_it():
    """Only the voxels of i = 10 are bright: the plane x = 10 mm through ten points is bright, one across it is not."""
    voxels = np.zeros((21, 40, 40), np.float32)
    voxels[10] = 255
    volume = Volume(voxels, np.eye(4))
    rng = np.random.default_rng(0)
    points = rng.uniform(12, 28, (22, 3))
    points[:10, 0] = 10
    points[FETUS.index("cranial_crest")], points[FETUS.index("rump")] = [10, 20, 28], [10, 20, 12]
    picture = draw_midsagittal(volume, voxels.astype(np.uint8), points, FETUS, 200, ORANGE)
    assert picture.shape == (200, 200, 3)
    middle = picture[60:140, 20:60]
    assert np.median(middle) == 255
    # 16 mm of crown-rump length and 12 mm around the longer of the two sides that are shown.
    flat = np.ptp(points[:10, 1:], axis=0).max() + 24
    line = (picture == ORANGE).all(axis=-1).any(axis=1)
    assert np.flatnonzero(line).size == pytest.approx(16 / flat * 200, abs=8)


def test_what_lies_in_the_plane_is_where_its_point_is_drawn():
    """Crown and rump 24 mm above each other, a bright cube 8 mm behind the crown and 16 mm below it, from the left.

    With x to the left and z up, y runs to the right: up cross left.
    """
    voxels = np.zeros((21, 50, 50), np.uint8)
    voxels[8:13, 27:30, 19:22] = 255
    points = np.full((22, 3), np.nan)
    crown, rump, chest = (FETUS.index(name) for name in ("cranial_crest", "rump", "chest"))
    points[crown], points[rump], points[chest] = [10, 20, 36], [10, 20, 12], [10, 14, 20]
    points[FETUS.index("left_hip")], points[FETUS.index("right_hip")] = [15, 20, 20], [5, 20, 20]
    volume = Volume(voxels.astype(np.float32), np.eye(4))
    picture = draw_midsagittal(volume, voxels, points, FETUS, 240, ORANGE)
    rows, columns = np.nonzero((picture == ORANGE).all(axis=-1))
    # Marks of 3 pixels around the ends; the picture shows 24 mm and 12 mm on either side of them.
    per_mm = 240 / 48
    top, middle = rows.min() + 3, columns[rows == rows.min() + 3].mean()
    # A blank in the lettering's corner of the picture: the label lies right of the line's middle.
    bright = picture[..., 0].astype(float)
    bright[:, : round(middle + 5 * per_mm)] = 0
    bright[: round(top + 13 * per_mm)] = 0
    where = np.indices(bright.shape)
    down, across = ((place * bright).sum() / bright.sum() for place in where)
    assert (across - middle) / per_mm == pytest.approx(8, abs=0.4)
    assert (down - top) / per_mm == pytest.approx(16, abs=0.4)


def test_no_plane_no_picture():
    volume = random_volume()
    lost = np.full((22, 3), np.nan)
    assert draw_midsagittal(volume, gray_values(volume), lost, FETUS, 100, ORANGE) is None
    assert draw_midsagittal(volume, gray_values(volume), np.ones((3, 3)), FETAL_FACE, 100, ORANGE) is None


@given(st.lists(st.tuples(st.integers(0, 199), st.integers(0, 149)), min_size=2, max_size=12))
def test_names_that_may_be_left_out_never_cover_each_other(places):
    picture, occupied, written = np.zeros((150, 200, 3), np.uint8), [], []
    for place in places:
        if name_point(picture, "name", np.array(place, float), (255, 255, 255), occupied, 0.4, always=False):
            written.append(occupied[-1])
    for number, one in enumerate(written):
        for other in written[:number]:
            assert one[2] - 3 <= other[0] or other[2] <= one[0] + 3 or one[3] - 3 <= other[1] or other[3] <= one[1] + 3
    assert written
    assert text_size("name", 0.4)[0] < 200


def test_real_volumes_are_drawn(shared_data, tmp_path):
    from aop_pose.formats.registry import read_labels
    from aop_pose.io.volumes import read_volume

    labelled = read_labels(shared_data / "fetal_mri" / "labelled.csv", shared_data / "fetal_mri", None)[0]
    volume, truth = read_volume(labelled.path), labelled.keypoints
    sheet = volume_sheet(volume, truth, truth)
    assert has(sheet, ORANGE)
    assert sheet.shape[1] > 700
