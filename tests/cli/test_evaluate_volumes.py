"""Results on volumes and a 3-D label file in, figures in mm out; every way in which the two do not fit is one line."""

import base64
import csv
import gzip
import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from aop_pose.cli import main
from aop_pose.core.frame import Volume
from aop_pose.core.results import columns
from aop_pose.core.schemas import FETAL_FACE, FETUS
from aop_pose.io.volumes import write_volume
from aop_pose.phantom.fetus import make_fetus_sequence

LABELS = (
    "Filename,patient,brain_i,brain_j,brain_k,left_eye_i,left_eye_j,left_eye_k,right_eye_i,right_eye_j,right_eye_k\n"
    "a.nii.gz,p1,5,5,5,8,5,5,5,8,5\n"
    "b.nii.gz,p2,5,5,5,8,5,5,5,8,5\n"
)
HEADER = ",".join(columns(FETAL_FACE)) + "\n"
# Brain off by one voxel along each axis, and the eyes exchanged in b.
ROWS = "a.nii.gz,0,ok,,6,6,6,8,5,5,5,8,5,0.9,4.2,,,,,,,m@1,,\nb.nii.gz,0,ok,,5,5,5,5,8,5,8,5,5,0.9,4.2,,,,,,,m@1,,\n"


@pytest.fixture
def files(tmp_path):
    """Two volumes of 10 x 10 x 10 voxels of 2 x 3 x 6 mm, their labels, and results in a folder."""
    data, results = tmp_path / "data", tmp_path / "results"
    (data / "volumes").mkdir(parents=True)
    results.mkdir()
    for name in ("a", "b"):
        volume = Volume(np.zeros((10, 10, 10), np.float32), np.diag([2.0, 3, 6, 1]))
        write_volume(volume, data / "volumes" / f"{name}.nii.gz")
    (data / "labels.csv").write_text(LABELS)
    (results / "results.csv").write_text(HEADER + ROWS)
    return tmp_path


