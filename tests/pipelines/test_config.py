"""Configurations: presets are valid, and a wrong key or value is one clear line."""

import pytest
from pydantic import ValidationError

from aop_pose.errors import UsageError
from aop_pose.pipelines.config import load_config
from aop_pose.pipelines.yolo.config import PRESETS, YoloConfig


@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_presets_are_valid(preset):
    assert isinstance(load_config(YoloConfig, PRESETS, preset), YoloConfig)


def test_the_paper_preset_holds_the_papers_numbers():
    config = load_config(YoloConfig, PRESETS, "paper")
    found = (config.image_size, config.optimizer, config.lr0, config.batch, config.epochs)
    assert found == (640, "SGD", 0.001, 8, 100)


def test_set_changes_a_value():
    assert load_config(YoloConfig, PRESETS, "fast", ["epochs=3", "cosine=false"]).epochs == 3


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        load_config(YoloConfig, PRESETS, "fast", ["epoch=3"])


@pytest.mark.parametrize("change", ["epochs=0", "epochs=many", "image_size=100", "optimizer=Adagrad", "model=yolo8n"])
def test_a_value_that_does_not_fit_is_named(change):
    with pytest.raises(UsageError, match=change.split("=")[0]):
        load_config(YoloConfig, PRESETS, "fast", [change])


@pytest.mark.parametrize(("change", "said"), [("epochs", "key=value"), ("epochs=[1", r"--set: epochs: .*'\[1'$")])
def test_set_with_what_is_no_value_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        load_config(YoloConfig, PRESETS, "fast", [change])


def test_an_unknown_preset_lists_those_there_are():
    with pytest.raises(UsageError, match="fast, paper"):
        load_config(YoloConfig, PRESETS, "quick")


def test_a_preset_file_is_read(tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 7\n")
    assert load_config(YoloConfig, PRESETS, str(tmp_path / "mine.yaml")).epochs == 7


@pytest.mark.parametrize("text", ["- a\n- b\n", "{broken"])
def test_a_preset_file_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError):
        load_config(YoloConfig, PRESETS, str(tmp_path / "mine.yaml"))


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError):
        YoloConfig().epochs = 3
