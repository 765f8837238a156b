"""The commands of README and docs run as they stand there, from the top of a page to its end, on made-up data.

Training gets ``epochs=1`` and small sizes on top, phantoms are few. ``docs/results.md``, whose commands need tools and
networks of hours, runs in ``tools/test_results_page``, and the walk of ``docs/annotate.md``, in which people take part,
in ``cli/test_annotate_walk``.
"""

import csv
import functools
import hashlib
import http.server
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from aop_pose.cli.main import run
from aop_pose.core.frame import Volume
from aop_pose.inference import fetch
from aop_pose.io.images import read_frame
from aop_pose.io.volumes import write_volume
from aop_pose.pipelines import pipeline
from tests.test_docs import READ, ROOT, command_lines

pytest.importorskip("lightning", reason="training needs the extra train")
pytest.importorskip("ultralytics", reason="training needs the extra train")

SMALL = {
    "yolo": ("epochs=1", "image_size=64", "batch=4", "threshold=0"),
    "unet": ("epochs=1", "image_size=64", "batch=4", "threshold=0", "precision=fp32"),
    "fetusmap": ("epochs=1", "size=[16,16,16]", "voxel_mm=null", "widths=[2,4]", "threshold=0", "precision=fp32"),
}
FEW = {"fetus": ("--count", "3", "--size", "32"), None: ("--count", "3")}
"""Options that make few phantoms, by schema; of options that are given twice the last counts."""
WAITING = ("review", "watch", "listen")
"""They run until Ctrl-C."""


def succeed(*words):
    assert run(list(words)) == 0


def rewrite(source, target, change=lambda rows: rows):
    """A table with its rows changed."""
    with open(source, newline="") as stream:
        head, *rows = csv.reader(stream)
    with open(target, "w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([head, *change(rows)])


def lay_out(folder):
    """What many pages name: frames with labels, and a set with its split."""
    made = ROOT / "datasets" / "phantom"
    shutil.copytree(made / "images", folder / "frames")
    shutil.copy(made / "labels.csv", folder)
    succeed("dataset", "phantom", "psfhs", "--count", "14", "--seed", "4", "--size", "96")
    rewrite("psfhs/labels.csv", "labelled.csv", lambda rows: rows[:8])
    rewrite("psfhs/labels.csv", "val.csv", lambda rows: rows[8:11])
    (folder / "unlabelled.txt").write_text("0011.png\n0012.png\n0013.png\n")


def lay_out_readers(folder):
    """Two readers, one of whom sees everything a pixel further to the right."""

    def moved(rows):
        return [[re.sub(r"\((\d+)", lambda found: f"({int(found[1]) + 1}", cell) for cell in row] for row in rows]

    for name in ("reader1.csv", "anna.csv"):
        shutil.copy("labels.csv", name)
    for name in ("reader2.csv", "ben.csv"):
        rewrite("labels.csv", name, moved)
    succeed("predict", "frames/", "--out", "results/", "--no-overlay")


def lay_out_review(folder):
    """Readers, and a cine to take frames from."""
    from tests.video_files import save_video

    lay_out_readers(folder)
    (folder / "study").mkdir()
    save_video(folder / "study" / "cine.avi", pictures()[:3] * 5)


def lay_out_ward(folder):
    pytest.importorskip("pydicom", reason="reading DICOM needs the extra dicom")
    pytest.importorskip("pynetdicom", reason="listening needs the extra dicom")
    from tests.dicom_files import dataset, region, save
    from tests.video_files import save_video

    for name in ("study", "inbox"):
        (folder / name).mkdir()
    for number, picture in enumerate(pictures()[:3]):
        made = dataset(picture, regions=[region((0, 0, 255, 255))], sop=f"1{number}")
        save(folder / "study" / f"{number}.dcm", made)
    save_video(folder / "cine.mp4", pictures()[:2] * 110, code="mp4v")


def lay_out_heads(folder):
    from tests.formats.test_layouts import hc18
    from tests.pipelines.unet_tiny import write_heads

    shutil.rmtree("frames")
    write_heads(folder / "made", size=192)
    shutil.copytree("made/images", "frames")
    shutil.copy("made/labels.csv", "labels.csv")
    hc18(folder / "HC18")
    name_lists("hc18", train="010_HC.png")


def name_lists(data, **names):
    """The published lists name frames of the public set; here they name made-up ones."""
    lists = Path("datasets/splits", data)
    lists.mkdir(parents=True)
    for name, frame in names.items():
        (lists / f"{name}.txt").write_text(f"{frame}\n")


def lay_out_volumes(folder):
    """A small scan in which there is nothing to find."""
    (folder / "volumes").mkdir()
    noise = np.random.default_rng(0).random((20, 20, 20), dtype=np.float32)
    write_volume(Volume(noise, np.diag([3.0, 3.0, 3.0, 1.0])), folder / "volumes" / "scan.nii.gz")


def accept_all(reader):
    """What a reader who agrees with everything leaves behind."""
    from aop_pose.review.log import Decision
    from aop_pose.review.session import Session

    session = Session(Path("results"), reader, Path("frames"))
    with session.log as log:
        for item in session.items:
            log.append(item.key, Decision("accepted"), "accept", "2026-11-30T00:00:00+00:00")


def train_others(first, *others):
    """Stand-ins for the networks of other seeds."""
    for other in others:
        shutil.copytree(first, other)


def split_heads(folder):
    """The card's split names frames of the public set; here it names the made-up ones."""
    shutil.copytree("frames", "hc18/images", dirs_exist_ok=True)
    shutil.copy("labels.csv", "train.csv")


def lay_out_public(folder):
    from tests.formats.test_layouts import mha_pairs

    shutil.rmtree("psfhs")
    mha_pairs(folder / "SRC")
    mha_pairs(folder / "PSFHS_FOLDER")
    name_lists("psfhs", labelled="00001.png", val="00002.png")


def lay_out_runs(folder):
    changes = [f"--set={one}" for one in SMALL["unet"]]
    succeed("train", "--method", "unet", "--data", "psfhs", "--labels", "labelled.csv", "--out", "runs/first", *changes)


PAGES = {
    "README.md": None,
    "docs/annotate.md": lay_out_review,
    "docs/clinic.md": lay_out_ward,
    "docs/data.md": lay_out_public,
    "docs/evaluate.md": lay_out_readers,
    "docs/few-labels.md": None,
    "docs/head.md": lay_out_heads,
    "docs/intervals.md": None,
    "docs/measure.md": lay_out_runs,
    "docs/train.md": None,
    "docs/volumes.md": lay_out_volumes,
}
BEFORE = {
    "predict frames/ --out results/": lambda folder: shutil.rmtree("results", ignore_errors=True),
    "dataset frames study/ frames/": lambda folder: shutil.move("frames", "frames-before"),
    "dataset convert labels.csv": lambda folder: shutil.copytree("frames-before", "frames", dirs_exist_ok=True),
    "dataset merge results/review/anna.jsonl": lambda folder: accept_all("anna"),
    "dataset merge anna.csv ben.csv": lambda folder: accept_all("cleo"),
    "train --method unet --data hc18": split_heads,
    "pseudo-label --weights runs/teacher0": lambda folder: train_others(
        "runs/teacher0", "runs/teacher1", "runs/teacher2"
    ),
}
"""What a person does before a command of this beginning."""


def pictures():
    return [read_frame(path).pixels for path in sorted((ROOT / "datasets/phantom/images").iterdir())]


def lines_of(page):
    text = READ[ROOT / page]
    if page == "docs/annotate.md":
        walk = text.partition("## From a folder of frames to a model")[2].partition("\n## ")[0]
        text = text.replace(walk, "")
    return [line.strip() for line, whole in command_lines(text, "aop-pose ") if whole]


def small(words):
    """The words of a training, with the settings that make it short."""
    method = words[words.index("--method") + 1] if "--method" in words else "yolo"
    less = ["student_epochs=1"] if "ensemble" in words else []
    less += ["phantoms=4"] if "phantoms=300" in words else []
    changes = [*pipeline(method).useful(words[0], SMALL[method]), *less]
    # Of options that are given twice the last counts; no GPU is at hand where tests run.
    device = ["--device=cpu"] if "--device" in words else []
    return [*words, *(f"--set={one}" for one in changes), *device]


def few(words):
    """The words of ``dataset phantom``, with options that make few and small ones."""
    return [*words, *FEW[words[words.index("--schema") + 1] if "--schema" in words else None]]


def until_interrupted(words):
    """A command that waits: started, given time to say where it is, interrupted as a person does."""
    environment = {**os.environ, "BROWSER": "true", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "aop_pose", *words],
        env=environment,
        text=True,
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
    )
    said = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout), daemon=True)
    reader.start()
    end = time.monotonic() + 60
    while not said and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in (0, 130), "".join(said)
    reader.join(10)
    process.stdout.close()
    assert said
    assert "Traceback" not in "".join(said)