def run(capsys, folder, *more, results="results", truth="data/labels.csv"):
    code = main.run(["evaluate", str(folder / results), str(folder / truth), "--out", str(folder / "out"), *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def metrics(folder):
    return json.loads((folder / "out" / "metrics.json").read_text())


def per_frame(folder):
    with open(folder / "out" / "per_frame.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("results", ["results", "results/results.csv"])
def test_errors_are_in_millimetres_of_the_volumes_spacing(capsys, files, results):
    code, out, err = run(capsys, files, results=results)
    found = metrics(files)
    assert code == 0
    # One volume twice, and a distance that no exchange of its ends changes.
    assert "The true distance of the eyes is 10.8 mm in every image" in err
    assert "Every error of distance of the eyes is 0" in err
    # (2, 3, 6) is 7 mm; which eye is called the left one is nobody's error.
    assert (found["mre_mm_brain"], found["n"], found["n_missing"]) == (3.5, 2, 0)
    assert found["mre_mm"] == pytest.approx(7 / 6, abs=1e-6)
    assert "lr_confusion" not in found
    assert (found["pck_thresholds_mm"], found["pck_limit_mm"]) == ([2, 5, 10, 15, 20], 20)
    assert (found["manifest"]["models"], found["n_groups"]) == (["m@1"], 2)
    assert (per_frame(files)[0]["error_mm_brain"], per_frame(files)[0]["eye_distance_true_mm"]) == ("7.0000", "10.8167")
    assert "left and right exchanged" not in out
    assert "research use" in out
    assert "<svg" in (files / "out" / "report.html").read_text()


def test_a_volume_without_a_prediction_costs_its_diagonal(capsys, files):
    rows = ROWS.splitlines()[0] + "\nb.nii.gz,0,abstained,no anatomy found,,,,,,,,,,0.0,,,,,,,,m@1,,\n"
    (files / "results" / "results.csv").write_text(HEADER + rows)
    assert run(capsys, files)[0] == 0
    found = metrics(files)
    assert (found["n_missing"], found["n_points_missing"], found["mre_mm_left_eye"]) == (1, 3, 0)
    assert found["mre_mm_left_eye_with_missing"] == pytest.approx(70 / 2, abs=1e-6)
    assert [row["status"] for row in per_frame(files)] == ["ok", "abstained"]
    assert per_frame(files)[1]["error_mm"] == ""


def test_points_stay_where_a_row_abstained_and_are_not_scored(capsys, files):
    (files / "results" / "results.csv").write_text(HEADER + ROWS.replace("b.nii.gz,0,ok", "b.nii.gz,0,abstained"))
    assert run(capsys, files)[0] == 0
    assert (metrics(files)["n_missing"], metrics(files)["mre_mm"]) == (1, pytest.approx(7 / 3, abs=1e-6))


def test_an_empty_cell_is_a_point_that_was_not_found_or_not_labelled(capsys, files):
    (files / "results" / "results.csv").write_text(HEADER + ROWS.replace("ok,,6,6,6", "ok,,,,"))
    (files / "data" / "labels.csv").write_text(LABELS.replace("p2,5,5,5", "p2,,,"))
    assert run(capsys, files)[0] == 0
    found = metrics(files)
    assert (found["n_missing"], found["n_points"], found["n_points_missing"]) == (0, 5, 1)
    assert "mre_mm_brain" not in found
    assert found["mre_mm_brain_with_missing"] == pytest.approx(70, abs=1e-6)


def test_two_readers_are_compared_from_label_files_and_two_methods_from_tables(capsys, files):
    (files / "second.csv").write_text(LABELS.replace("p1,5,5,5", "p1,6,6,6"))
    assert run(capsys, files, results="second.csv")[0] == 0
    assert metrics(files)["mre_mm_brain"] == 3.5
    assert run(capsys, files, "--images", str(files / "data"), truth="results")[0] == 0
    assert metrics(files)["mre_mm"] == 0
    assert "neither side is the truth" in (files / "out" / "report.html").read_text()


def test_lengths_in_volumes_have_limits_of_agreement_and_their_plot(capsys, files):
    # 9, 12 and 15 mm apart along the second axis against 6, 9 and 9: differences of 3, 3 and 6 mm.
    for name in "bc":
        (files / "data" / "volumes" / f"{name}.nii.gz").write_bytes(
            (files / "data" / "volumes" / "a.nii.gz").read_bytes()
        )
    labels, rows = LABELS.splitlines()[0] + "\n", HEADER
    for name, true, found in (("a", 2, 3), ("b", 3, 4), ("c", 3, 5)):
        labels += f"{name}.nii.gz,p{name},5,5,5,1,1,1,1,{1 + true},1\n"
        rows += f"{name}.nii.gz,0,ok,,5,5,5,1,1,1,1,{1 + found},1,0.9,4.2,,,,,,,m@1,,\n"
    (files / "data" / "labels.csv").write_text(labels)
    (files / "results" / "results.csv").write_text(rows)
    assert run(capsys, files)[0] == 0
    found = metrics(files)
    assert (found["eye_distance_bias_mm"], found["eye_distance_sd_mm"]) == (4, pytest.approx(np.sqrt(3), abs=1e-6))
    assert found["eye_distance_loa_high_mm"] == pytest.approx(4 + 1.96 * np.sqrt(3), abs=1e-6)
    assert found["eye_distance_mm_pearson_r"] == pytest.approx(np.corrcoef([6, 9, 9], [9, 12, 15])[0, 1], abs=1e-6)
    page = (files / "out" / "report.html").read_text()
    assert "Bland-Altman plot of distance of the eyes" in page
    assert "In 95 of 100 volumes" in page


def shown(page):
    """The pictures of a page by the names under them, and what is said of each."""
    found = {}
    for cell in re.findall(r"<figure id=.*?</figure>", page, re.DOTALL):
        data = base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", cell)[1])
        name = re.search(r"<small>(.*?)</small>", cell)[1]
        found[name] = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cell)
    return found


def test_the_page_shows_the_worst_volumes_first_and_those_that_were_not_measured(capsys, files):
    for name in "cd":
        (files / "data" / "volumes" / f"{name}.nii.gz").write_bytes(
            (files / "data" / "volumes" / "a.nii.gz").read_bytes()
        )
    more = "".join(f"{name}.nii.gz,p{name},5,5,5,8,5,5,5,8,5\n" for name in "cd")
    (files / "data" / "labels.csv").write_text(LABELS + more)
    far = "c.nii.gz,0,ok,,5,5,9,8,5,5,,,,0.9,,,,,,,,m@1,,\n"
    gone = "d.nii.gz,0,abstained,two heads,,,,,,,,,,0.0,,,,,,,,m@1,,\n"
    (files / "results" / "results.csv").write_text(HEADER + ROWS + far + gone)
    code, _, err = run(capsys, files)
    assert code == 0, err
    pictures = shown((files / "out" / "report.html").read_text())
    assert list(pictures) == ["c.nii.gz", "a.nii.gz", "b.nii.gz", "d.nii.gz"]
    assert "mean 12.0 mm, brain 24.0 mm<br>not found: right eye" in pictures["c.nii.gz"][1]
    assert "two heads" in pictures["d.nii.gz"][1]
    # Blue, green, red of what was found and of the reference; a page's pictures are JPEG.
    orange = lambda p: (p[..., 2] > 150) & (p[..., 0] < 80)  # noqa: E731
    blue = lambda p: (p[..., 0] > 150) & (p[..., 2] < 140)  # noqa: E731
    for name, (picture, _) in pictures.items():
        assert max(picture.shape) <= 1400
        # Below and beside the slices orange words say what was not found.
        slices = picture[:900, :300]
        assert (orange(slices).sum() > 100) == (name != "d.nii.gz"), name
        assert blue(slices).sum() > 20, name


def test_a_volume_that_can_be_measured_but_not_read_is_one_line(capsys, files):
    """The header states the spacing; only its picture needs the voxels."""
    file = files / "data" / "volumes" / "a.nii.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-100]))
    code, out, err = run(capsys, files)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert "a.nii.gz" in err
    assert not (files / "out").exists()


def test_patients_are_drawn_together(capsys, files):
    assert run(capsys, files, "--group", "patient")[0] == 0
    assert metrics(files)["groups"] == "frames with the same patient"


def test_the_same_command_gives_the_same_bytes(capsys, files):
    names = ("metrics.json", "per_frame.csv", "report.html")
    assert run(capsys, files)[0] == 0
    first = [(files / "out" / name).read_bytes() for name in names]
    assert run(capsys, files)[0] == 0
    assert [(files / "out" / name).read_bytes() for name in names] == first


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"data/labels.csv": LABELS.replace("brain_k,", "")}, (), "missing brain_k"),
        ({"data/labels.csv": LABELS.replace("a.nii.gz", "x.nii.gz")}, (), "no picture x.nii.gz: looked for"),
        ({"data/labels.csv": LABELS.replace("a.nii.gz", "x.nii.gz")}, (), "give their folder with --images"),
        ({"data/labels.csv": LABELS.replace("p1,5,", "p1,here,")}, (), "labels.csv:2: brain_i: expected a number"),
        ({"data/labels.csv": LABELS.replace("b.nii.gz", "a.nii.gz")}, (), "the same row of a.nii.gz twice"),
        ({"data/volumes/a.nii.gz": "nothing"}, (), "a.nii.gz: "),
        ({"results/results.csv": HEADER + ROWS.replace(",6,6,6,", ",six,6,6,")}, (), "results line 2, brain_i: expec"),
        ({"results/results.csv": HEADER + ROWS.replace("b.nii.gz", "a.nii.gz")}, (), "found several for a.nii.gz"),
        ({"results/results.csv": HEADER + ROWS.replace(".nii.gz,", ".mha,")}, (), "share no frame"),
        ({"results/results.csv": HEADER + ROWS.replace("ok", "fine")}, (), "expected status ok"),
        ({"results/results.csv": "source,brain_i\na,1\n"}, (), "_k of fetus or fetal_face"),
        ({"data/labels.csv": "Filename,PS1,PS2,FH1\n"}, (), "PS1, PS2, …; missing brain_i, brain_j, brain_k, …"),
        ({}, ("--scale", "512"), "--scale: expected results on pictures"),
        ({}, ("--images", "nowhere"), "no picture a.nii.gz"),
        ({}, ("--group", "hospital"), "--group: expected a column of the truth file (patient)"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_line_and_writes_nothing(capsys, files, change, options, message):
    for name, text in change.items():
        (files / name).write_text(text)
    code, out, err = run(capsys, files, *options)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert message in err
    assert not (files / "out").exists()


def test_labels_outside_their_volume_are_said(capsys, files):
    (files / "data" / "labels.csv").write_text(LABELS.replace("p2,5,5,5", "p2,50,5,5"))
    code, _, err = run(capsys, files)
    assert code == 0
    assert "volumes with true points outside them: 1 (b.nii.gz)" in err


@pytest.fixture(scope="module")
def sequence(tmp_path_factory):
    """Three volumes of a moving fetus in one 4-D file, its labels with an index, and results that are 1 mm off."""
    import SimpleITK

    folder = tmp_path_factory.mktemp("sequence")
    frames = list(make_fetus_sequence(0, 0, frames=3, shape=(24, 16, 16)))
    spacing = frames[0].volume.spacing
    stack = np.stack([frame.volume.voxels for frame in frames]).transpose(0, 3, 2, 1)
    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(one) for one in stack])
    image.SetSpacing([*spacing.tolist(), 1.0])
    SimpleITK.WriteImage(image, folder / "moving.nii.gz")
    with open(folder / "labels.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["Filename", "index", *FETUS.coordinate_columns])
        table.writerows(["moving.nii.gz", i, *frame.keypoints.coords.ravel()] for i, frame in enumerate(frames))
    with open(folder / "results.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, columns(FETUS), restval="")
        table.writeheader()
        for i, frame in enumerate(frames):
            points = frame.keypoints.coords + np.array([1 / spacing[0], 0, 0])
            cells = dict(zip(FETUS.coordinate_columns, points.ravel(), strict=True))
            table.writerow({"source": "moving.nii.gz", "index": i, "status": "ok", **cells})
    return folder, frames


def test_a_sequence_has_motion_beside_its_errors(capsys, sequence, tmp_path):
    folder, frames = sequence
    assert main.run(["evaluate", str(folder), str(folder / "labels.csv"), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    found = metrics(tmp_path)
    assert (found["n"], found["n_groups"], found["groups"]) == (3, 1, "time points of one file")
    assert (found["mre_mm"], found["lr_confusion"]) == (pytest.approx(1, abs=1e-3), 0)
    # Every point is off by the same, so its path is that of the truth.
    steps = np.linalg.norm(np.diff([frame.points_mm for frame in frames], axis=0), axis=-1)
    wrist = found["motion"]["moving.nii.gz"]["left_wrist"]
    assert wrist["path_mm"] == pytest.approx(steps.sum(axis=0)[FETUS.index("left_wrist")], abs=1e-3)
    assert wrist["true_path_mm"] == pytest.approx(wrist["path_mm"], abs=1e-3)
    with open(tmp_path / "out" / "motion.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["source"], row["index"]) for row in rows] == [("moving.nii.gz", str(i)) for i in range(3)]
    assert rows[0]["rump_mm_per_frame"] == ""
    assert float(rows[2]["rump_mm_per_frame"]) == pytest.approx(steps[1, FETUS.index("rump")], abs=1e-3)
    assert "motion.csv" in out
    assert "Motion in moving.nii.gz" in (tmp_path / "out" / "report.html").read_text()


def test_a_file_without_spacing_has_that_of_its_label(capsys, files):
    """.npy never states one; the same volumes as .npy give the same figures."""
    assert run(capsys, files)[0] == 0
    before = metrics(files)
    for name in "ab":
        (files / "data" / "volumes" / f"{name}.nii.gz").unlink()
        np.save(files / "data" / "volumes" / f"{name}.npy", np.zeros((10, 10, 10)))
    labels = LABELS.replace(".nii.gz", ".npy").replace("patient", "patient,spacing_i_mm,spacing_j_mm,spacing_k_mm")
    (files / "data" / "labels.csv").write_text(labels.replace("p1,", "p1,2,3,6,").replace("p2,", "p2,2,3,6,"))
    (files / "results" / "results.csv").write_text(HEADER + ROWS.replace(".nii.gz", ".npy"))
    assert run(capsys, files)[0] == 0
    assert metrics(files)["mre_mm"] == before["mre_mm"]
    (files / "data" / "labels.csv").write_text(LABELS.replace(".nii.gz", ".npy"))
    code, _, err = run(capsys, files)
    assert (code, err.count("\n")) == (2, 1)
    assert "in a label file the columns spacing_i_mm,spacing_j_mm,spacing_k_mm" in err


def test_a_time_point_that_the_file_does_not_have_is_one_line(capsys, sequence, tmp_path):
    folder, _ = sequence
    text = (folder / "labels.csv").read_text().replace("moving.nii.gz,2,", "moving.nii.gz,7,")
    (tmp_path / "labels.csv").write_text(text)
    command = ["evaluate", str(folder), str(tmp_path / "labels.csv"), "--out", str(tmp_path / "out")]
    assert main.run([*command, "--images", str(folder)]) == 2
    assert "expected an index below its 3 time points, found 7" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text(text.replace("moving.nii.gz,7,", "moving.nii.gz,0.5,"))
    assert main.run([*command, "--images", str(folder)]) == 2
    assert "labels.csv:4: index: expected a whole number" in capsys.readouterr().err


def test_neither_torch_nor_matplotlib_is_imported(files):
    command = ["evaluate", str(files / "results"), str(files / "data" / "labels.csv"), "--out", str(files / "out")]
    code = (
        "import sys; from aop_pose.cli import main; "
        f"assert main.run({command!r}) == 0; "
        "assert not {'torch', 'matplotlib', 'scipy', 'pandas', 'onnxruntime', 'SimpleITK'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_real_volumes_with_a_made_up_reader(capsys, shared_data, tmp_path):
    """A reader who is one slice off along k, everywhere: as many mm as each file says, 4.5 or 3."""
    import SimpleITK

    data = shared_data / "fetal_mri"
    with open(data / "labelled.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        for point in FETAL_FACE.points:
            row[f"{point}_k"] = str(int(row[f"{point}_k"]) + 1)
    with open(tmp_path / "reader.csv", "w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    command = ["evaluate", str(tmp_path / "reader.csv"), str(data / "labelled.csv"), "--out", str(tmp_path / "out")]
    assert main.run([*command, "--group", "ga_weeks"]) == 0
    found = metrics(tmp_path)
    assert (found["n"], found["n_missing"]) == (31, 0)
    slices = []
    for row in rows:
        header = SimpleITK.ImageFileReader()
        header.SetFileName(str(data / "volumes" / row["Filename"]))
        header.ReadImageInformation()
        slices.append(header.GetSpacing()[2])
    assert [float(row["error_mm"]) for row in per_frame(tmp_path)] == pytest.approx(slices, abs=1e-3)
    assert len(set(np.round(slices, 3))) == 2
    assert found["eye_distance_mae_mm"] == pytest.approx(0, abs=1e-3)
