"""The tools that README and docs call run with the words of the page, on made-up data, and are held to what it says.

Those of ``docs/results.md`` run in ``test_results_page``, some in rooms of their own (``page_commands.OWN_ROOM``). Of
options that are given twice the last counts: what is appended makes a call short and keeps it out of the repository.
Commands of other programs are listed, each with why it is not run (``NOT_RUN``).
"""

import json
import re
import shutil
from contextlib import suppress
from importlib.metadata import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra train")
pytest.importorskip("lightning", reason="training needs the extra train")
pytest.importorskip("ultralytics", reason="training needs the extra train")

from aop_pose.cli.main import run  # noqa: E402
from tests.pipelines.fetusmap.tiny import TINY  # noqa: E402
from tests.test_commands import few  # noqa: E402
from tests.test_docs import DATA, FENCE, ROOT, block_lines, command_lines  # noqa: E402
from tests.tools.page_commands import (  # noqa: E402
    OWN_ROOM,
    PAGES,
    SHELL,
    TOOLS,
    has_own_room,
    of_line,
    run_tool,
    tools_of,
)

LINES = list(
    dict.fromkeys(
        line for page in PAGES if page != "docs/results.md" for line in tools_of(page) if not has_own_room(line)
    )
)
COVERAGE = ROOT / "tools" / "results" / "interval_coverage"
SMALL = [f"--set={one}" for one in ("image_size=64", "widths=[4,8]", "bottleneck=8", "precision=fp32", "threshold=0")]
APPENDED = {
    "ablation_narrow.py": ["--dry", "--arms=B"],
    "crossval_fetusmap.py": ["--fold=0", *(f"--set={one}" for one in (*TINY[:4], "threshold=0", "epochs=1"))],
    "flip_bits.py": ["--flips=2"],
    "fuzz.py": ["--each=3"],
    "interval_coverage.py --simulations": ["--simulations=1001"],
    "interval_coverage.py --counted": ["--simulations=4001"],
    "interval_coverage.py": ["--results=coverage", "--page=docs/intervals.md"],
    "kills.py": ["--kills=1", "--frames=2"],
    "pick_curve.py": ["--seeds=1", "--start=4", "--add=2", "--rounds=1", "--steps=1", "--draws=2", *SMALL],
    "region_table.py --data": ["--count=1", "--phantoms=0"],
    "scale_model.py": ["--count=2"],
    "second_look.py": ["--count=1"],
    "training_speed.py": ["--size=32", "--batch=2", "--passes=1"],
    "weighted_step.py": ["--size=32", "--batch=2", "--steps=2"],
}
"""By what is in a line, the options that make it short."""


def frame_of_a_layout():
    """A frame of PSFHS that fills the fan of its layout; the phantoms in its place have another."""
    pixels = np.zeros((256, 256), np.uint8)
    pixels[3:240, 16:251] = np.random.default_rng(0).integers(60, 200, (237, 235))
    cv2.imwrite(f"psfhs/images/{Path('psfhs/unlabelled.txt').read_text().split()[0]}", pixels)


def simulations_that_are_there():
    shutil.rmtree("coverage", ignore_errors=True)
    shutil.copytree(COVERAGE, "coverage")
    Path("docs/intervals.md").write_text(PAGES["docs/intervals.md"].replace("simulations of each", "lost"))


BEFORE = {
    "ablation_narrow.py": lambda: shutil.copytree("psfhs", "runs/ablation_narrow/dry/data"),
    "crossval_fetusmap.py": lambda: run(few(["dataset", "phantom", "fetuses/", "--schema", "fetus"])),
    "interval_coverage.py": simulations_that_are_there,
    "pick_curve.py": lambda: Path("tools/results").mkdir(parents=True),
    "region_table.py --data": frame_of_a_layout,
}
"""What is there before a command of these words."""


def says(*patterns):
    """What is not printed."""
    return lambda printed: [one for one in patterns if not re.search(one, printed, re.MULTILINE)]


def draws(file):
    """A picture that cannot be read."""
    return lambda printed: [file] if cv2.imread(file) is None else []


def writes(file, *patterns):
    """What is not in a file."""
    return lambda printed: says(*patterns)(Path(file).read_text(encoding="utf-8"))


