"""Which frames are labelled: a frame with a label never is."""

import pytest

from aop_pose.errors import UsageError
from aop_pose.pseudo.run import unlabelled_frames
from tests.fakes import write_frames


@pytest.fixture
def data(tmp_path):
    """Five frames in images/, the first with a label, the second in val; a mask that is no frame."""
    write_frames(tmp_path / "images", 5)
    write_frames(tmp_path / "masks", 1)
    (tmp_path / "labels.csv").write_text('Filename,PS1,PS2,FH1\n000.png,"(1, 2)","(3, 4)","(5, 6)"\n')
    (tmp_path / "val.csv").write_text('Filename,PS1,PS2,FH1\nimages/001.png,"(1, 2)","(3, 4)","(5, 6)"\n')
    return tmp_path


def names(frames):
    return [entry.source for entry in frames.entries]


def test_a_whole_folder_leaves_out_what_has_labels(data):
    found = unlabelled_frames(data, None, ["labels.csv", data / "val.csv"])
    assert names(found) == ["002.png", "003.png", "004.png"]
    assert (found.labelled, found.ignored) == (2, 0)


def test_a_folder_without_images_is_taken_itself(data):
    assert len(names(unlabelled_frames(data / "images", None, []))) == 5


def test_a_list_keeps_its_order_and_names_that_are_not_there(data):
    (data / "list.txt").write_text("003.png\n\n  images/002.png \ngone.png\n", encoding="utf-8-sig")
    found = unlabelled_frames(data, "list.txt", ["labels.csv", "val.csv"])
    assert names(found) == ["003.png", "images/002.png", "gone.png"]
    assert [entry.path.is_file() for entry in found.entries] == [True, True, False]


@pytest.mark.parametrize("listed", ["000.png", "images/000.png"])
def test_a_list_that_names_a_labelled_frame_is_an_error_that_names_it(data, listed):
    (data / "list.txt").write_text(f"002.png\n{listed}\n001.png\n")
    with pytest.raises(UsageError, match=rf"list\.txt: .*found {listed} \(and 1 more\) also in .*labels\.csv"):
        unlabelled_frames(data, "list.txt", ["labels.csv", "val.csv"])


def test_a_picture_that_is_listed_under_two_names(data):
    """Its table would be refused later, when a recipe has trained for hours."""
    (data / "list.txt").write_text("003.png\n002.png\nimages/003.png\n")
    with pytest.raises(UsageError, match=r"list\.txt: expected each picture once, found images/003\.png, which is 003"):
        unlabelled_frames(data, "list.txt", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.png\nb.png\na.png\n", r"list\.txt:3: expected each picture once, found a\.png again \(first in line 1\)"),
        (b"\n \n", "found an empty list"),
        (b"\xff\xfe\x00a", "expected UTF-8 text"),
    ],
)
def test_a_malformed_list_is_named(data, content, message):
    (data / "list.txt").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        unlabelled_frames(data, "list.txt", [])


def test_nothing_left_is_an_error(data):
    (data / "all.csv").write_text("Filename\n" + "".join(f"00{i}.png\n" for i in range(5)))
    with pytest.raises(UsageError, match=r"no frames to label in .*5 labelled"):
        unlabelled_frames(data, None, ["all.csv"])
    with pytest.raises(UsageError, match="expected a folder, found none"):
        unlabelled_frames(data / "nowhere", None, [])
    with pytest.raises(UsageError, match=r"no file nowhere\.csv"):
        unlabelled_frames(data, None, ["nowhere.csv"])


@pytest.mark.parametrize("name", ["../secret.png", "x/../../secret.png", "/etc/secret.png", "..\\secret.png"])
def test_a_list_does_not_lead_out_of_the_folder(data, name):
    (data / "list.txt").write_text(f"{name}\n")
    with pytest.raises(UsageError, match="which leads out of it"):
        unlabelled_frames(data, "list.txt", [])


def test_a_link_out_of_the_folder_is_refused_by_name(data, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "a.png"
    outside.write_bytes(b"x")
    (data / "link.png").symlink_to(outside)
    (data / "list.txt").write_text("link.png\n")
    with pytest.raises(UsageError, match=r"found link\.png, a link that leads out of it"):
        unlabelled_frames(data, "list.txt", [])
