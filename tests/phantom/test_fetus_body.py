"""A made-up fetus has published sizes, bounded joints, an exact left and right, and limbs that cross nothing."""

import attrs
import numpy as np
import pytest

from aop_pose.core.schemas import FETUS
from aop_pose.phantom.fetus import body as biometry
from aop_pose.phantom.fetus import body as joints
from aop_pose.phantom.fetus.body import (
    LEG,
    NECK,
    SPINE,
    Capsule,
    Ellipsoid,
    Pose,
    draw_body,
    head_parts,
    mean_body,
    trunk_parts,
)
from aop_pose.phantom.fetus.movement import TOUCH, Attitude, draw_attitude
from aop_pose.phantom.fetus.volume import rotation
from tests.phantom.joints import within_bounds

SEEDS = range(12)
STANDING = Pose(np.zeros(3), np.zeros(3), np.zeros((2, 5)), np.zeros((2, 5)))


@pytest.fixture(scope="module")
def drawn():
    generators = [np.random.default_rng([7, seed]) for seed in SEEDS]
    return [draw_attitude(rng, draw_body(rng)) for rng in generators]


def length(vector):
    return float(np.linalg.norm(vector))


def angle_between(a, b):
    return np.degrees(np.arccos(np.clip(a @ b / length(a) / length(b), -1, 1)))


def cornered(**angles):
    """Standing, with some joints elsewhere."""
    return attrs.evolve(STANDING, **{name: np.array(value, float) for name, value in angles.items()})


def test_sizes_are_those_of_the_charts():
    """Worked out by hand from the equations: 84 days and 14 weeks."""
    assert biometry.crown_rump_length(84) == pytest.approx(55.58, abs=0.01)
    assert biometry.biparietal_diameter(14) == pytest.approx(29.61, abs=0.01)
    assert biometry.occipitofrontal_diameter(14) == pytest.approx(33.76, abs=0.01)
    assert biometry.abdominal_circumference(14) == pytest.approx(80.61, abs=0.01)
    assert biometry.femur_length(14) == pytest.approx(13.11, abs=0.01)
    body = mean_body()
    assert 2 * body.skull[0] == pytest.approx(29.61, abs=0.01)
    assert biometry.SHAFT * body.thigh == pytest.approx(13.11, abs=0.01)
    assert np.pi * sum(body.abdomen) == pytest.approx(80.61, abs=0.01)
    smaller = mean_body(84)
    assert smaller.thigh / body.thigh == pytest.approx(55.58 / 80.64, abs=1e-3)


def test_crown_rump_length_is_that_of_the_age(drawn):
    ratios = []
    for attitude in drawn:
        points = attitude.points
        age = attitude.trunk.body.age_days
        ratios.append(length(points["cranial_crest"] - points["rump"]) / biometry.crown_rump_length(age))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)
    assert 0.85 < min(ratios) < max(ratios) < 1.15


def test_the_points_are_those_of_the_schema(drawn):
    assert set(drawn[0].points) == set(FETUS.points)


def test_no_joint_is_beyond_its_range(drawn):
    for attitude in drawn:
        assert within_bounds(attitude.pose)
    assert not within_bounds(attrs.evolve(drawn[0].pose, neck=np.array([46.0, 0.0, 0.0])))
    angles = joints.draw(np.random.default_rng(0), LEG, 4000)
    low, usual, high = np.array(LEG).T
    assert (angles >= low).all()
    assert (angles <= high).all()
    # The whole range is used: the mean of a triangular draw is the mean of its three numbers.
    np.testing.assert_allclose(angles.mean(axis=0), (low + usual + high) / 3, atol=2)


