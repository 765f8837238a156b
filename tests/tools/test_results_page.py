"""The commands of docs/results.md run from its top to its end, as they stand there, on made-up data.

Of options that are given twice the last counts: what is appended makes a training short and keeps its record out of the
repository. Networks that the page has from others, or from hours of training, are tiny ones here. Some tools are
rehearsed with their words of the page in rooms of their own (``page_commands.OWN_ROOM``).
"""

import shlex
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra train")
pytest.importorskip("ultralytics", reason="training needs the extra train")
SimpleITK = pytest.importorskip("SimpleITK", reason="SimpleITK comes with the train extra")

from aop_pose.cli.main import run  # noqa: E402
from aop_pose.formats.registry import read_labels  # noqa: E402
from tests.benchmark.test_run import Work  # noqa: E402
from tests.fakes import textured  # noqa: E402
from tests.pipelines.fetusmap.tiny import TINY, write_faces  # noqa: E402
from tests.pipelines.stub_trainer import stubbed  # noqa: E402
from tests.pipelines.teachers import answering_inside  # noqa: E402
from tests.test_commands import few, small  # noqa: E402
from tests.test_docs import ROOT, block_lines, command_lines, parts_of  # noqa: E402
from tests.tiny_artefact import write_heatmap_artefact  # noqa: E402
from tests.tools.page_commands import PAGES, SHELL, TOOLS, has_own_room, of_line, run_tool  # noqa: E402

PAGE = PAGES["docs/results.md"]
TRIANGLE = np.array([(40, 20), (15, 25), (45, 50)], float)


def changes(*settings):
    return [f"--set={one}" for one in settings]


ONE_UNET = [
    "--seeds=1",
    *changes("image_size=64", "batch=4", "precision=fp32", "threshold=0", "widths=[4,8]", "bottleneck=8"),
]
APPENDED = {
    "ablation_boxes.py": [
        "--arms=A", "--seeds=1", "--coco=scratch", "--pose-epochs=1", "--results=records/boxes",
        *changes("image_size=64", "batch=4", "threshold=0"),
    ],
    "ablation_few.py": ["--dry", "--seeds=1"],
    "ablation_pseudo.py": ["--dry", "--arms", "K"],
    "ablation_unet.py": ["--arms=H", "--epochs=1", "--mask-epochs=1", "--results=records/unet", *ONE_UNET],
    "crossval_fetusmap.py": [
        "--labels=labels.csv", "--group=mother", "--preset=fast", "--folds=2", "--fold=0",
        *changes(*TINY[:4], "threshold=0", "epochs=1"),
    ],
}  # fmt: skip
"""By what is in a line, the options that make it short."""


def lines():
    """Each command of the page once: in order those of its blocks, then those that stand in a sentence."""
    found = []
    for line in map(str.strip, block_lines(PAGE)):
        found += [line] if line.startswith(SHELL) else parts_of(line, "(aop-pose |python tools/)")
    said = command_lines(PAGE, "(aop-pose (dataset|pseudo-label) |python tools/)")
    return list(dict.fromkeys(map(str.strip, [*found, *(line for line, in_block in said if not in_block)])))


