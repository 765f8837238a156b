"""Pseudo-labels that do not fit a training: one line, and nothing is written."""

import shutil

import pytest

from tests.fakes import require_ultralytics

require_ultralytics()

from aop_pose.errors import UsageError  # noqa: E402
from aop_pose.formats.registry import read_labels  # noqa: E402
from aop_pose.pseudo.chosen import find_pseudo  # noqa: E402
from aop_pose.pseudo.label import COLUMNS_OF_TABLE  # noqa: E402
from tests.pipelines.conftest import train_tiny  # noqa: E402

HEADER = ",".join(COLUMNS_OF_TABLE)


@pytest.fixture
def semi(phantom_set, tmp_path):
    """Ten phantoms: six with labels, one for --val, three pseudo-labelled (one dropped)."""
    folder = tmp_path / "set"
    shutil.copytree(phantom_set, folder)
    header, *rows = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([header, *rows[:6]]) + "\n")
    (folder / "val.csv").write_text("\n".join([header, rows[6]]) + "\n")
    lines = [row(name, keep) for name, keep in (("0007.png", 1), ("images/0008.png", 1), ("0009.png", 0))]
    (folder / "pseudo.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder


def row(name, keep=1, weight="0.5"):
    return f'{name},"(60, 20)","(30, 30)","(70, 50)",100,{keep},,0.9,1.5,0.49,{weight}'


def add(folder, *lines):
    with (folder / "pseudo.csv").open("a") as file:
        file.write("\n".join(lines) + "\n")


def refused(folder, match, *changes, **options):
    out = folder.parent / "run"
    with pytest.raises(UsageError, match=match) as caught:
        train_tiny(folder, out, "epochs=1", *changes, options={"pseudo": "pseudo.csv", **options})
    assert "\n" not in str(caught.value)
    assert not out.exists()


def names_of(folder, listed=None):
    labelled = read_labels(folder / "labels.csv", folder)
    return [one.frame.name for one in find_pseudo("pseudo.csv", folder, listed, {"--labels": labelled}).frames]


@pytest.mark.parametrize("name", ["0003.png", "images/0003.png"])
def test_a_frame_with_a_label_is_named(semi, name):
    """Also where the two files write the name differently."""
    add(semi, row(name), row("0004.png"))
    refused(semi, rf"{name} \(and 1 more\) also in --labels")


def test_a_frame_of_val_is_named(semi):
    add(semi, row("0006.png"))
    refused(semi, r"found 0006\.png also in --val", val="val.csv")


def test_a_bad_row_is_named(semi):
    add(semi, row("0006.png", weight="2"))
    refused(semi, r"pseudo\.csv:5: weight: expected a number from 0 to 1, found '2'")


def test_a_picture_of_another_size(semi):
    add(semi, '0006.png,"(60, 20)","(30, 30)","(170, 50)",100,1,,0.9,1.5,0.49,1')
    refused(semi, r"pseudo\.csv:5: 0006\.png: .*96x96 picture, found FH1 outside")


def test_points_that_coincide(semi):
    add(semi, '0006.png,"(60, 20)","(60, 20)","(60, 20)",100,1,,0.9,1.5,0.49,1')
    refused(semi, r"expected PS1 and PS2 apart")


def test_a_damaged_document(semi):
    (semi / "pseudo.run.json").write_text("{")
    refused(semi, r"pseudo\.run\.json: expected")


def test_a_batch_that_cannot_be_halved(semi):
    refused(semi, "batch: expected a multiple of 2", "batch=5")


def test_no_such_table(semi):
    refused(semi, r"no file other\.csv", pseudo="other.csv")


@pytest.mark.parametrize(("options", "named"), [({"dynamic": True}, "--dynamic"), ({"frames": "l.txt"}, "--list")])
def test_what_belongs_to_pseudo_labels_needs_them(semi, options, named):
    refused(semi, f"{named}: expected --pseudo", pseudo=None, **options)


def test_a_list_chooses_among_the_kept(semi):
    """Under either name of a picture; a listed frame that the table drops stays dropped."""
    assert names_of(semi) == ["0007.png", "images/0008.png"]
    (semi / "list.txt").write_text("0008.png\n0009.png\n")
    assert names_of(semi, "list.txt") == ["images/0008.png"]


@pytest.mark.parametrize(("names", "match"), [
    ("0009.png", r"at least one frame of .*list\.txt with keep = 1"),
    ("0007.png\n0001.png", r"list\.txt: expected frames of .*pseudo\.csv, found 0001\.png"),
    ("0007.png\nnone.png", "no picture none"),
    ("", "empty list"),
])  # fmt: skip
def test_a_list_that_does_not_fit(semi, names, match):
    (semi / "list.txt").write_text(f"{names}\n")
    refused(semi, match, frames="list.txt")
