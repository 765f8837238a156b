"""What ``metrics.json`` says of the runs behind its numbers."""

import json

from aop_pose.evaluation.comparison import manifest


def test_facts_are_those_beside_the_results(tmp_path):
    facts = {"model": "m@12345678", "artefact_sha256": "12345678", "calibration": "none", "sources": ["private/x"]}
    (tmp_path / "results.json").write_text(f'{{"run": {json.dumps(facts)},\n"results": [\n]}}\n')
    made = manifest(["m@12345678"], tmp_path / "results.csv", tmp_path / "labels.csv")
    assert made["models"] == ["m@12345678"]
    assert made["results_run"] == {"model": "m@12345678", "artefact_sha256": "12345678", "calibration": "none"}
    assert made["reference_run"] is None
    assert made["versions"]["numpy"]


def test_a_table_without_its_document_or_with_a_damaged_one_has_no_facts(tmp_path):
    assert manifest([], tmp_path / "results.csv", tmp_path / "results.csv")["results_run"] is None
    for text in ("", "{", "[]", '{"run": 3,\n', "\x00"):
        (tmp_path / "results.json").write_text(text)
        assert manifest([], tmp_path / "results.csv", tmp_path / "l.csv")["results_run"] is None
