"""What an artefact says of its training run."""

import json

from aop_pose.pipelines.export import run_facts


def test_a_contract_names_files_and_not_the_folders_they_lay_in(tmp_path):
    pseudo = {"file": "/a/b/pseudo.csv"}
    data = {"labels": str(tmp_path / "all.csv"), "val": "sub/val.csv", "frames": 3, "pseudo": pseudo}
    record = {"method": "unet", "config": {}, "data": data}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    facts = run_facts(tmp_path)
    assert facts["data"] == {"labels": "all.csv", "val": "sub/val.csv", "frames": 3, "pseudo": {"file": "pseudo.csv"}}
    assert facts["name"] == tmp_path.name


def test_a_folder_without_a_run_has_no_facts(tmp_path):
    assert run_facts(tmp_path) is None
