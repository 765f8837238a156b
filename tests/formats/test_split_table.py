import csv

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.formats.head import OPTIONAL
from aop_pose.formats.split import split_table
from tests.formats.made_up import iugc_folder, picture, save


def names(file):
    with open(file, newline="") as stream:
        return [row["Filename"] for row in csv.DictReader(stream)]


def test_rows_are_kept_as_they_are_and_none_is_lost(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=10)
    done = split_table(source, tmp_path / "out", 0.2, 0)
    assert (done.train, done.val, done.train_groups, done.val_groups) == (8, 2, 8, 2)
    train, val = ((tmp_path / "out" / name).read_text().splitlines() for name in ("train.csv", "val.csv"))
    whole = (source / "labels.csv").read_text().splitlines()
    assert train[0] == val[0] == whole[0]
    assert sorted(train[1:] + val[1:]) == sorted(whole[1:])


def test_the_seed_decides_and_repeats(tmp_path):
    source = iugc_folder(tmp_path / "src", rows=20)
    found = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        split_table(source, tmp_path / out, 0.3, seed)
        found.append(names(tmp_path / out / "val.csv"))
    assert found[0] == found[1] != found[2]


def patient_folder(folder):
    """Ten frames of five patients, all pictures different."""
    lines = ["Filename,PS1,PS2,FH1,who"]
    for i in range(10):
        save(folder / f"{i // 2}_{i}.png", picture(i))
        lines.append(f'{i // 2}_{i}.png,"(30, 10)","(10, 10)","(30, 20)",w{i // 4}')
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_patients_are_never_parted(tmp_path):
    source = patient_folder(tmp_path / "src")
    for seed in range(4):
        done = split_table(source, tmp_path / "a", 0.2, seed, group_regex=r"^(\d+)_", overwrite=True)
        assert (done.val, done.val_groups, done.train_groups) == (2, 1, 4)
        assert len({name[0] for name in names(tmp_path / "a" / "val.csv")}) == 1
    # By column: frames 0-3, 4-7 and 8-9.
    done = split_table(source, tmp_path / "b", 0.2, 0, group_column="who")
    assert names(tmp_path / "b" / "val.csv") == ["4_8.png", "4_9.png"]


def test_near_duplicates_join_patients(tmp_path):
    source = patient_folder(tmp_path / "src")
    save(source / "4_8.png", (picture(0) * 0.9).astype(np.uint8))
    for seed in range(4):
        split_table(source, tmp_path / "a", 0.4, seed, group_regex=r"^(\d+)_", overwrite=True)
        val = {name[0] for name in names(tmp_path / "a" / "val.csv")}
        assert ("0" in val) == ("4" in val)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group_column": "patient"}, r"labels\.csv:1: .* missing patient"),
        ({"group_regex": "^(x)"}, "does not match"),
        ({"fraction": 0}, "share between 0 and 1"),
    ],
)
def test_an_impossible_split_writes_nothing(tmp_path, arguments, message):
    source = patient_folder(tmp_path / "src")
    fraction = arguments.pop("fraction", 0.2)
    with pytest.raises(UsageError, match=message):
        split_table(source, tmp_path / "out", fraction, 0, **arguments)
    assert not (tmp_path / "out").exists()


def test_an_empty_patient_is_named_by_line(tmp_path):
    source = patient_folder(tmp_path / "src")
    file = source / "labels.csv"
    file.write_text(file.read_text().replace(",w1", ",", 1))
    with pytest.raises(UsageError, match="line 6: who: expected a patient"):
        split_table(source, tmp_path / "out", 0.2, 0, group_column="who")


def test_existing_files_are_kept_unless_asked(tmp_path):
    source = iugc_folder(tmp_path / "src")
    split_table(source, tmp_path, 0.3, 0)
    with pytest.raises(UsageError, match=r"train\.csv: .*add --overwrite"):
        split_table(source, tmp_path, 0.3, 1)
    split_table(source, tmp_path, 0.3, 1, overwrite=True)


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    source = iugc_folder(tmp_path / "src")
    (source / "images" / "01.png").write_text("hello")
    with pytest.raises(UsageError, match=r"01\.png.*dataset check"):
        split_table(source, tmp_path / "out", 0.3, 0)


def test_no_woman_of_hc18_stands_on_both_sides(shared_data, tmp_path):
    labels = shared_data / "hc18" / "labelled.csv"
    done = split_table(labels, tmp_path, 0.2, 0, group_regex=r"^(\d+)_")
    assert (done.train + done.val, done.val) == (848, 170)
    women = []
    for name in ("train.csv", "val.csv"):
        with open(tmp_path / name, newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert set(OPTIONAL) <= set(rows[0])
        women.append({row["Filename"].split("_")[0] for row in rows})
    assert not women[0] & women[1]
