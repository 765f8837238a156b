import numpy as np
import pytest

from aop_pose.errors import UnreadableError, UsageError
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import groups_by_name, hold_out, merge_groups, near_duplicate_groups
from tests.formats.made_up import picture, save


def blend(first, second, share):
    """A picture between two others, so that it is near both."""
    return (picture(first) * (1 - share) + picture(second) * share).astype(np.uint8)


def test_near_duplicates_share_a_group_and_others_do_not(tmp_path):
    brighter = (picture(1) * 0.8 + 30).astype(np.uint8)
    pixels = [picture(0), picture(1), picture(2), brighter, picture(0)]
    paths = [save(tmp_path / f"{i}.png", values) for i, values in enumerate(pixels)]
    assert near_duplicate_groups(paths).tolist() == [0, 1, 2, 1, 0]


def test_a_sweep_is_one_group_through_the_frames_between(tmp_path):
    shares = np.linspace(0, 1, 13)
    paths = [save(tmp_path / f"{i}.png", blend(0, 1, share)) for i, share in enumerate(shares)]
    assert set(near_duplicate_groups([paths[0], paths[-1]])) == {0, 1}
    assert set(near_duplicate_groups(paths)) == {0}


def test_blocks_agree_with_a_slow_reference(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pixels = [blend(rng.integers(5), rng.integers(5), rng.choice([0, 0.1, 0.2])) for _ in range(40)]
    paths = [save(tmp_path / f"{i}.png", values) for i, values in enumerate(pixels)]
    monkeypatch.setattr("aop_pose.formats.split._BLOCK", 7)
    found = near_duplicate_groups(paths)
    import cv2

    small = [cv2.resize(values, (32, 32), interpolation=cv2.INTER_AREA).ravel() for values in pixels]
    close = np.corrcoef(np.array(small, dtype=float)) > 0.97
    reach = np.linalg.matrix_power(close.astype(float), 40) > 0
    np.testing.assert_array_equal(found[:, None] == found[None], reach)


def test_flat_pictures_are_near_nothing(tmp_path):
    paths = [save(tmp_path / f"{i}.png", np.full((9, 9), 5, dtype=np.uint8)) for i in range(2)]
    assert near_duplicate_groups(paths).tolist() == [0, 1]
    assert near_duplicate_groups([]).tolist() == []


def test_an_unreadable_picture_is_named(tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(UnreadableError, match=r"bad\.png"):
        near_duplicate_groups([tmp_path / "bad.png"])


def test_no_real_group_stands_on_both_sides_of_the_validation_line(shared_data):
    folder = shared_data / "psfhs"
    train = [frame.path for frame in read_labels(folder / "labelled.csv", folder)]
    train += [folder / "images" / name for name in (folder / "unlabelled.txt").read_text().split()]
    val = [frame.path for frame in read_labels(folder / "val.csv", folder)]
    groups = near_duplicate_groups([*train, *val])
    assert not set(groups[: len(train)]) & set(groups[len(train) :])
    # It finds groups at all: real frames come in sweeps.
    assert len(set(groups)) < 0.7 * len(groups)


def test_patients_are_found_in_names():
    assert groups_by_name(["010_HC.png", "011_HC.png", "010_2HC.png"], r"^(\d+)_").tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "expected a regular expression"),
        (r"^\d+", "expected a bracket"),
        (r"^(x)", "does not match '1.png'"),
    ],
)
def test_a_pattern_that_finds_no_patient_is_an_error(pattern, message):
    with pytest.raises(UsageError, match=message):
        groups_by_name(["1.png"], pattern)


def test_merged_groups_respect_both():
    assert merge_groups(np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2, 3])).tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_holding_out_never_cuts_a_group_and_repeats_with_its_seed(seed):
    groups = np.random.default_rng(seed).integers(0, 60, 300)
    held = hold_out(groups, 0.1, seed)
    assert not set(groups[held]) & set(groups[~held])
    assert 25 <= held.sum() <= 30
    np.testing.assert_array_equal(held, hold_out(groups, 0.1, seed))


def test_another_seed_holds_out_other_groups():
    groups = np.arange(300)
    assert (hold_out(groups, 0.1, 0) != hold_out(groups, 0.1, 1)).any()


@pytest.mark.parametrize(
    ("groups", "fraction", "message"),
    [
        ([0, 0, 0], 0.1, "at least 2 groups"),
        ([0] * 50 + [1] * 50, 0.1, "the smallest of 2 groups has 50"),
        ([0, 1], 0, "share between 0 and 1"),
        ([0, 1], 1, "share between 0 and 1"),
    ],
)
def test_an_impossible_split_is_an_error(groups, fraction, message):
    with pytest.raises(UsageError, match=message):
        hold_out(np.array(groups), fraction, 0)


def test_at_least_one_frame_is_kept():
    assert hold_out(np.array([0, 1]), 0.99, 0).sum() == 1