def simulated(bias, kappa):
    """The designs that have another number of simulations."""

    def wrong(printed):
        found = {path.name: json.loads(path.read_text())["figures"] for path in Path("coverage").iterdir()}
        wanted = {"aop_bias_deg": bias, "aop_at_120_kappa": kappa}
        assert len(found) == 36
        return [
            name for name, figures in found.items() if {key: sum(figures[key].values()) for key in wanted} != wanted
        ]

    return wrong


HELD = {
    "ablation_narrow.py": says(r"^\| B: .* \| 1 \| \d\.\d\d M \| .*\d \[.*\]", r"^\| T: .* not run \|"),
    "api_page.py": writes("docs/api.md", "^# Reference$", "^### `measure_array`$"),
    "crossval_fetusmap.py": lambda printed: [
        *says(r"^\| 1 of 2 \| 2 \| \d")(printed),
        *writes("runs/folds/fold-0.json", '"fold": 0')(printed),
    ],
    "face_picture.py": draws("face.png"),
    "flip_bits.py": says(r"^\| PNG \| yes \| 2 \| 0 \| 0 \|$", r"^\| BMP \| no \| \d"),
    "fuzz.py": says(r"^\| frames \| 3 \| \d \| \d \| 0 \| 0 \| 0 \| 0 \|$"),
    "heatmap_panel.py": draws("docs/pictures/heatmaps.png"),
    "hrnet_rows.py": says(r"(?s)\A(.*^aop-pose pretrain .*?$){3}(.*^aop-pose train .*?$){7}"),
    "interval_coverage.py --counted": simulated(bias=1000, kappa=4001),
    "interval_coverage.py --shares": lambda printed: [
        *says(r"^\| 400 \| \d")(printed),
        *(line for line in printed.splitlines() if line not in PAGES["docs/intervals.md"]),
    ],
    "interval_coverage.py --simulations": simulated(bias=1001, kappa=4000),
    # From the simulations that are committed the page comes out as it is.
    "interval_coverage.py --table": lambda printed: [
        line
        for line in PAGES["docs/intervals.md"].splitlines()
        if line not in Path("docs/intervals.md").read_text(encoding="utf-8").splitlines()
    ],
    "kills.py": says(r"^\| predict \| 1 \| \d+ \| 0 \|$"),
    "pick_curve.py": lambda printed: [
        *says(r"^\| 4 \| 1 \| .* the same \|", r"^\| 6 \| 1 \| .* \| [+-]\d")(printed),
        *writes("tools/results/pick_curve.jsonl", '"arm": "S"', '"arm": "P"', '"arm": "R"')(printed),
    ],
    "refused_picture.py": lambda printed: [
        *says(r"\A(.+: abstained: .+\n){8}\Z")(printed),
        *draws("docs/pictures/refused.png")(printed),
    ],
    "region_table.py --data": says(r"^\| one \| cart \| \d+% \|", r"^\| photo \| cart \|", r"\*\*kept for testing\*\*"),
    "region_table.py --seed": draws("docs/pictures/screens.png"),
    "scale_model.py": says(r"^a frame: measure \d", r"^\| 1e\+08 \| 1000 \| "),
    "second_look.py": says(r"^\| 256 \| 1\.00 \|", r"^\| 224 \| 0\.\d\d \|", r"^\| 192 \| 0\.\d\d \|"),
    "settings_table.py": writes("docs/settings.md", "^# Settings$", r"^\| `epochs` \|"),
    "training_speed.py": says(*(rf"^\| {one} \| channels last \| \d" for one in ("float32", "bfloat16"))),
    "weighted_step.py": says(r"^\| weighted \| \d", r"^a step costs [+-]\d.*; by the loss alone [+-]\d"),
}
"""By what is in a line, what is missing after it."""

