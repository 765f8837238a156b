"""Points are checked where labels enter, whatever reads them; what fails is left out and counted with its reason."""

import pytest

from aop_pose.cli.main import main
from aop_pose.errors import UsageError
from aop_pose.formats.convert import convert
from aop_pose.formats.registry import check, read_labels
from tests.formats.made_up import iugc_folder, picture, save


def labelled(folder, points, size=(60, 40)):
    """A row a list of three points."""
    lines = ["Filename,PS1,PS2,FH1"]
    for i, three in enumerate(points):
        save(folder / "images" / f"{i:02d}.png", picture(i, *size))
        lines.append(f"{i:02d}.png," + ",".join(f'"({x}, {y})"' for x, y in three))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


GOOD = [(30, 10), (10, 10), (30, 20)]


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        ([(30, 10), (10, 10), (30, 40)], "a point outside the picture", r"FH1: .*found \(30, 40\) outside"),
        ([(30, 10), (30, 10), (30, 20)], "two points at one place", "expected PS1 and PS2 apart"),
        ([(30, 10), (10, 10), (-1, -1)], "a point that nobody marked", "found that nobody marked FH1"),
        ([(0, 0), (10, 10), (30, 20)], "a point that nobody marked", "found that nobody marked PS1"),
    ],
)
@pytest.mark.parametrize("to", ["iugc", "yolo-pose"])
def test_a_bad_label_is_left_out_of_training_and_of_every_conversion(tmp_path, bad, kind, reason, to):
    folder, said = labelled(tmp_path / "src", [GOOD, bad, GOOD]), []
    labels = read_labels(folder / "labels.csv", folder, say=said.append)
    assert [label.name for label in labels] == ["00.png", "02.png"]
    with pytest.raises(UsageError, match=reason):
        raise UsageError(said[0])
    assert said[0].startswith(f"left out 1 of 3 labels ({kind}), the first 01.png: ")
    done = convert(folder, tmp_path / "out", to)
    assert done.written == 2
    with pytest.raises(UsageError, match=reason):
        raise UsageError(done.skipped[0].reason)
    assert len(check(folder).findings) == 1


@pytest.mark.parametrize(
    ("points", "cause"),
    [
        ([[(120, 20), (20, 20), (60, 60)]] * 4, r"4 of 4 labels have points outside; are they of another picture size"),
        ([[(10, 55), (10, 20), (20, 50)]] * 4, "are rows and columns swapped"),
        ([[(-10, 5), (10, 10), (20, 15)]] * 4, "are they counted from another corner or centre"),
        ([[(0.5, 0.25), (0.2, 0.25), (0.5, 0.75)]] * 4, "are they shares in the place of pixels"),
        ([[(10, 30), (12, 12), (20, 36)]] * 4, "mirrored and turned; are rows and columns swapped"),
    ],
)
def test_where_all_fail_alike_the_likely_cause_is_named(tmp_path, points, cause):
    folder = labelled(tmp_path / "src", points)
    for refused in (
        lambda: read_labels(folder / "labels.csv", folder, say=print),
        lambda: convert(folder, tmp_path / "out", "iugc"),
        lambda: convert(folder, tmp_path / "out", "yolo-pose"),
    ):
        with pytest.raises(UsageError, match=cause):
            refused()
    assert not (tmp_path / "out").exists()
    assert check(folder).findings


def test_a_mirrored_set_is_no_swapped_one(tmp_path):
    folder = labelled(tmp_path, [[(30, 10), (50, 5), (25, 20)]] * 4)
    assert len(read_labels(folder / "labels.csv", folder)) == 4


def evaluated(tmp_path, results, truth=None, capsys=None):
    iugc_folder(tmp_path / "data", rows=4)
    (tmp_path / "results.csv").write_text(results)
    file = tmp_path / "data" / "labels.csv"
    if truth:
        file.write_text(truth(file.read_text()))
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(tmp_path / "results.csv"), str(file), "--out", str(tmp_path / "out")])
    assert not end.value.code
    import json

    return json.loads((tmp_path / "out" / "metrics.json").read_text())


HEADER = "source,PS1_x,PS1_y,PS2_x,PS2_y,FH1_x,FH1_y\n"
FOUND = [f"{i:02d}.png,30,10,10,10,30,{20 + i}\n" for i in range(4)]


@pytest.mark.parametrize("none", ["-1,-1", "0,0", "-1.0,-1.0", "0.000,0.000"])
def test_not_found_in_a_foreign_result_is_missing(tmp_path, none):
    gone = f"00.png,{none},{none},{none}\n"
    metrics = evaluated(tmp_path, HEADER + gone + "".join(FOUND[1:]))
    assert (metrics["n"], metrics["n_missing"]) == (4, 1)


@pytest.mark.parametrize("none", ["(-1, -1)", "(0, 0)"])
def test_not_marked_in_the_truth_is_left_out_and_said(tmp_path, none, capsys):
    metrics = evaluated(tmp_path, HEADER + "".join(FOUND), lambda text: text.replace("(30, 22)", none))
    assert (metrics["n"], metrics["n_missing"]) == (3, 0)
    assert "labels left out, since a point is missing" in " ".join(capsys.readouterr().err.split())
