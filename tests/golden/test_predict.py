"""``predict`` with the shipped artefacts: tables, documents, files, words and exit codes."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

POSITION = ("source", "index", "status", "reason")


@pytest.fixture
def frames(stored):
    """Good frames, one of another size and form, a broken one, a hidden one, and what is no frame."""
    stored("frames", "--count", "4", "--seed", "3", "--size", "256")
    folder = Path("frames/images")
    for name in ("labels.csv", "phantoms.csv", "masks"):
        path = Path("frames") / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    first = sorted(folder.glob("*.png"))[0]
    with Image.open(first) as picture:
        wide = Image.fromarray(np.pad(np.asarray(picture.convert("L")), ((0, 60), (0, 140))))
    wide.convert("RGB").save(folder / "wide.png")
    (folder / "broken.png").write_bytes(first.read_bytes()[:3000])
    (folder / ".hidden.png").write_bytes(first.read_bytes())
    (folder / "notes.txt").write_text("seen on Monday")
    return "frames"


def told(golden, out):
    """What a finished run left behind."""
    golden.files(out)
    golden.text(f"{out}/results.csv")
    golden.document(f"{out}/results.json")


def test_a_folder_with_overlays(golden, frames):
    golden.run("predict", frames, "--out", "out")
    told(golden, "out")
    golden.run("predict", frames, "--out", "out")
    golden.run("predict", frames, "--out", "out", "--overwrite")
    golden.files("out")


def test_a_folder_without_gate_and_overlays(golden, frames):
    golden.run("predict", frames, "--out", "out", "--no-gate", "--no-overlay", "--coverage", "0.5", "--batch", "3")
    told(golden, "out")


def test_pixel_sizes(golden, frames):
    names = sorted(path.name for path in Path(frames, "images").glob("*.png") if not path.name.startswith("."))
    rows = [f"{name},{0.1 * (1 + number)}\n" for number, name in enumerate(names)]
    Path("sizes.csv").write_text("Filename,pixel_size_mm\n" + "".join(rows))
    quiet = ("--no-gate", "--no-overlay")
    golden.run("predict", "frames/images", "--out", "out", "--pixel-size", "sizes.csv", *quiet)
    golden.text("out/results.csv")
    golden.run("predict", "frames/images/wide.png", "--out", "one", "--pixel-size", "0.25", *quiet)
    golden.text("one/results.csv")
    Path("sizes.csv").write_text("Filename,pixel_size_mm\n" + "".join(rows[:2]))
    golden.run("predict", "frames/images", "--out", "part", "--pixel-size", "sizes.csv", *quiet)
    golden.run("predict", "frames/images", "--out", "bad", "--pixel-size", "wide", *quiet)
    golden.run("predict", "frames/images", "--out", "bad", "--pixel-size", "-1", *quiet)


def test_an_interrupted_run_goes_on(golden, frames):
    """Interrupted by Ctrl-C, cut down to three rows and a part of the fourth, and run again."""
    first = Path("frames/images/0001.png").read_bytes()
    for number in range(10, 34):
        Path(f"frames/images/{number:04}.png").write_bytes(first)
    words = ("predict", frames, "--no-gate", "--no-overlay", "--batch", "1")
    golden.run(*words, "--out", "straight", shown=False, code=3)
    process = subprocess.Popen(
        [sys.executable, "-m", "aop_pose", *words, "--out", "out"], stderr=subprocess.PIPE, text=True
    )
    table, deadline = Path("out/results.csv"), time.monotonic() + 30
    while not (table.exists() and table.read_bytes().count(b"\n") > 5) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    golden.value("interrupted", {"said": process.communicate(timeout=30)[1], "exit": process.returncode})
    golden.files("out")
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:4]) + lines[4][:30])
    golden.run("predict", frames, "--out", "out")
    golden.run(*words, "--weights", "aop-best", "--out", "out")
    golden.run(*words, "--out", "out")
    assert table.read_text() == Path("straight/results.csv").read_text()
    golden.files("out")


def test_the_ensemble(golden, frames):
    golden.run("predict", frames, "--out", "out", "--weights", "aop-best", "--no-overlay", "--no-gate")
    golden.text("out/results.csv")


def test_heads(golden, stored):
    stored("heads", "--count", "3", "--seed", "4", "--schema", "head")
    golden.run("predict", "heads/images", "--out", "gated", "--schema", "head", "--pixel-size", "heads/labels.csv")
    told(golden, "gated")
    golden.run("predict", "heads/images", "--out", "plain", "--weights", "head-unet", "--no-gate", "--no-overlay")
    told(golden, "plain")


def test_what_cannot_be_measured_writes_nothing(golden, frames, stored):
    stored("fetuses", "--schema", "fetus", "--count", "1", "--size", "32")
    Path("empty").mkdir()
    Path("text.onnx").write_text("no network")
    Path("file").write_text("a file")
    for words in (
        (frames, "--weights", "aop-fats"),
        (frames, "--weights", "gone.onnx"),
        (frames, "--weights", "text.onnx"),
        (frames, "--weights", "scribble-unet"),
        (frames, "--weights", "head-unet", "--schema", "aop"),
        (frames, "--schema", "heart"),
        (frames, "--device", "tpu"),
        (frames, "--coverage", "1.5"),
        (frames, "--batch", "0"),
        (frames, "--refine"),
        (frames, "--refine-on", "surest"),
        ("empty",),
        ("gone",),
        ("*.png",),
    ):
        golden.run("predict", *words, "--out", "out")
        assert not Path("out").exists()
    golden.run("predict", frames, "--out", "file")


def test_volumes_given_to_weights_for_frames(golden, stored):
    stored("fetuses", "--schema", "fetus", "--count", "1", "--size", "32")
    golden.run("predict", "fetuses/volumes", "--out", "folder")
    volume = sorted(Path("fetuses/volumes").iterdir())[0]
    golden.run("predict", volume, "--out", "file")
    Path("gone.txt").write_text("no frame")
    golden.run("predict", "gone.txt", "--out", "named")
    for out in ("folder", "file", "named"):
        golden.files(out)


def test_files_and_globs(golden, frames):
    names = [path.as_posix() for path in sorted(Path("frames/images").glob("*.png"))][1:3]
    golden.run("predict", *names, "--out", "files", "--no-overlay", "--no-gate")
    golden.columns("files/results.csv", *POSITION)
    golden.run("predict", "frames/images/w*.png", "--out", "glob", "--no-gate")
    golden.columns("glob/results.csv", *POSITION)
    golden.files("glob")


def test_kinds_of_pictures(golden, frames):
    """Animated, 16 bit, colour with transparency, several pages, MetaImage: all of the same two frames."""
    one, two = (Image.open(f"frames/images/000{number}.png").convert("L") for number in (1, 2))
    Path("kinds").mkdir()
    one.save("kinds/moving.gif", save_all=True, append_images=[two])
    one.save("kinds/pages.tif", save_all=True, append_images=[two])
    one.save("kinds/plain.bmp")
    one.convert("RGBA").save("kinds/clear.png")
    cv2.imwrite("kinds/deep.png", np.asarray(one).astype(np.uint16) * 257)
    header = f"ObjectType = Image\nNDims = 2\nDimSize = {one.width} {one.height}\nElementType = MET_UCHAR\n"
    Path("kinds/meta.mha").write_bytes((header + "ElementDataFile = LOCAL\n").encode() + one.tobytes())
    Path("kinds/empty.png").touch()
    Path("kinds/text.png").write_text("no picture")
    golden.run("predict", "kinds", "--out", "out", "--no-gate")
    golden.files("out")
    golden.text("out/results.csv")
