"""Put an exported artefact among the shipped ones: copy it into weights/ and enter it in the manifest."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from aop_pose.errors import AopPoseError, UsageError
from aop_pose.inference import weights as artefacts
from aop_pose.pipelines.export import without_folders

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def release(file: Path, name: str, run: Path, default_for: str | None, weights: Path = WEIGHTS) -> artefacts.Artefact:
    """Copy ``file`` to ``weights/NAME.onnx``, ``run/run.json`` to ``weights/NAME.run.json``; enter them.

    The record names files and not the folders that they lay in.

    UsageError where the artefact has another name in its contract, or the run folder or the card is missing.
    """
    contract = artefacts.load(file).contract
    if contract.name != name:
        raise UsageError(f"--name: expected {contract.name}, the name in the artefact, found {name}; export it again")
    record = run / "run.json"
    if not record.is_file():
        raise UsageError(f"--run: expected a run folder with run.json, found none in {run}")
    target, kept = weights / f"{name}.onnx", weights / f"{name}.run.json"
    entry = artefacts.Artefact(
        name=name,
        file=target.name,
        sha256=artefacts.sha256_of(file),
        bytes=file.stat().st_size,
        schema=contract.schema_name,
        licence=contract.licence,
        training_run=kept.name,
        default_for=default_for,
    )
    if not (weights / entry.card).is_file():
        raise UsageError(f"expected the card {weights / entry.card}, found none; write it before the release")
    others = []
    if (weights / artefacts.MANIFEST).is_file():
        others = [other for other in artefacts.manifest(weights) if other.name != name]
    taken = [other.name for other in others if default_for and other.default_for == default_for]
    if taken:
        raise UsageError(f"--default-for {default_for}: {taken[0]} is that already; release it without first")
    if file.resolve() != target.resolve():
        shutil.copyfile(file, target)
    facts = without_folders(json.loads(record.read_text(encoding="utf-8")))
    kept.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    artefacts.write_manifest(sorted([*others, entry], key=lambda one: one.name), weights)
    return entry


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Example: python tools/release_artefact.py fast.onnx --name aop-fast --run runs/fast",
    )
    parser.add_argument("file", type=Path, metavar="FILE.onnx", help="artefact written by aop-pose export")
    parser.add_argument("--name", required=True, help="its name in the manifest, as in its own contract")
    parser.add_argument("--run", type=Path, required=True, help="the run folder it was exported from")
    parser.add_argument("--default-for", metavar="SCHEMA", help="taken for this schema when no weights are named")
    given = parser.parse_args()
    try:
        entry = release(given.file, given.name, given.run, given.default_for)
    except AopPoseError as error:
        print(f"release_artefact: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{entry.model_id}: {entry.bytes / 1e6:.1f} MB, schema {entry.schema_name}, {entry.licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
