"""``aop-pose train``, ``pretrain``, ``export`` and ``benchmark``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from aop_pose.cli.common import CONFIDENCES, DEVICES, SEGMENTERS, offering
from aop_pose.cli.terminal import speech
from aop_pose.errors import RESEARCH_USE, UsageError


def _presets(ctx: typer.Context) -> list[str]:
    from aop_pose.pipelines import pipeline_class

    found: list[str] = pipeline_class(ctx.params.get("method") or "yolo").described()["presets"]
    return found


Data = Annotated[
    Path, typer.Option("--data", help="Folder with the pictures or volumes.", exists=True, file_okay=False)
]
Out = Annotated[Path, typer.Option("--out", help="Run folder to write.")]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        help="yolo, unet or hrnet-gan for pictures; fetusmap for volumes.",
        autocompletion=offering("pipelines:PIPELINES"),
    ),
]
Labels = Annotated[str, typer.Option("--labels", help="Label file, as given or below --data.")]
Init = Annotated[
    str,
    typer.Option(
        "--init", help="auto, scratch, a checkpoint or a run folder.", autocompletion=offering("auto", "scratch")
    ),
]
Preset = Annotated[
    str | None, typer.Option("--preset", help="A preset of the method, or a YAML file.", autocompletion=_presets)
]
Changes = Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Every draw follows from it.")]
Device = Annotated[
    str,
    typer.Option("--device", help="cpu, cuda, cuda:1, or several CUDA devices as 0,1.", autocompletion=DEVICES),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
_SHOW_CONFIG = "--show-config"
ShowConfig = Annotated[
    bool, typer.Option(_SHOW_CONFIG, help="Print all settings as YAML and stop; --data and --out are not needed.")
]


class Trains(TyperCommand):
    """A command that can show its settings without being told where data is and where to write."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if _SHOW_CONFIG in args:
            for parameter in self.params:
                parameter.required = False
        return super().parse_args(ctx, args)


def train(
    data: Data,
    out: Out,
    method: Method = "yolo",
    labels: Labels = "labels.csv",
    val: Annotated[
        str | None,
        typer.Option("--val", help="Label file that chooses the best epoch; else a tenth of --labels, by group."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option("--boxes", help="yolo: detection folder, PS and FH boxes that are learned beside the points."),
    ] = None,
    pseudo: Annotated[
        str | None,
        typer.Option("--pseudo", help="pseudo.csv: its kept frames fill half of each batch, by weight."),
    ] = None,
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="Weigh pseudo-labels anew each epoch; else by the file.")
    ] = False,
    listed: Annotated[
        str | None,
        typer.Option(
            "--list",
            help="One file name a line: only these frames of --pseudo; with --recipe the frames without labels "
            "(default: every picture below --data that --labels and --val do not name).",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="yolo: progressive or refined (boxes, pose, pseudo-labels and weighted training in one go; with "
            "--preset paper the first is the paper as written). unet: ensemble (networks of several seeds label "
            "together, a student learns from both) or semi (two views of a frame shall agree).",
            autocompletion=offering("progressive", "refined", "ensemble", "semi"),
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, help="Rounds of pseudo-labels: each after the first labels anew (default 1)."),
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(
            "--segmenter",
            help="With --recipe: auto, scribbleprompt, scribble-unet, classical or geometry.",
            autocompletion=SEGMENTERS,
        ),
    ] = None,
    confidence: Annotated[
        str | None,
        typer.Option(
            "--confidence",
            help="What pseudo-labels are weighed by; see pseudo-label --help.",
            autocompletion=CONFIDENCES,
        ),
    ] = None,
    init: Init = "auto",
    preset: Preset = None,
    changes: Changes = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
    show_config: ShowConfig = False,
) -> None:
    """Train a network that finds points: PS1, PS2 and FH1, the axes of a head, or points in volumes.

    yolo and hrnet-gan learn PS1, PS2 and FH1 (labels iugc). unet learns these or the axes of a head (head-csv, with
    --preset head_biometry). fetusmap learns points in volumes (3-D points, of schema fetus or fetal_face).

    Example: aop-pose train --method yolo --data psfhs --labels labelled.csv --preset fast --out runs/first
    """
    settings: dict[str, Any] = {"labels": labels, "init": init, "preset": preset, "changes": changes or []}
    settings |= {"seed": seed, "device": device, "resume": resume}
    extra = {"pseudo": pseudo, "dynamic": dynamic, "frames": listed, "recipe": recipe, "rounds": rounds}
    extra |= {"segmenter": segmenter, "confidence": confidence}
    if show_config:
        return _show_config(method, "train", settings, val=val, boxes=boxes, **extra)
    _run(method, "train", data, out, settings, val=val, boxes=boxes, **extra)
    speech.say(f"export it with: {shlex.join(['aop-pose', 'export', str(out), '--out', f'{out.name}.onnx'])}")