def test_every_page_with_commands_is_run():
    pages = {path.relative_to(ROOT).as_posix() for path in READ}
    run_here = {page for page in pages if page.startswith(("README", "docs/")) and lines_of(page)}
    assert run_here - {"docs/results.md"} == set(PAGES)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """ScribblePrompt's weights, as far as fetching and adding go: another content, served here."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "sp.pt").write_bytes(b"weights")
    item = fetch.Published("scribbleprompt", "sp.pt", 7, hashlib.sha256(b"weights").hexdigest(), (), "Apache-2.0")
    monkeypatch.setitem(fetch.PUBLISHED, "scribbleprompt", item)
    monkeypatch.setenv(fetch.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AOP_POSE_SCRIBBLEPROMPT_URL", f"http://127.0.0.1:{server.server_port}/sp.pt")
        yield served / "sp.pt"
        server.shutdown()


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_as_they_stand(page, tmp_path, monkeypatch, published, capsys):
    from tests.pipelines.teachers import answering_inside

    folder = tmp_path / "desk"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lay_out(folder)
    shutil.copy(published, "ScribblePrompt_unet_v1_nf192_res128.pt")
    if PAGES[page] is not None:
        PAGES[page](folder)
    for line in lines_of(page):
        print(line)
        words = shlex.split(line, comments=True)[1:]
        for beginning, prepare in BEFORE.items():
            if " ".join(words).startswith(beginning):
                prepare(folder)
        if words[0] in WAITING:
            until_interrupted(words)
            continue
        if "--show-config" in words:
            capsys.readouterr()
            succeed(*words)
            Path("my.yaml").write_text(capsys.readouterr().out)
            continue
        if words[0] in ("train", "pretrain"):
            words = small(words)
        elif words[:2] == ["dataset", "phantom"]:
            words = few(words)
        with nullcontext() if words[0] == "export" else answering_inside():
            assert run(words) == 0, f"{line}\n{capsys.readouterr().err}"
