"""The shipped artefacts of ``weights/manifest.json`` with their hashes, and the phantom samples.

An installed wheel carries both folders inside the package (``_shipped``), a checkout beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aop_pose.core.schema import SCHEMAS
from aop_pose.errors import UsageError
from aop_pose.inference.engine import check_engine
from aop_pose.inference.predictor import METADATA_KEY, Contract, open_artefact, predictor_of
from aop_pose.inference.volume_predictor import (
    AnyPredictor,
    VolumeContract,
    VolumePredictor,
    measures_volumes,
    volume_predictor_of,
)
from aop_pose.io.discover import discover
from aop_pose.io.files import replacing
from aop_pose.io.images import read_frames
from aop_pose.provenance import sha256_of

_PACKAGE = Path(__file__).resolve().parents[1]
MANIFEST = "manifest.json"


class Artefact(BaseModel):
    """One entry of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    file: str = Field(pattern=r"^[^/\\]+$")
    """Name of the file beside the manifest."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    schema_name: str = Field(alias="schema")
    licence: str
    training_run: str
    """Name of the ``run.json`` kept beside the artefact, or a line that says where it came from."""
    default_for: str | None = None
    """The schema for which this artefact is taken when none is named."""

    @property
    def model_id(self) -> str:
        """As the ``model`` column of a table names it."""
        return f"{self.name}@{self.sha256[:8]}"

    @property
    def card(self) -> str:
        """Name of the model card beside the manifest."""
        return f"{self.name}.md"


_ENTRIES = TypeAdapter(list[Artefact])


def shipped_weights() -> Path:
    """Folder with ``manifest.json``, the artefacts and their cards."""
    return _shipped("weights", "weights")


def shipped_phantoms() -> Path:
    """Folder of made-up frames for ``aop-pose demo``."""
    return _shipped("phantom", "datasets/phantom")


def _shipped(installed: str, checkout: str) -> Path:
    inside, beside = _PACKAGE / "_shipped" / installed, _PACKAGE.parent / checkout
    for folder in (inside, beside):
        if folder.is_dir():
            return folder
    raise UsageError(f"expected the shipped folder {inside} or {beside}, found neither; install aop-pose again")


def manifest(folder: Path | None = None) -> list[Artefact]:
    """Entries of a folder's manifest (default: the shipped one); UsageError where absent or malformed."""
    file = (folder or shipped_weights()) / MANIFEST
    try:
        return _ENTRIES.validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: expected the list of artefacts, found {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{file}: {place}: {first['msg']}; install aop-pose again or mend the manifest") from None


def shipped_names() -> list[str]:
    """The names that ``--weights`` takes."""
    return [entry.name for entry in manifest()]


def write_manifest(entries: list[Artefact], folder: Path) -> None:
    """Replace the manifest of a folder."""
    with replacing(folder / MANIFEST) as part:
        part.write_bytes(_ENTRIES.dump_json(entries, by_alias=True, indent=2) + b"\n")


def resolve(name_or_path: str | Path | None = None, schema: str = "aop", folder: Path | None = None) -> Path:
    """The artefact file that a ``--weights`` means, its hash checked where the manifest knows it.

    Args:
        name_or_path: a file, or a name of the manifest; None = the default of ``schema``.
        schema: picks the default; ignored where something is named.
        folder: with a manifest; default: what is shipped.

    Raises:
        UsageError: no such name or file (names the nearest), a folder, a schema without default, or a
            hash that differs from the manifest's.
    """
    folder = folder or shipped_weights()
    if name_or_path is None:
        return _verified(default_artefact(schema, folder), folder)
    path = Path(name_or_path)
    if path.is_dir():
        raise UsageError(f"weights: expected an artefact, found the folder {path}; run aop-pose export {path} first")
    if path.is_file():
        for entry in manifest(folder) if path.resolve().parent == folder.resolve() else []:
            if entry.file == path.name:
                return _verified(entry, folder)
        return path
    entries = {entry.name: entry for entry in manifest(folder)}
    name = str(name_or_path)
    if name in entries:
        return _verified(entries[name], folder)
    measuring = [entry.name for entry in entries.values() if entry.schema_name in SCHEMAS]
    import difflib

    near = difflib.get_close_matches(name, measuring, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"weights: expected a file or one of {', '.join(measuring) or 'no names'}, found {name!r}{meant}")


def default_artefact(schema: str, folder: Path | None = None) -> Artefact:
    """The entry taken for a schema when none is named; UsageError where nothing of that schema is shipped."""
    entries = manifest(folder)
    for entry in entries:
        if entry.default_for == schema:
            return entry
    known = ", ".join(sorted({entry.default_for for entry in entries if entry.default_for})) or "none"
    raise UsageError(
        f"weights: no artefact is shipped for schema {schema} (shipped: {known}); name a file with --weights"
    )


def problem(entry: Artefact, folder: Path) -> str:
    """The fault of an entry's file; empty where its hash is right."""
    path = folder / entry.file
    if not path.is_file():
        return "the file is missing"
    found = sha256_of(path)
    if found != entry.sha256:
        return f"expected sha256 {entry.sha256[:12]}…, found {found[:12]}… ({path.stat().st_size} bytes)"
    return ""


def _verified(entry: Artefact, folder: Path) -> Path:
    wrong = problem(entry, folder)
    if wrong:
        raise UsageError(f"weights: {folder / entry.file} is not {entry.name}: {wrong}; install aop-pose again")
    return folder / entry.file


def load(
    weights: str | Path | None = None,
    schema: str = "aop",
    device: str = "cpu",
    threads: int | None = None,
    *,
    engine: str = "onnx",
    precision: str = "f32",
    images: Sequence[np.ndarray] | None = None,
) -> AnyPredictor:
    """A model from a shipped name or an artefact file (``.onnx``), of frames or of volumes.

    Args:
        weights: a name of ``aop-pose weights list`` or a file; None = the default of ``schema``.
        schema: which default is taken.
        device: ``cpu``; ``cuda``, which needs an onnxruntime with the CUDA provider; ``gpu``, for OpenVINO.
        threads: threads within one pass; None = all cores this process may use.
        engine: ``onnx``; ``openvino`` (extra ``openvino``); ``auto``, the faster one of those that are installed and
            give onnxruntime's points to 0.01 px, which is kept in the user's cache.
        precision: ``f32``; ``bf16`` (openvino alone) or ``int8`` change the points a little: by how much at most is
            measured on ``images`` and stands in ``engine.told``. There are no intervals then, unless the artefact was
            calibrated so.
        images: gray pictures (H, W) uint8, or volumes, like those that will be measured; None = made-up ones.

    Raises:
        UsageError: nothing of that name, or a file that is corrupt or no artefact of this project; an engine that is
            not installed; or a precision that moves an angle by more than 1 degree or loses an image.

    Example:
        >>> import aop_pose
        >>> aop_pose.load("aop-fast").schema.points
        ('PS1', 'PS2', 'FH1')
    """
    check_engine(engine, precision, device)
    path = resolve(weights, schema)
    # The engine's own device comes afterwards: the file is checked by onnxruntime.
    opened = open_artefact(path, "cpu" if device == "gpu" else device, threads)
    plain: AnyPredictor = volume_predictor_of(opened) if measures_volumes(opened) else predictor_of(opened)
    if engine == "onnx" and precision == "f32":
        return _with_its_own_intervals(plain)
    from aop_pose.inference.agreement import with_engine

    # In float32 OpenVINO is compared with nothing.
    seen = [] if (engine, precision) == ("openvino", "f32") else images or made_images(plain)
    found = with_engine(plain, path, device, threads, engine, precision, seen)
    return _with_its_own_intervals(found)


def is_trained(weights: str | Path | None) -> bool:
    """True for a run folder or a checkpoint, which its pipeline opens; anything else is an artefact or its name."""
    return weights is not None and (Path(weights).is_dir() or Path(weights).suffix == ".pt")


def load_as(
    schema: str | None, weights: str | Path | None, device: str = "cpu", threads: int | None = None, **asked: Any
) -> AnyPredictor:
    """As ``load``; UsageError for an artefact of another schema than ``schema``, where that is given."""
    return of_schema(schema, load(weights, schema or "aop", device, threads, **asked), weights)


def of_schema(schema: str | None, predictor: AnyPredictor, weights: str | Path | None) -> AnyPredictor:
    """The predictor; UsageError where it is of another schema than ``schema``, where that is given."""
    if schema not in (None, predictor.schema.name):
        raise UsageError(f"weights: expected schema {schema}, found {predictor.schema.name} in {weights}")
    return predictor


def _with_its_own_intervals(predictor: AnyPredictor) -> AnyPredictor:
    """Without the intervals of another precision than the one it runs in."""
    contract, engine = predictor.contract, predictor.engine
    if not isinstance(contract, Contract) or contract.calibration is None or contract.calibrated_in == engine.precision:
        return predictor
    why = f"withheld: they are calibrated for {contract.calibrated_in}, not for {engine.precision}"
    return attrs.evolve(
        predictor,
        contract=contract.model_copy(update={"calibration": None}),  # type: ignore[arg-type]
        engine=attrs.evolve(engine, told={**engine.told, "intervals": why}),
    )


def made_images(predictor: AnyPredictor) -> list[np.ndarray]:
    """The shipped phantoms for a predictor of frames, a bright ball for one of volumes."""
    if isinstance(predictor, VolumePredictor):
        along = np.meshgrid(*(np.linspace(-1, 1, size) for size in predictor.contract.size), indexing="ij")
        ball = np.sqrt(sum(axis**2 for axis in along)) < 0.6
        return [(100 * ball + 20 * np.sin(9 * along[0])).astype(np.float32)]
    entries = discover([shipped_phantoms() / "images"]).entries
    return [frame.pixels for entry in entries for frame in read_frames(entry)]


def rewrite(file: Path, contract: Contract | VolumeContract, out: Path) -> AnyPredictor:
    """Write the network of an artefact with another contract, and load it back; ``out`` may be ``file``.

    Raises UsageError where onnx, which comes with the train extra, is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        raise UsageError("writing an artefact needs onnx; install it with: pip install 'aop-pose[train]'") from None
    network = onnx.load(file)
    onnx.helper.set_model_props(network, {METADATA_KEY: contract.model_dump_json(by_alias=True)})
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        onnx.save(network, part)
    return load(out)