def pretrain(
    data: Data,
    out: Out,
    method: Method = "yolo",
    labels: Labels = "labels.csv",
    segmenter: Annotated[
        str | None,
        typer.Option(
            "--segmenter",
            help="yolo: auto (default), scribbleprompt, scribble-unet, classical or geometry.",
            autocompletion=SEGMENTERS,
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option("--boxes", help="yolo: YOLO detection folder with corrected boxes; no segmenter then."),
    ] = None,
    listed: Annotated[
        str | None,
        typer.Option("--list", help="unet, hrnet-gan: one file name a line; else every picture below --data."),
    ] = None,
    init: Init = "auto",
    preset: Preset = None,
    changes: Changes = None,
    seed: Seed = 0,
    device: Device = "cpu",
    resume: Resume = False,
    show_config: ShowConfig = False,
) -> None:
    """Teach a network something easier first; train from the result with aop-pose train --init RUN.

    yolo: a detector learns where symphysis and head are, from strokes that the landmarks give. The run folder's boxes/
    can be corrected by hand and given back with --boxes. unet: a network fills in hidden patches of frames without
    labels (masked autoencoding). hrnet-gan: an encoder finds places of a frame again in another view of it (MoCo v2).

    Example: aop-pose pretrain --data psfhs --labels labelled.csv --out runs/boxes
    """
    settings: dict[str, Any] = {"labels": labels, "init": init, "preset": preset, "changes": changes or []}
    settings |= {"seed": seed, "device": device, "resume": resume}
    options = {"segmenter": segmenter, "boxes": boxes, "frames": listed}
    if show_config:
        return _show_config(method, "pretrain", settings, **options)
    _run(method, "pretrain", data, out, settings, **options)
    from aop_pose.pipelines import pipeline

    again = ["aop-pose", "train", "--method", method, "--data", str(data), "--labels", labels]
    again += ["--preset", preset] if preset is not None else []
    again += [part for change in pipeline(method).useful("train", changes or []) for part in ("--set", change)]
    again += ["--init", str(out), "--out", "RUN"]
    speech.say(f"train from it with: {shlex.join(again)}")


def _show_config(method: str, stage: str, settings: dict[str, Any], **options: Any) -> None:
    import yaml

    from aop_pose.pipelines import pipeline_class
    from aop_pose.pipelines.job import Job

    # Data and place are looked at by no setting.
    found = pipeline_class(method)().settings(stage, Job(Path(), Path(), **settings), **options)
    speech.say(yaml.safe_dump(found, sort_keys=False).rstrip())


def _run(method: str, stage: str, data: Path, out: Path, settings: dict[str, Any], **options: Any) -> None:
    from aop_pose.cli.terminal.progress import EpochProgress

    with EpochProgress() as bar:
        from aop_pose.pipelines import pipeline
        from aop_pose.pipelines.job import Job

        chosen = pipeline(method)
        work = chosen.train if stage == "train" else chosen.pretrain
        job = Job(data, out, say=bar.say, on_epoch=bar.epoch, on_batch=bar.batch, on_frames=bar.frames, **settings)
        record = work(job, **options)
    speech.say(f"{out}: finished in {record['wall_seconds'] / 60:.1f} min")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder or checkpoint.", exists=True)],
    out: Annotated[Path, typer.Option("--out", help="The .onnx file to write; a .zip for codabench-2025.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx (default), or codabench-2025: a submission to IUGC 2025 for that site.",
            autocompletion=offering("onnx", "codabench-2025"),
        ),
    ] = "onnx",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Score below which a frame shows no anatomy; else the run's."),
    ] = None,
    decode: Annotated[
        str | None,
        typer.Option(
            "--decode",
            help="yolo: best or weighted; others: argmax, soft-argmax or subpixel; else the run's.",
            autocompletion=offering("best", "weighted", "inference.decode:RULES"),
        ),
    ] = None,
) -> None:
    """Write a trained network as one ONNX file that carries its whole contract, or as a submission to a challenge.

    Example: aop-pose export runs/first --out first.onnx
    """
    from aop_pose.inference.predictor import DECODE_RULES
    from aop_pose.pipelines import method_of, pipeline

    if run.suffix == ".onnx":
        raise UsageError(f"{run} is an artefact already: use it as it is, or export the run that it was made of")
    if form == "codabench-2025":
        if (threshold, decode) != (None, None):
            raise UsageError("--threshold, --decode: a submission answers for every picture by the run's rule")
        if out.suffix != ".zip":
            raise UsageError(f"--out: expected a name that ends in .zip, found {out}")
        from aop_pose.pipelines.codabench import write_submission

        write_submission(pipeline(method_of(run)).predictor(run, "cpu"), out)
        speech.say(f"{out}: a submission of {out.stat().st_size / 1e6:.1f} MB for Codabench, competition 7105")
        return
    if form != "onnx":
        raise UsageError(f"--format: expected onnx or codabench-2025, found {form!r}")
    if out.suffix != ".onnx":
        raise UsageError(f"--out: expected a name that ends in .onnx, found {out}")
    known = [rule for rules in DECODE_RULES.values() for rule in rules]
    if decode is not None and decode not in known:
        raise UsageError(f"--decode: expected one of {', '.join(known)}, found {decode!r}")
    exported = pipeline(method_of(run)).export(run, out, threshold, decode)
    speech.say(f"{out}: {exported.model_id}, {out.stat().st_size / 1e6:.1f} MB, schema {exported.schema.name}")


