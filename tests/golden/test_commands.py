"""Help of every command, facts of the installation, wrong usage, the demo."""

import json

import pytest
import typer

from aop_pose.cli.main import app, main
from tests.golden.recorder import EXPECTED


def commands():
    """Every command and every command below one, as a person types it."""
    root = typer.main.get_command(app)
    for name in root.list_commands(None):
        yield name
        yield from (f"{name} {child}" for child in getattr(root.get_command(None, name), "commands", {}))


@pytest.mark.parametrize("name", ["", *commands()], ids=lambda name: name or "main")
def test_help(golden, name):
    golden.help(*name.split())


def test_every_recorded_help_is_that_of_a_command():
    known = {f"help-{name.replace(' ', '-')}" for name in ("main", *commands())}
    assert {path.stem for path in (EXPECTED / "commands").glob("help-*.txt")} == known


def test_version(golden):
    golden.run("--version")


def test_wrong_usage(golden):
    golden.run()
    golden.run("evalute")
    golden.run("nothing")
    golden.run("evaluate", "x")
    golden.run("info", "--jason")
    golden.run("dataset")
    golden.run("dataset", "nothing")
    golden.run("weights", "nothing")
    golden.run("predict", "--out")


def test_info(golden, capsys):
    """As text only that it ends well: every line of it is of this machine. As JSON the keys, and what is shipped."""
    golden.run("info", shown=False)
    with pytest.raises(SystemExit):
        main(["info", "--json"])
    golden.value("info --json", json.loads(capsys.readouterr().out), {"card"})


def test_weights(golden):
    golden.run("weights", "list")
    golden.run("weights", "verify")
    golden.run("weights", "fetch", "nothing")
    golden.run("weights", "add", "nothing", "file.pt")
    golden.run("weights", "add", "scribbleprompt", "file.pt")
    (golden.place / "file.pt").write_bytes(b"no weights")
    golden.run("weights", "add", "scribbleprompt", "file.pt")


def test_demo(golden):
    golden.run("demo")
    golden.files("aop-demo")
    golden.text("aop-demo/results.csv")
    golden.run("demo", "--out", "aop-demo")
    (golden.place / "mine").mkdir()
    (golden.place / "mine" / "thesis.tex").write_text("mine")
    golden.run("demo", "--out", "mine")
    golden.files("mine")


def test_benchmark_errors(golden, stored):
    stored("data", "--count", "6", "--seed", "1", "--size", "64")
    common = ("--data", "data", "--out", "bench")
    golden.run("benchmark", "--data", "nowhere", "--out", "bench", "--methods", "yolo", "--budget", "1e")
    golden.run("benchmark", *common, "--methods", "yolo", "--budget", "soon")
    golden.run("benchmark", *common, "--methods", "crystal", "--budget", "1e")
    golden.run("benchmark", *common, "--methods", "", "--budget", "1e")
    golden.run("benchmark", *common, "--methods", "unet", "--budget", "1e", "--labels", "gone.csv")
    golden.run("benchmark", *common, "--methods", "unet", "--budget", "1e", "--resume")
    assert not (golden.place / "bench").exists()


def test_export_errors(golden):
    golden.run("export", "nowhere", "--out", "x.onnx")
    (golden.place / "run").mkdir()
    golden.run("export", "run", "--out", "x.pt")
    golden.run("export", "run", "--out", "x.onnx", "--decode", "crystal")
    golden.run("export", "run", "--out", "x.onnx")
    (golden.place / "run" / "run.json").write_text('{"method": "crystal"}')
    golden.run("export", "run", "--out", "x.onnx")
    (golden.place / "text.pt").write_text("no checkpoint")
    golden.run("export", "text.pt", "--out", "x.onnx")


@pytest.mark.parametrize("verb", ["train", "pretrain"])
def test_training_errors(golden, stored, verb):
    stored("data", "--count", "6", "--seed", "1", "--size", "64")
    common = (verb, "--data", "data", "--out", "run")
    golden.run(verb, "--data", "nowhere", "--out", "run")
    golden.run(*common, "--method", "crystal")
    golden.run(*common, "--method", "unt")
    for method in ("yolo", "unet", "hrnet-gan", "fetusmap"):
        golden.run(*common, "--method", method, "--set", "epoch=1")
        golden.run(*common, "--method", method, "--set", "epochs=many")
        golden.run(*common, "--method", method, "--preset", "slow")
        golden.run(*common, "--method", method, "--labels", "gone.csv")
        golden.run(*common, "--method", method, "--init", "gone.pt")
        golden.run(*common, "--method", method, "--resume")
    golden.run(*common, "--method", "unet", "--boxes", "data")
    golden.run(*common, "--device", "tpu")
    golden.run(*common, "--seed", "-1")
    golden.run(*common, "--segmenter", "crystal")
    if verb == "train":
        golden.run(*common, "--val", "gone.csv")
        golden.run(*common, "--pseudo", "gone.csv")
        golden.run(*common, "--recipe", "crystal")
        golden.run(*common, "--rounds", "2")
        golden.run(*common, "--dynamic")
        golden.run(*common, "--val", "labels.csv")
    assert not (golden.place / "run").exists()