def lay_out(folder, rehearsal):
    shutil.copytree(rehearsal, "psfhs")
    for name in ("labelled.csv", "val.csv", "unlabelled.txt"):
        shutil.copy(f"psfhs/{name}", ".")
    Path("datasets/splits/psfhs").mkdir(parents=True)
    names = [label.name for label in read_labels(Path("val.csv"), Path("psfhs"))]
    Path("datasets/splits/psfhs/val.txt").write_text("".join(f"{name}\n" for name in names))
    for rehearsed in ("ablation_few", "ablation_pseudo"):
        # Phantoms that a rehearsal would draw.
        shutil.copytree("psfhs", f"runs/{rehearsed}/dry/data")
    Path("weights").symlink_to(ROOT / "weights")
    shutil.copy("weights/head-unet.onnx", ".")
    shown = np.stack([np.full((64, 64), 0.25), np.full((64, 64), 0.75)])
    outlined = {"outlines": ["PS", "FH"], "further": shown}
    write_heatmap_artefact(folder / "old-fast.onnx", TRIANGLE, decode="soft-argmax", **outlined)
    member = write_heatmap_artefact(folder / "member.onnx", TRIANGLE, decode="soft-argmax")
    merged = f"python tools/merge_artefacts.py {member} {member} {member} --out old-best.onnx --frames psfhs/images"
    assert run_tool(merged, {}) == 0
    assert run(["dataset", "phantom", "heads", "--schema", "head", "--count", "8", "--size", "192"]) == 0
    Path("hc18/images").mkdir(parents=True)
    text = Path("heads/labels.csv").read_text()
    for path in sorted(Path("heads/images").iterdir()):
        # Names of HC18: the patient, and what it is.
        named = f"1{path.stem[-2:]}_HC.png"
        path.rename(f"hc18/images/{named}")
        text = text.replace(path.name, named)
    for place in ("SPLIT/train.csv", "SPLIT/val.csv", "runs/hc18-split/train.csv"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(text)
    write_faces(folder / "fetal_mri", count=4)
    scan = np.stack([textured(number, 40, 40) for number in range(40)]).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(scan), "fetal_mri/volumes/a.mha")
    Path("runs/halves").mkdir()
    for name in ("train.csv", "val.csv"):
        shutil.copy("labelled.csv", f"runs/halves/{name}")


def shipped(name):
    """A network that finds points, in the place of one that is not at hand."""
    shutil.copy("weights/aop-fast.onnx", name)


def labelled_well():
    """Pseudo-labels that have a head: those of a rehearsal lie anywhere."""
    from ablation_data import write_answers

    place = Path("runs/ablation_few/P-coco-0/pseudo-P.csv")
    place.parent.mkdir()
    write_answers(read_labels(Path("psfhs/unlabelled_answers.csv"), Path("psfhs")), place)


BEFORE = {
    "hsd_table.py half.onnx": lambda: shipped("half.onnx"),
    "hsd_table.py old-fast.onnx": lambda: shipped("old-fast.onnx"),
    "confidence_table.py": lambda: shutil.copytree("runs/ablation_boxes/A-coco-0", "runs/ablation_boxes/B-coco-0"),
    "tangent_table.py": labelled_well,
    "runs/ablation_boxes/B-coco-1/pose": lambda: shutil.copytree(
        "runs/ablation_boxes/A-coco-0", "runs/ablation_boxes/B-coco-1"
    ),
    "ablation_pseudo.py": lambda: shutil.copytree(
        "runs/ablation_boxes/A-scratch-0", "runs/ablation_pseudo/dry/first-runs/B-scratch-0"
    ),
    "benchmark": lambda: shutil.rmtree("bench", ignore_errors=True),
    "dataset split": lambda: shutil.rmtree("runs/halves"),
    "difficulty_table.py --data psfhs": lambda: (
        shipped("half-a.onnx"),
        shutil.copy("psfhs/labels.csv", "runs/halves/val.csv"),
    ),
}
"""What happens before a command of these words."""


def shortened(words):
    if words[0] == "train":
        return [*small(words), "--init=scratch"]
    return few(words) if words[:2] == ["dataset", "phantom"] else words


def test_the_commands_run_as_they_stand(tmp_path, monkeypatch, capsys, rehearsal):
    import gate_pictures

    from aop_pose.benchmark import run as benchmarks

    monkeypatch.setattr(gate_pictures, "MADE_UP", 5)
    monkeypatch.setattr(benchmarks, "benchmark", partial(benchmarks.benchmark, work=Work()))
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, rehearsal)
    done = []
    for line in lines():
        if has_own_room(line):
            continue
        for prepare in of_line(line, BEFORE):
            prepare()
        if line.startswith(SHELL):
            subprocess.run(["bash", "-ec", line], check=True)
            continue
        with stubbed(), answering_inside():
            if line.startswith(TOOLS):
                code = run_tool(line, APPENDED)
            else:
                code = run(shortened(shlex.split(line, comments=True)[1:]))
        assert code == 0, f"{line}\n{capsys.readouterr().err}"
        done.append(line)
    assert all(any(key in line for line in done) for key in APPENDED)
    trained = {path.name for path in Path("records").rglob("*.json")}
    assert trained == {"A-coco-0.json", "A-scratch-0.json", "H-aop-0.json", "H-head-0.json"}