def benchmark(
    data: Annotated[Path, typer.Option("--data", help="Folder with the pictures.", exists=True, file_okay=False)],
    methods: Annotated[str, typer.Option("--methods", help="Pipelines, with commas between.")],
    budget: Annotated[
        str,
        typer.Option("--budget", help="Of each run: wall time of training (90s, 20m, 2h) or epochs (30e)."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Runs of each method: seeds 0, 1, ...")] = 3,
    labels: Annotated[str, typer.Option("--labels", help="Label file, as given or below --data.")] = "labels.csv",
    val: Annotated[
        str | None,
        typer.Option("--val", help="Label file of the frames to measure; else a fifth of --labels, by group."),
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="paper, fast, or a YAML file.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for every method, METHOD.key=value for one; may be repeated."),
    ] = None,
    init: Annotated[str, typer.Option("--init", help="auto, scratch, a checkpoint or a run folder.")] = "auto",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, or the number of a CUDA device.")] = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the benchmark in --out; methods and seeds may be added.")
    ] = False,
) -> None:
    """Train several methods on the same frames with the same budget, and compare them on the same others.

    Every run is exported and measured as aop-pose predict does. A budget of time becomes the epochs that fit it, by
    a short training of each method; the schedule of learning then ends with the budget. Writes runs/ (one JSON a
    run), artefacts/, benchmark.json, table.md and benchmark.html.

    Example: aop-pose benchmark --data psfhs --labels labelled.csv --val val.csv --methods yolo --budget 20m --out bench
    """
    from aop_pose.benchmark.plan import Budget, Plan
    from aop_pose.benchmark.report import PAGE_FILE, TABLE_FILE
    from aop_pose.benchmark.run import benchmark as run

    plan = Plan(
        data, [name.strip() for name in methods.split(",") if name.strip()], Budget.parse(budget), seeds, labels, val,
        preset, tuple(changes or ()), init, device,
    )  # fmt: skip
    run(plan, out, resume=resume, notice=RESEARCH_USE, say=speech.tell)
    speech.say((out / TABLE_FILE).read_text(encoding="utf-8"))
    speech.say(f"wrote {out / TABLE_FILE} and {out / PAGE_FILE}. {RESEARCH_USE}")
