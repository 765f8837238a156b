"""Name lists and converted labels give the label files of the published split, and nothing is parted wrongly."""

from pathlib import Path

import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.core.schemas import AOP
from aop_pose.errors import UsageError
from aop_pose.formats.csv_rows import read_list
from aop_pose.formats.label import Label, Mask
from aop_pose.formats.masks import points_from_mask
from aop_pose.formats.registry import read_labels
from aop_pose.formats.split import cut_by_lists
from tests.formats.test_layouts import mha_pairs

SPLITS = Path(__file__).resolve().parents[2] / "datasets" / "splits"
LISTS = SPLITS / "psfhs"


@pytest.fixture
def converted(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "lists").mkdir()
    rows = [f'{name}.png,"({name}, 2)","(3, 4.5)","(5, 6)",{name}.1250' for name in "1234"]
    (tmp_path / "data" / "labels.csv").write_text("\n".join(["Filename,PS1,PS2,FH1,AoP", *rows, ""]))
    (tmp_path / "lists" / "val.txt").write_text("3.png\n1.png\n")
    (tmp_path / "lists" / "unlabelled.txt").write_text("4.png\n")
    return tmp_path


def test_a_list_becomes_the_rows_of_its_frames_in_its_order(converted):
    written = cut_by_lists(converted / "data", converted / "lists")
    assert written == {"unlabelled_answers.csv": 1, "unlabelled.txt": 1, "val.csv": 2}
    assert (converted / "data" / "val.csv").read_text() == (
        "Filename,PS1,PS2,FH1,AoP\n"
        '3.png,"(3, 2)","(3, 4.5)","(5, 6)",3.1250\n'
        '1.png,"(1, 2)","(3, 4.5)","(5, 6)",1.1250\n'
    )
    assert (converted / "data" / "unlabelled.txt").read_text() == "4.png\n"
    assert "4.png" in (converted / "data" / "unlabelled_answers.csv").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [("1.png\n", "in one list, found 1.png"), ("9.png\n", "found 9.png, which has no row"), ("", "empty list")],
)
def test_a_frame_in_two_lists_or_without_a_row_is_refused_before_anything_is_written(converted, more, message):
    (converted / "lists" / "zlast.txt").write_text(more)
    with pytest.raises(UsageError, match=message):
        cut_by_lists(converted / "data", converted / "lists")
    assert not (converted / "data" / "val.csv").exists()


def test_one_command_from_a_download_to_the_set_and_its_splits(capsys, tmp_path):
    """A made-up download in PSFHS' layout and the lists of a split; a list that does not fit leaves nothing behind."""
    source, lists = tmp_path / "PSFHS", tmp_path / "lists"
    lists.mkdir()
    mha_pairs(source)
    (lists / "val.txt").write_text("00002.png\n")
    (lists / "unlabelled.txt").write_text("00001.png\n")
    command = ["dataset", "convert", str(source), str(tmp_path / "psfhs"), "--from", "psfhs", "--splits", str(lists)]
    assert run([*command, "--to", "iugc"]) == 0
    assert f"{tmp_path / 'psfhs' / 'val.csv'}: 1 frame\n" in capsys.readouterr().out
    (label,) = read_labels(tmp_path / "psfhs" / "val.csv", tmp_path / "psfhs", AOP)
    assert label.name == "00002.png"
    (lists / "val.txt").write_text("9.png\n")
    for more in (["--to", "iugc", "--overwrite"], ["--to", "masks", "--overwrite"]):
        assert run([*command, *more]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "psfhs" / "val.csv").exists()


@pytest.mark.parametrize(
    ("data", "lengths"),
    [
        ("psfhs", {"labelled": 300, "val": 132, "unlabelled": 626}),
        ("hc18", {"train": 678, "val": 170}),
        ("fetal-mri", {"labelled": 31}),
    ],
)
def test_the_published_lists_name_each_frame_once(data, lengths):
    names = {file: read_list(SPLITS / data / f"{file}.txt") for file in lengths}
    assert {file: len(listed) for file, listed in names.items()} == lengths
    assert len(set().union(*names.values())) == sum(lengths.values())


def test_no_woman_of_hc18_stands_in_both_lists():
    women = [
        {name.partition("_")[0] for name in read_list(SPLITS / "hc18" / f"{file}.txt")} for file in ("train", "val")
    ]
    assert not women[0] & women[1]


def test_labels_made_from_the_masks_are_those_the_figures_were_measured_with(shared_data):
    folder = shared_data / "psfhs"
    for file, every in (("labelled", 15), ("val", 10)):
        rows = {label.name: label for label in read_labels(folder / f"{file}.csv", folder, AOP)}
        for name in read_list(LISTS / f"{file}.txt")[::every]:
            made = points_from_mask(Label(name, folder / "images" / name, mask=Mask(folder / "masks" / name)))
            assert isinstance(made, Label)
            assert np.array_equal(made.points, rows[name].points), name