REGISTRY = "asks a registry; .ci/run installs what the checks need"
SYSTEM = "of the system, to look at it"
NOT_RUN = {
    "git clone REPOSITORY aop-pose": "the address is the reader's",
    "cd aop-pose": "into the clone",
    "python3 -m venv .venv": "an environment is of no use without a registry; .ci/run makes one",
    "source .venv/bin/activate": "the same",
    "pip install .": REGISTRY,
    "pip install '.[train,test]'": REGISTRY,
    "pytest": "is what runs here",
    "pip install '.[dicom]'": REGISTRY,
    "pip install '.[openvino]'": REGISTRY,
    "pip install '.[parquet]'": REGISTRY,
    "pip install '.[ray]'": REGISTRY,
    "pip install '.[review]'": REGISTRY,
    "pip install '.[storage]'": REGISTRY,
    "pip install '.[train]'": REGISTRY,
    "pip install '.[volumes]'": REGISTRY,
    "pip install onnxruntime-gpu": REGISTRY,
    "pip install git+https://github.com/halleewong/ScribblePrompt.git": REGISTRY,
    "storescu -aec AOPPOSE 127.0.0.1 11112 IM000001": "of DCMTK; tests/clinic/test_listening sends with pynetdicom",
    "git show cff6591:weights/aop-fast.onnx > old-fast.onnx": "a clone without the history lacks that commit",
    "pytest tests/pipelines/fetusmap/test_several_gpus.py": "is run with all tests",
    "ray get-auth-token --generate": "of Ray, for a cluster",
    "ss -ltnp": SYSTEM,
    "du -sm": SYSTEM,
}
"""Command of another program -> why it is not run."""
PROGRAMS = re.compile(
    r"(apt|apt-get|bash|brew|cat|cd|conda|cp|curl|docker|du|git|mkdir|mv|nvidia-smi|pip3?|podman|pytest|python3?|ray|sh"
    r"|source|ss|storescu|tail|torchrun|uv|wget|xargs) "
)
"""How a command in a sentence begins."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory, rehearsal):
    """A folder that holds what the pages name."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(rehearsal, folder / "psfhs")
    (folder / "docs" / "pictures").mkdir(parents=True)
    for name in ("datasets", "weights"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def threads():
    """Tools that measure set the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.removeprefix(TOOLS)[:60].strip())
def test_a_call_does_what_the_page_says(line, desk, monkeypatch, capsys, threads):
    monkeypatch.chdir(desk)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for prepare in of_line(line, BEFORE):
        prepare()
    (missing,) = of_line(line, HELD)
    with suppress(FileNotFoundError):
        assert missing("") != [], "what the call is held to is there without it"
    capsys.readouterr()
    code = run_tool(line, APPENDED)
    printed, err = capsys.readouterr()
    assert code == 0, err
    assert missing(printed) == []


def test_every_call_of_a_tool_is_run():
    for page, text in PAGES.items():
        # However it stands there: neither the reader of blocks nor that of sentences passes one over.
        said = re.findall(rf"{TOOLS}\w+\.py", text)
        assert len(said) == len(list(command_lines(text, TOOLS))), f"{page}: a call in neither a block nor `...`"
    every = [line for page in PAGES for line in tools_of(page)]
    assert set(every) == {*LINES, *tools_of("docs/results.md"), *filter(has_own_room, every)}
    for tool, test in OWN_ROOM.items():
        assert f'words_of("{tool}")' in (ROOT / "tests" / "tools" / f"{test}.py").read_text(encoding="utf-8")
    for table in (APPENDED, BEFORE, HELD):
        assert {key for key in table if not any(key in line for line in LINES)} == set()


def test_what_is_not_run_is_listed_with_the_reason():
    assert {kind for text in PAGES.values() for _, kind, _ in FENCE.findall(text)} <= {"", *DATA}
    found = set()
    for page, text in PAGES.items():
        for line in block_lines(text):
            run_there = page == "docs/results.md" and line.strip().startswith(SHELL)
            parts = [] if run_there else re.split("&&", re.sub(r"\s+#.*", "", line))
            found |= {part.strip() for part in parts if not re.match(r"\s*(\w+=\S+ )?aop-pose ", part)}
        found |= {
            " ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCE.sub("", text)) if PROGRAMS.match(span)
        }
    found = {one for one in found if one and not one.startswith(TOOLS)}
    assert found == set(NOT_RUN)
    named = [name for one in found for names in re.findall(r"\.\[([\w,]+)\]", one) for name in names.split(",")]
    assert set(named) <= set(metadata("aop-pose").get_all("Provides-Extra"))
