"""The rows of Table 2 are commands that this package understands, and differ as the paper's rows do."""

from itertools import pairwise

import pytest
from hrnet_rows import ROWS, listing

from aop_pose.cli.main import run
from aop_pose.pipelines.config import load_config


def config_of(row, arguments):
    from aop_pose.pipelines.hrnet_gan.config import PRESETS as HRNET
    from aop_pose.pipelines.hrnet_gan.config import HrnetConfig
    from aop_pose.pipelines.unet.config import PRESETS as UNET
    from aop_pose.pipelines.unet.config import UnetConfig

    settings = [value for key, value in pairwise(arguments) if key == "--set"]
    kind, presets = (HrnetConfig, HRNET) if row.encoder.method == "hrnet-gan" else (UnetConfig, UNET)
    return load_config(kind, presets, row.encoder.preset, settings)


def test_the_rows_are_those_of_the_paper():
    configs = [config_of(row, row.command()) for row in ROWS]
    hrnet = [
        (config.encoder, row.pretrained, config.attention, config.adversary, config.output, row.paper)
        for row, config in zip(ROWS[:6], configs, strict=False)
    ]
    assert hrnet == [
        ("hrnet_w48", False, False, False, "heatmaps", (43.88, 11.24)),
        ("hrnet_w48", True, True, True, "heatmaps", (25.66, 8.54)),
        ("hrnet_w48", True, True, False, "heatmaps", (34.83, 12.26)),
        ("hrnet_w48", True, False, False, "heatmaps", (35.46, 13.85)),
        ("resnet50", True, False, False, "heatmaps", (30.40, 19.29)),
        ("hrnet_w48", True, True, False, "coordinates", (29.64, 10.68)),
    ]
    assert (ROWS[6].encoder.method, ROWS[6].pretrained, ROWS[6].paper) == ("unet", True, (31.81, 12.14))
    assert (configs[6].attention, configs[6].head, configs[6].image_size) == (True, "coordinates", 512)
    assert {config.epochs for config in configs[:6]} == {400}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_commands_are_understood_up_to_the_data(row, tmp_path, monkeypatch, capsys):
    pytest.importorskip("lightning", reason="lightning comes with the train extra")
    pytest.importorskip("timm", reason="timm comes with the train extra")
    monkeypatch.chdir(tmp_path)
    for arguments in (row.encoder.command(), row.command()):
        assert config_of(row, arguments)
        # Options are read first: what is missing is the data alone.
        assert run(["cpu" if part == "cuda" else part for part in arguments]) == 2
        assert "Invalid value for '--data': dir 'psfhs' does not exist" in capsys.readouterr().err


def test_what_is_freed_is_there():
    timm = pytest.importorskip("timm", reason="timm comes with the train extra")
    for name, layers in (("resnet50", ("layer3", "layer2")), ("hrnet_w18_small", ("stage3", "stage2"))):
        network = timm.create_model(name, features_only=True, in_chans=1)
        names = [key for key, _ in network.named_parameters()]
        assert all(any(key.startswith(layer) for key in names) for layer in layers)


def test_a_row_starts_where_its_encoder_lies():
    text = listing()
    assert (text.count("aop-pose pretrain"), text.count("aop-pose train")) == (3, 7)
    for row in ROWS:
        begin = row.command()[row.command().index("--init") + 1]
        assert begin == ("scratch" if not row.pretrained else row.encoder.command()[-1])
