"""The command as a person meets it: quick to start, one line for an error, the promised exit code."""

import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from aop_pose import __version__
from aop_pose.cli import common, main
from aop_pose.errors import AopPoseError, UsageError


def run(capsys, *arguments):
    code = main.run(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def command(monkeypatch):
    """Register a command ``probe`` that does what a test wants."""

    def register(action):
        def probe() -> None:
            """Probe.

            Example: aop-pose probe
            """
            action()

        monkeypatch.setitem(main.COMMANDS, "probe", "common:_probe")
        monkeypatch.setattr(common, "_probe", probe, raising=False)

    return register


def leaf_commands():
    root = typer.main.get_command(main.app)
    for name in main.COMMANDS:
        command = root.get_command(None, name)
        yield (name,)
        for child in getattr(command, "commands", {}):
            yield (name, child)


def test_starting_is_quick_and_imports_nothing_heavy():
    heavy = "torch", "ultralytics", "onnxruntime", "cv2", "numpy", "pydantic", "SimpleITK"
    code = f"import sys, aop_pose.cli.main; print([name for name in {heavy} if name in sys.modules])"
    times = []
    for _ in range(3):
        start = os.times()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        end = os.times()
        times.append(end.children_user + end.children_system - start.children_user - start.children_system)
        assert done.stdout == "[]\n"
    # The promise is 0.3 s for the import; the process itself starts within the rest. Processor time: others run beside.
    assert min(times) < 0.6


def test_the_list_of_commands_and_a_first_row_import_only_what_they_need(tmp_path):
    """Half a second of a first row is imports: what it does not need, comes later or not at all."""
    heavy = (
        "rich",
        "shapely",
        "urllib.request",
        "torch",
        "aop_pose.formats",
        "aop_pose.pipelines",
        "numpy",
        "matplotlib",
    )
    code = f"""if True:
        import sys
        from aop_pose.cli.main import run
        assert run(["--help"]) == 0
        print("LISTED", [name for name in {heavy} if name in sys.modules])
        from aop_pose.inference.weights import shipped_phantoms
        frame = sorted((shipped_phantoms() / "images").iterdir())[0]
        assert run(["predict", str(frame), "--out", {str(tmp_path / "out")!r}, "--no-overlay"]) == 0
        print("MEASURED", [name for name in {heavy} if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, measured = (line for line in done.stdout.splitlines() if line.startswith(("LISTED", "MEASURED")))
    assert (listed, measured) == ("LISTED []", "MEASURED ['numpy']")


def test_predict_refuses_what_it_cannot_do_before_anything_is_written(tmp_path, capsys):
    from tests.fakes import write_frames

    frames, out = write_frames(tmp_path / "frames", 1), tmp_path / "out"
    for options, words in {
        ("--runner", "slurm"): "--runner: expected one of local, ray, found 'slurm'",
        ("--format", "xlsx"): "--format: expected one of csv, parquet, found 'xlsx'",
        ("--list", str(tmp_path / "none.txt")): "expected a list of file names",
        ("--runner", "ray", "--weights", str(tmp_path)): "--runner ray: it measures with artefacts",
    }.items():
        code, _, said = run(capsys, "predict", str(frames), "--out", str(out), *options)
        assert (code, words in said, out.exists()) == (2, True, False), said
    code, _, said = run(capsys, "predict", "--out", str(out))
    assert (code, "or --list, found neither" in said) == (2, True)


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in main.COMMANDS:
        assert f"\n  {name} " in out
    assert "research use" in out


@pytest.mark.parametrize("names", list(leaf_commands()), ids=" ".join)
def test_every_help_ends_with_an_example_of_that_command(capsys, names):
    code, out, _ = run(capsys, *names, "--help")
    assert code == 0
    *_, example = out.rstrip().split("Example: ")
    assert " ".join(example.split()).startswith(f"aop-pose {names[0]}")
    # What the example gives is what the command takes.
    for word in example.split():
        if word.startswith("--"):
            assert out.count(word) >= 2, f"{word} is in the example but not among the options"


@pytest.mark.parametrize(
    "names", [names for names in leaf_commands() if names not in {("dataset",), ("weights",)}], ids=" ".join
)
def test_every_command_takes_quiet_verbose_and_a_log(capsys, names):
    out = run(capsys, *names, "--help")[1]
    assert all(f" {option}" in out for option in ("--quiet", "--verbose", "--log"))


@pytest.mark.parametrize("names", [("predict",), ("dataset", "convert"), ("weights",)], ids=" ".join)
def test_a_help_text_at_40_columns_breaks_no_word(capsys, monkeypatch, names):
    told = {}
    for width in (40, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        told[width] = run(capsys, *names, "--help")[1].partition("Example:")[0]
    assert all(len(line) <= 40 for line in told[40].splitlines())
    # A line may end with a hyphen that the word has.
    narrow, wide = (set(re.sub(r"-\n +", "-", told[width]).split()) for width in (40, 120))
    assert {word for word in wide if len(word) <= 30} <= narrow


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"aop-pose {__version__}\n", "")


def test_without_a_command_the_help_is_shown_and_nothing_is_done(capsys):
    code, out, err = run(capsys)
    assert (code, err) == (2, "")
    assert "Commands:" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evalute"], "no command 'evalute'; did you mean evaluate? (see aop-pose --help)"),
        (["evaluate", "x"], "evaluate: expected RESULTS, TRUTH and --out DIR, as in aop-pose evaluate --help"),
        (["evaluate", "x", "y", "--scale", "big", "--out", "z"], "Invalid value for '--scale'"),
        (["info", "--jason"], "No such option: --jason"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("aop-pose: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("expected a, found b; do c"), 2, "expected a, found b; do c"),
        (AopPoseError("the run\nfailed"), 1, "the run failed"),
        (
            PermissionError(13, "Permission denied", "out/metrics.json"),
            1,
            "Permission denied: out/metrics.json",
        ),
    ],
)
def test_an_expected_error_is_one_line_and_its_exit_code(capsys, command, error, code, message):
    def action():
        raise error

    command(action)
    assert run(capsys, "probe") == (code, "", f"aop-pose: error: {message}\n")


def test_an_unexpected_error_is_not_hidden(command):
    def action():
        raise ZeroDivisionError("a defect")

    command(action)
    with pytest.raises(ZeroDivisionError):
        main.run(["probe"])


def test_a_command_chooses_its_exit_code(capsys, command):
    def action():
        raise typer.Exit(3)

    command(action)
    assert run(capsys, "probe") == (3, "", "")


def test_an_interruption_is_130_and_says_how_to_go_on(capsys, command):
    def action():
        raise KeyboardInterrupt

    command(action)
    code, _, err = run(capsys, "probe")
    assert code == 130
    assert err.strip() == "aop-pose: interrupted; nothing half-written was left; run the command again"
    assert common.finish_interrupted(["train", "--method", "yolo"]) == 130
    assert "--resume" in capsys.readouterr().err


def test_an_interruption_while_a_package_loads_is_one_too(capsys, command):
    """As numpy does where Ctrl-C comes while its compiled part is imported."""

    def action():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interruption:
            raise ImportError("initialization failed") from interruption

    command(action)
    assert run(capsys, "probe")[0] == 130


@pytest.mark.parametrize(
    ("method", "key", "meant"),
    [
        ("unet", "sigma", "; leave it out"),
        ("hrnet-gan", "sigma", "; did you mean aug_sigma?"),
        ("hrnet-gan", "epochs", "; did you mean moco_epochs?"),
    ],
)
def test_of_a_setting_of_another_stage_only_one_of_its_kind_is_meant(capsys, method, key, meant):
    code, _, error = run(capsys, "pretrain", "--method", method, "--show-config", "--set", f"{key}=3")
    assert (code, error) == (2, f"aop-pose: error: --set: pretrain --method {method} does not use {key!r}{meant}\n")


def test_main_exits_with_the_code():
    done = subprocess.run([sys.executable, "-m", "aop_pose", "nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--data", "run", "--out", "out"],
        ["pretrain", "--data", "run", "--out", "out"],
        ["export", "run", "--out", "out.onnx"],
        ["predict", "run", "--out", "out", "--weights", "run"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_the_extra_says_what_to_install(capsys, monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    found = import_module("aop_pose.pipelines.pipeline")
    monkeypatch.setattr(found, "find_spec", lambda name: None if name == "ultralytics" else object())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"method": "yolo", "config": {}}')
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith("pip install 'aop-pose[train]'\n")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("words", [[], ["--format", "codabench-2025"]])
def test_an_artefact_is_not_exported_again(capsys, tmp_path, words):
    artefact = tmp_path / "made.onnx"
    artefact.write_bytes(b"an artefact")
    code, _, err = run(capsys, "export", str(artefact), "--out", str(tmp_path / "again.onnx"), *words)
    assert code == 2
    assert f"{artefact} is an artefact already" in err


def test_an_interrupt_while_a_library_loads_has_the_same_exit_code(tmp_path):
    """Libraries make classes by code in strings; Python would end by the signal where such code was interrupted."""
    (tmp_path / "started.py").write_text(
        "from aop_pose.cli import main\nmain.app = lambda **_: exec('raise KeyboardInterrupt')\nmain.main(['review'])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-m", "started"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
