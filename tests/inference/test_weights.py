"""A name leads to the right bytes or to one line that says why not."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from aop_pose.errors import UsageError
from aop_pose.inference import predictor as runtime
from aop_pose.inference import weights as artefacts
from aop_pose.scribbles.segmenters import networks
from tests.tiny_artefact import write_artefact

ROOT = Path(__file__).resolve().parents[2]
CONTENT = b"not a network, but bytes with a hash"
# sha256sum of CONTENT.
DIGEST = "c58b4ea38c583469628c5ee0d731837340b9f104f28c2a602a3a316345f47381"


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "aop-fast.onnx").write_bytes(CONTENT)
    entry = {
        "name": "aop-fast",
        "file": "aop-fast.onnx",
        "sha256": DIGEST,
        "bytes": len(CONTENT),
        "schema": "aop",
        "licence": "AGPL-3.0-or-later",
        "training_run": "aop-fast.run.json",
        "default_for": "aop",
    }
    (tmp_path / "manifest.json").write_text(json.dumps([entry]))
    return tmp_path


def test_a_name_and_the_default_lead_to_the_file(shelf):
    assert artefacts.resolve("aop-fast", folder=shelf) == shelf / "aop-fast.onnx"
    assert artefacts.resolve(None, "aop", folder=shelf) == shelf / "aop-fast.onnx"
    assert artefacts.resolve(shelf / "aop-fast.onnx", folder=shelf) == shelf / "aop-fast.onnx"


def test_the_model_id_is_the_name_and_the_start_of_the_hash(shelf):
    (entry,) = artefacts.manifest(shelf)
    assert entry.model_id == f"aop-fast@{DIGEST[:8]}"
    assert entry.card == "aop-fast.md"


def test_a_file_from_elsewhere_is_taken_as_it_is(shelf, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "aop-fast.onnx"
    other.write_bytes(b"my own")
    assert artefacts.resolve(str(other), folder=shelf) == other


def test_an_unknown_name_lists_the_known_and_the_nearest(shelf):
    with pytest.raises(UsageError) as caught:
        artefacts.resolve("aop-fats", folder=shelf)
    assert str(caught.value) == (
        "weights: expected a file or one of aop-fast, found 'aop-fats'; did you mean aop-fast?"
    )
    with pytest.raises(UsageError, match=r"found 'zzz'$"):
        artefacts.resolve("zzz", folder=shelf)


@pytest.mark.parametrize("asked", [None, "aop-fast", "path"])
def test_changed_bytes_are_refused_however_they_are_asked_for(shelf, asked):
    (shelf / "aop-fast.onnx").write_bytes(CONTENT + b"!")
    with pytest.raises(UsageError, match=r"expected sha256 .*, found .*install aop-pose again"):
        artefacts.resolve(shelf / "aop-fast.onnx" if asked == "path" else asked, folder=shelf)


def test_a_missing_file_is_said(shelf):
    (shelf / "aop-fast.onnx").unlink()
    with pytest.raises(UsageError, match="the file is missing"):
        artefacts.resolve("aop-fast", folder=shelf)


def test_a_schema_without_default_says_which_have_one(shelf):
    with pytest.raises(UsageError, match=r"no artefact is shipped for schema head \(shipped: aop\)"):
        artefacts.resolve(None, "head", folder=shelf)


def test_a_folder_is_not_an_artefact(shelf):
    with pytest.raises(UsageError, match="expected an artefact, found the folder"):
        artefacts.resolve(shelf, folder=shelf)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Invalid JSON"),
        ('[{"name": "Bad Name"}]', "0.name: String should match pattern"),
        ('[{"name": "a", "surprise": 1}]', "0.file: Field required"),
    ],
)
def test_a_malformed_manifest_is_one_line(tmp_path, content, message):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match=message) as caught:
        artefacts.manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_absent_manifest_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="found No such file"):
        artefacts.manifest(tmp_path)


def test_a_manifest_survives_a_round_trip(shelf):
    before = artefacts.manifest(shelf)
    artefacts.write_manifest(before, shelf)
    assert artefacts.manifest(shelf) == before
    assert json.loads((shelf / "manifest.json").read_text())[0]["schema"] == "aop"
    assert sorted(path.name for path in shelf.iterdir()) == ["aop-fast.onnx", "manifest.json"]


def test_an_installed_copy_finds_its_own_folders_first(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "aop_pose"
    for folder in (
        package / "_shipped" / "weights",
        package / "_shipped" / "phantom",
        package.parent / "weights",
    ):
        folder.mkdir(parents=True)
    monkeypatch.setattr(artefacts, "_PACKAGE", package)
    assert artefacts.shipped_weights() == package / "_shipped" / "weights"
    assert artefacts.shipped_phantoms() == package / "_shipped" / "phantom"


def test_a_checkout_finds_its_own_folders(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(artefacts, "_PACKAGE", tmp_path / "aop_pose")
    assert artefacts.shipped_weights() == tmp_path / "weights"
    with pytest.raises(UsageError, match="found neither"):
        artefacts.shipped_phantoms()


def test_everything_shipped_is_whole_and_small_enough():
    folder = artefacts.shipped_weights()
    if not (folder / artefacts.MANIFEST).is_file():
        pytest.skip("nothing is shipped yet: no weights/manifest.json")
    entries = artefacts.manifest(folder)
    for entry in entries:
        assert artefacts.problem(entry, folder) == ""
        assert (folder / entry.file).stat().st_size == entry.bytes
        assert (folder / entry.card).is_file()
        if entry.schema_name == "scribble":
            # A prompted segmenter has no points, so it has no contract of a predictor.
            assert networks.load_stand_in(folder / entry.file).name == entry.name
            continue
        contract = artefacts.load(folder / entry.file).contract
        assert (contract.name, contract.schema_name, contract.licence) == (
            entry.name,
            entry.schema_name,
            entry.licence,
        )
    defaults = [entry.default_for for entry in entries if entry.default_for]
    assert len(defaults) == len(set(defaults))
    assert sum(entry.bytes for entry in entries) <= 60e6


@pytest.mark.parametrize("name", ["aop-fast", "aop-best"])
def test_a_gate_was_fitted_as_its_card_says(name):
    """By its rule: in cross-validation it withholds 99.5 % of painted heads, 99 % of each other kind, measures 99 %."""
    folder = artefacts.shipped_weights()
    gate = artefacts.load(folder / f"{name}.onnx").contract.gate
    shares = {kind: 100 * share for kind, share in gate.fitted["let_through"].items()}
    good, marked = shares.pop("frames"), shares.pop("frames with marks, looks and cuts")
    assert good >= 99
    assert marked >= 95
    assert shares["head painted out"] <= 0.5
    assert max(shares.values()) <= 1
    card = " ".join((folder / f"{name}.md").read_text(encoding="utf-8").split())
    painted = f"{shares['head painted out']:.1f} % of painted heads"
    assert f"measures {good:.1f} % of frames, {marked:.1f} % of marked ones, {painted}" in card


@pytest.fixture
def release_tool():
    spec = importlib.util.spec_from_file_location("release_artefact", ROOT / "tools" / "release_artefact.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def exported(tmp_path):
    """A one-layer network with a contract, and the run folder it is said to come from."""
    run = tmp_path / "run"
    file = write_artefact(tmp_path / "export.onnx", name="aop-tiny")
    run.mkdir()
    (run / "run.json").write_text('{"seed": 0}')
    return file, run


def test_release_copies_enters_and_is_found_by_name(release_tool, exported, shelf):
    file, run = exported
    (shelf / "aop-tiny.md").write_text("card")
    entry = release_tool.release(file, "aop-tiny", run, None, shelf)
    assert [one.name for one in artefacts.manifest(shelf)] == ["aop-fast", "aop-tiny"]
    assert artefacts.resolve("aop-tiny", folder=shelf).read_bytes() == file.read_bytes()
    assert entry.model_id == runtime.load(shelf / "aop-tiny.onnx").model_id
    assert json.loads((shelf / entry.training_run).read_text()) == {"seed": 0}
    release_tool.release(file, "aop-tiny", run, None, shelf)
    assert len(artefacts.manifest(shelf)) == 2


def test_load_gives_the_shipped_network_and_refuses_changed_bytes(release_tool, exported, shelf, monkeypatch):
    file, run = exported
    (shelf / "aop-tiny.md").write_text("card")
    entry = release_tool.release(file, "aop-tiny", run, None, shelf)
    monkeypatch.setattr(artefacts, "shipped_weights", lambda: shelf)
    assert artefacts.load("aop-tiny").model_id == entry.model_id
    (shelf / entry.file).write_bytes(file.read_bytes() + b"!")
    with pytest.raises(UsageError, match="is not aop-tiny"):
        artefacts.load("aop-tiny")


def test_release_refuses_what_would_not_be_traceable(release_tool, exported, shelf, tmp_path):
    file, run = exported
    with pytest.raises(UsageError, match="expected the card"):
        release_tool.release(file, "aop-tiny", run, None, shelf)
    with pytest.raises(UsageError, match="expected aop-tiny, the name in the artefact, found other"):
        release_tool.release(file, "other", run, None, shelf)
    (shelf / "aop-tiny.md").write_text("card")
    with pytest.raises(UsageError, match=r"expected a run folder with run\.json"):
        release_tool.release(file, "aop-tiny", tmp_path, None, shelf)
    with pytest.raises(UsageError, match="aop-fast is that already"):
        release_tool.release(file, "aop-tiny", run, "aop", shelf)
    assert [one.name for one in artefacts.manifest(shelf)] == ["aop-fast"]


def test_rewriting_changes_the_contract_and_not_the_network(tmp_path):
    first = runtime.load(write_artefact(tmp_path / "a.onnx"))
    before = (tmp_path / "a.onnx").read_bytes()
    changed = artefacts.rewrite(
        tmp_path / "a.onnx", first.contract.model_copy(update={"threshold": 0.6}), tmp_path / "new" / "b.onnx"
    )
    assert (changed.contract.threshold, first.contract.threshold) == (0.6, 0.25)
    assert changed.contract.model_dump(exclude={"threshold"}) == first.contract.model_dump(exclude={"threshold"})
    assert changed.sha256 != first.sha256
    assert (tmp_path / "a.onnx").read_bytes() == before
    inputs = np.random.default_rng(0).random((2, 1, 44, 44), np.float32)
    np.testing.assert_array_equal(changed.network(inputs), first.network(inputs))


def test_an_artefact_may_be_rewritten_in_its_place(tmp_path):
    file = write_artefact(tmp_path / "a.onnx")
    artefacts.rewrite(file, runtime.load(file).contract.model_copy(update={"threshold": 0.6}), file)
    assert runtime.load(file).contract.threshold == 0.6
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
