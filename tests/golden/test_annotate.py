"""``scribbles`` and ``pseudo-label``: strokes and labels that help to teach."""

from pathlib import Path

import pytest


@pytest.fixture
def data(stored):
    """Five phantoms with labels."""
    stored("data", "--count", "5", "--seed", "9", "--size", "160")
    return "data"


def test_scribbles(golden, data):
    rows = Path("data/labels.csv").read_text().splitlines()
    flat = rows[4].partition(",")[0] + ',"(50, 50)","(50, 50)","(50, 50)",,x'
    Path("data/labels.csv").write_text("\n".join([*rows[:4], flat]) + "\n")
    golden.run("scribbles", data, "--out", "strokes")
    golden.files("strokes")
    golden.text("strokes/strokes.csv")
    golden.text("strokes/left_out.csv")
    golden.run("scribbles", data, "--out", "strokes")
    golden.run("scribbles", data, "--out", "strokes", "--overwrite")
    Path("data/images/0001.png").write_bytes(b"broken")
    golden.run("scribbles", data, "--out", "other")
    Path("data/images/0001.png").unlink()
    golden.run("scribbles", data, "--out", "other")
    assert not Path("other").exists()


def test_scribbles_of_points_that_give_no_strokes(golden, data):
    name = Path("data/labels.csv").read_text().splitlines()[1].split(",")[0]
    Path("flat.csv").write_text(f'Filename,PS1,PS2,FH1\n{name},"(50, 50)","(50, 50)","(50, 50)"\n')
    golden.run("scribbles", data, "--labels", "flat.csv", "--out", "strokes")
    Path("none.csv").write_text("Filename,PS1,PS2,FH1\n")
    golden.run("scribbles", data, "--labels", "none.csv", "--out", "none")
    golden.run("scribbles", data, "--labels", "gone.csv", "--out", "none")
    golden.run("scribbles", "gone", "--out", "none")
    golden.run("scribbles", data, "--out", "data")
    assert not Path("none").exists()


def test_pseudo_labels(golden, data):
    golden.run("pseudo-label", "--images", data, "--out", "pseudo.csv", "--draws", "2")
    golden.text("pseudo.csv")
    names = sorted(path.name for path in Path().iterdir())
    golden.value("files", names)
    for name in names:
        if name.endswith(".json"):
            golden.document(name, keys_only=True)
    golden.run("dataset", "check", "pseudo.csv", "--data", data)
    golden.run("pseudo-label", "--images", data, "--out", "pseudo.csv", "--draws", "2")
    golden.run(
        "pseudo-label", "--images", data, "--out", "pseudo.csv", "--uniform", "--keep-quantile", "0.4", "--overwrite"
    )
    golden.columns("pseudo.csv", "Filename", "keep", "reason", "weight")


@pytest.mark.parametrize(
    "name",
    ["noise", "entropy", "score-entropy", "detection", "paper", "paper-centred", "paper-scores"],
)
def test_confidences(golden, data, name):
    golden.run("pseudo-label", "--images", data, "--out", "pseudo.csv", "--draws", "1", "--confidence", name)
    golden.columns("pseudo.csv", "Filename", "keep", "reason", "det_conf", "entropy", "cosine", "weight")


def test_pseudo_labels_of_listed_frames(golden, data):
    Path("list.txt").write_text("0000.png\n0002.png\n0004.png\n")
    Path("labels.csv").write_text("Filename\n0001.png\n")
    Path("both.csv").write_text("Filename\n0002.png\n")
    Path("data/images/0004.png").write_bytes(b"broken")
    common = ("pseudo-label", "--images", data, "--draws", "1")
    golden.run(*common, "--list", "list.txt", "--labels", "labels.csv", "--out", "listed.csv")
    golden.columns("listed.csv", "Filename", "keep", "reason")
    golden.run(*common, "--labels", "labels.csv", "--out", "rest.csv", "--min-score", "0.5")
    golden.columns("rest.csv", "Filename", "keep", "reason")
    golden.run(*common, "--list", "list.txt", "--val", "both.csv", "--out", "bad.csv")
    golden.run(*common, "--keep-above", "1", "--out", "no.csv")
    golden.run(*common, "--keep-above", "0.5", "--keep-quantile", "0.5", "--out", "bad.csv")
    golden.run(*common, "--confidence", "hope", "--out", "bad.csv")
    golden.run(*common, "--list", "gone.txt", "--out", "bad.csv")
    golden.run(*common, "--weights", "head-unet", "--out", "bad.csv")
    golden.run(*common, "--weights", "gone", "--out", "bad.csv")
    golden.run("pseudo-label", "--images", "nowhere", "--out", "bad.csv")
    golden.run(*common, "--device", "tpu", "--out", "bad.csv")
    assert not Path("bad.csv").exists()