def test_bones_are_as_long_as_the_points_say_and_bent_as_the_pose_says(drawn):
    for attitude in drawn:
        body, points = attitude.trunk.body, attitude.points
        for number, side in enumerate(("left", "right")):
            shoulder, elbow, wrist, hip, knee, ankle = (
                points[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
            )
            assert length(elbow - shoulder) == pytest.approx(body.upper_arm)
            assert length(wrist - elbow) == pytest.approx(body.forearm)
            assert length(knee - hip) == pytest.approx(body.thigh)
            assert length(ankle - knee) == pytest.approx(body.lower_leg)
            assert angle_between(elbow - shoulder, wrist - elbow) == pytest.approx(attitude.pose.arms[number, 3])
            assert angle_between(knee - hip, ankle - knee) == pytest.approx(attitude.pose.legs[number, 3])


@pytest.mark.parametrize(
    ("pose", "point", "direction"),
    [
        (cornered(spine=[40, 0, 0]), "cranial_crest", (0, 1, 0)),
        (cornered(spine=[0, 15, 0]), "cranial_crest", (1, 0, 0)),
        (cornered(spine=[0, 0, 12]), "chest", (1, 0, 0)),
        (cornered(neck=[40, 0, 0]), "cranial_crest", (0, 1, 0)),
        (cornered(neck=[0, 20, 0]), "cranial_crest", (1, 0, 0)),
        (cornered(neck=[0, 0, 60]), "nasal_bone", (1, 0, 0)),
        (cornered(arms=[[90, 0, 0, 0, 0], [0, 90, 0, 0, 0]]), "left_wrist", (0, 1, 0)),
        (cornered(arms=[[90, 0, 0, 0, 0], [0, 90, 0, 0, 0]]), "right_wrist", (1, 0, 0)),
        (cornered(arms=[[0, 0, 0, 90, 0], [0, 0, 80, 90, 0]]), "left_wrist", (0, 1, 0)),
        (cornered(arms=[[0, 0, 0, 90, 0], [0, 0, 80, 90, 0]]), "right_wrist", (-1, 0, 0)),
        (cornered(legs=[[0, 45, 0, 0, 0], [0, 0, 0, 90, 0]]), "left_ankle", (-1, 0, 0)),
        (cornered(legs=[[0, 45, 0, 0, 0], [0, 0, 0, 90, 0]]), "right_ankle", (0, -1, 0)),
        (cornered(legs=[[0, 0, -45, 90, 0], [90, 0, 0, 0, 0]]), "left_ankle", (1, 0, 0)),
        (cornered(legs=[[0, 0, -45, 90, 0], [90, 0, 0, 0, 0]]), "right_ankle", (0, 1, 0)),
    ],
)
def test_a_joint_moves_what_it_should_where_it_should(pose, point, direction):
    """x runs to the fetus's right, y to its front, z to its head."""
    body = mean_body()
    moved = Attitude.of(body, pose).points[point] - Attitude.of(body, STANDING).points[point]
    assert moved @ np.array(direction) > 2.0


def equation_7(points, joint):
    """(V14 x V16) . V(left, right), 0 or less where the left is the left; points by name."""
    crest = points["cranial_crest"]
    normal = np.cross(points["nasal_bone"] - crest, points["hind_neck"] - crest)
    return normal @ (points[f"right_{joint}"] - points[f"left_{joint}"])


def test_left_is_left(drawn):
    for attitude in drawn:
        points = attitude.points
        # In a right-handed world the right hand of someone who looks along y with the head up along z is at +x.
        front, up = points["chest"] - points["mid_back"], points["hind_neck"] - points["rump"]
        assert np.cross(front, up) @ (points["right_shoulder"] - points["left_shoulder"]) > 0
        for joint in ("shoulder", "hip"):
            assert equation_7(points, joint) < 0


def test_the_left_right_rule_holds_with_the_head_turned_as_far_as_it_goes():
    body = mean_body()
    ends = [np.array([range_[:1] + range_[2:] for range_ in ranges]) for ranges in (SPINE, NECK)]
    for corner in np.ndindex(2, 2, 2, 2, 2, 2):
        spine, neck = ends[0][range(3), corner[:3]], ends[1][range(3), corner[3:]]
        points = Attitude.of(body, cornered(spine=spine, neck=neck)).points
        assert max(equation_7(points, "shoulder"), equation_7(points, "hip")) < 0


def test_a_mirrored_pose_is_the_mirrored_fetus(drawn):
    for attitude in drawn:
        points = attitude.points
        mirrored = Attitude.of(attitude.trunk.body, attitude.pose.mirrored()).points
        for name in FETUS.points:
            side, _, joint = name.partition("_")
            other = {"left": f"right_{joint}", "right": f"left_{joint}"}.get(side, name)
            np.testing.assert_allclose(mirrored[other], points[name] * [-1, 1, 1], atol=1e-9)


def test_points_sit_on_the_anatomy(drawn):
    for attitude in drawn:
        points, head, trunk = attitude.points, head_parts(attitude.trunk), trunk_parts(attitude.trunk)
        skull = head["skull"]
        for name in ("cranial_crest", "forehead", "occiput"):
            local = skull.place.turn.T @ (points[name] - skull.middle) / skull.half
            assert length(local) == pytest.approx(1.0)
        centre = (points["forehead"] + points["occiput"]) / 2
        assert skull.distance(*centre) == pytest.approx(-min(skull.half), rel=1e-3)
        surface = {"chest": "thorax", "mid_back": "thorax", "cord_insertion": "abdomen", "rump": "pelvis"}
        for name, part in surface.items():
            assert trunk[part].distance(*points[name]) == pytest.approx(0, abs=1e-9)
        near = min(abs(float(head[part].distance(*points["chin"]))) for part in ("chin", "face"))
        assert near < 1.0
        assert abs(head["nose"].distance(*points["nasal_bone"])) < 3.0


def inside_capsule(capsule, rng, count):
    """Places within a capsule, by throwing darts into its box."""
    low = np.minimum(capsule.start, capsule.end) - max(capsule.first, capsule.last)
    high = np.maximum(capsule.start, capsule.end) + max(capsule.first, capsule.last)
    darts = rng.uniform(low, high, (count, 3))
    axis = capsule.end - capsule.start
    share = np.clip((darts - capsule.start) @ axis / (axis @ axis), 0, 1)
    off = np.linalg.norm(darts - capsule.start - share[:, None] * axis, axis=1)
    within = off < capsule.first + (capsule.last - capsule.first) * share
    return darts[within], share[within]


def test_limbs_do_not_cross_the_trunk_or_each_other(drawn):
    """Darts in the limbs beyond their roots: none lies deeper in another part than two surfaces may press."""
    rng = np.random.default_rng(0)
    for attitude in drawn:
        unit, solids = attitude.trunk.body.unit, attitude.solids
        torso, limbs = solids[:8], [solids[start : start + 3] for start in (8, 11, 14, 17)]
        assert all(isinstance(part, Ellipsoid) for part in torso[:7])
        # The thigh lies within the outline up to 0.6 of its length, the upper arm up to 0.4.
        for number, (limb, root) in enumerate(zip(limbs, (0.6, 0.6, 0.4, 0.4), strict=True)):
            others = [part for other in limbs[:number] + limbs[number + 1 :] for part in other]
            for segment, part in enumerate(limb):
                assert isinstance(part, Capsule)
                places, share = inside_capsule(part, rng, 600)
                free = places[share > root] if segment == 0 else places
                # The draw looks at the axis of a limb, darts at its whole width: they find a little more.
                for ellipsoid in torso[:7]:
                    local = (free - ellipsoid.middle) @ ellipsoid.place.turn / ellipsoid.half
                    depth = (1 - np.linalg.norm(local, axis=1)) * min(ellipsoid.half)
                    assert depth.max() < 1.6 * TOUCH * unit
                for other in others:
                    assert -other.distance(*free.T).min() < 1.6 * TOUCH * unit


def test_a_crossing_is_noticed(drawn):
    attitude = drawn[0]
    assert attitude.deepest() <= TOUCH * attitude.trunk.body.unit + 1e-9
    through = np.array(attitude.pose.arms)
    # The forearm lies across the chest, within it.
    through[0] = [-25, 5, 80, 90, 0]
    crossing = Attitude.of(attitude.trunk.body, attrs.evolve(attitude.pose, arms=through))
    assert crossing.deepest() > 2 * TOUCH * attitude.trunk.body.unit
    chin_on_chest = cornered(neck=[45, 0, 0], spine=[50, 0, 0])
    assert Attitude.of(mean_body(), chin_on_chest).deepest() > TOUCH


def test_rotations_are_even():
    turns = np.stack([rotation(np.random.default_rng([1, seed])) for seed in range(3000)])
    np.testing.assert_allclose(turns @ np.swapaxes(turns, 1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turns), 1)
    # Every axis goes everywhere: mean 0 and mean square 1/3 of each entry.
    np.testing.assert_allclose(turns.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose((turns**2).mean(axis=0), 1 / 3, atol=0.03)
