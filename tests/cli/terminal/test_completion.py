"""What a shell is offered behind an option, asked as bash asks."""

import pytest

from aop_pose.cli import main
from aop_pose.inference.weights import shipped_names
from aop_pose.pipelines.unet.config import RECIPES
from aop_pose.scribbles.segmenters import AUTO, NAMES


def offered(monkeypatch, capsys, line):
    words = line.split(" ")
    monkeypatch.setenv("_AOP_POSE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    with pytest.raises(SystemExit):
        main.run([])
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("aop-pose pre", ["predict", "pretrain"]),
        ("aop-pose weights f", ["fetch"]),
        ("aop-pose weights fetch ", ["scribbleprompt"]),
        ("aop-pose predict --eng", ["--engine"]),
        ("aop-pose predict frames --engine o", ["onnx", "openvino"]),
        ("aop-pose predict --weights ", shipped_names()),
        ("aop-pose predict --weights runs/", []),
        ("aop-pose train --method ", ["yolo", "unet", "hrnet-gan", "fetusmap"]),
        ("aop-pose train --preset ", ["fast", "paper"]),
        ("aop-pose train --method unet --preset h", ["head_biometry", "head_fast"]),
        ("aop-pose train --recipe ", ["progressive", "refined", *RECIPES]),
        ("aop-pose train --segmenter ", [AUTO, *NAMES]),
        ("aop-pose pseudo-label --confidence score", ["score-entropy"]),
        ("aop-pose dataset convert src dst --to l", ["label-studio", "labelme"]),
        ("aop-pose dataset convert src dst --from psf", ["psfhs"]),
        ("aop-pose dataset phantom dst --schema f", ["fetus"]),
    ],
)
def test_the_shell_is_offered_what_fits(monkeypatch, capsys, line, words):
    assert offered(monkeypatch, capsys, line) == words
