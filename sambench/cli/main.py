"""The command line: verbs that parse, call and print. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, TypeVar

import click

import sambench
from sambench.cli.interrupts import INTERRUPTED
from sambench.errors import SambenchError, UsageError

if TYPE_CHECKING:
    from sambench.outputs.gallery import Absent
    from sambench.planning.find_datasets import Missing
    from sambench.planning.settings import Settings

SUBSETS = "paper|full|N|file:PATH"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def main() -> None:
    """The console script. Exits with 0 complete, 1 incomplete or failed, 2 usage or nothing to run, 130 interrupted."""
    # By default torch's threads (libgomp) spin for milliseconds while they wait, which stalls everything as soon as
    # another process wants a core. Fewer turns cost nothing on an idle machine and save 40 % of a decoder call on a
    # busy one (measured on two cores: 22 ms idle either way; 62 instead of 106 ms). Read when torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except SambenchError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted: what was finished is on disk; the same command goes on from there", err=True)
        # At once: threads that still read from a file system that does not answer would be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def flag(*names: str, **settings: Any) -> Callable[[_Function], _Function]:
    """A click option with its twin in the environment, ``--data-root`` and ``SAMBENCH_DATA_ROOT``."""
    long = next(n for n in names if n.startswith("--")).removeprefix("--").partition("/")[0]
    return click.option(*names, envvar=f"SAMBENCH_{long.upper().replace('-', '_')}", show_envvar=False, **settings)


def out_flag(function: _Function) -> _Function:
    return flag("--out", type=Path, default=Path("runs"), show_default=True, help="Folder of the runs.")(function)


def data_root_flag(function: _Function) -> _Function:
    text = "Folder that holds the datasets, or is one. Default: the user's data folder."
    return flag("--data-root", type=Path, help=text)(function)


def plugins_flag(function: _Function) -> _Function:
    text = "Folder with your own tasks/ and datasets/. Repeatable."
    return flag("--plugins", "plugin_folders", multiple=True, type=Path, help=text)(function)


def again_flags(function: _Function) -> _Function:
    """What opens a run again, where its masks are made anew."""
    text = "What the model of a run is, if that has moved or was FILE.py:CLASS. Repeatable."
    for decorate in (plugins_flag, flag("--model", "models", multiple=True, help=text), data_root_flag):
        function = decorate(function)
    return function


def data_flags(function: _Function) -> _Function:
    """What finds a dataset."""
    for decorate in reversed(
        [
            data_root_flag,
            flag("--split", help="Split of the dataset. Default: the paper's."),
            flag(
                "--set",
                "assignments",
                multiple=True,
                metavar="OWNER.KEY=VALUE",
                help="Option of the task, dataset or model, e.g. task.first_click=random. Repeatable.",
            ),
            plugins_flag,
        ]
    ):
        function = decorate(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sambench.__version__, prog_name="sambench")
def cli() -> None:
    """Zero-shot evaluation of promptable segmentation: the tasks and datasets of Segment Anything.

    Every flag has a twin in the environment: --data-root is SAMBENCH_DATA_ROOT.
    """


@cli.command()
@flag("--task", "-t", "tasks", multiple=True, required=True, metavar="T[,T]|all", help="Task, or several.")
@flag(
    "--dataset",
    "-d",
    "datasets",
    multiple=True,
    required=True,
    metavar="D[,D]|all",
    help="Dataset, several, a collection (all, sam23, ritm5), or a .txt file of names.",
)
@flag(
    "--model",
    "-m",
    "models",
    multiple=True,
    metavar="M[,M]",
    help="Zoo name, checkpoint file, hub id, local folder, or path/to/file.py:Class; of several the first is the "
    "report's baseline. Default: the embedded model.",
)
@data_flags
@out_flag
@flag("--limit", type=click.IntRange(1), help="Only the first N images: for trials. The full run goes on from there.")
@flag(
    "--subset",
    default="paper",
    show_default=True,
    metavar=SUBSETS,
    help="Images that are evaluated: the paper's rule (about 10k masks), all, N, or those of a `data lock` file.",
)
@flag(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where models run."
)
@flag("--batch-size", type=click.IntRange(1), help="Images encoded at once. Default: 1 on a CPU, what fits on a GPU.")
@flag("--workers", type=click.IntRange(1), help="Workers. Default: by model and device; on a cluster all it has.")
@flag("--threads", type=click.IntRange(1), help="Threads each worker computes with. Default: by model and device.")
@flag("--backend", default="local", show_default=True, type=click.Choice(["local", "ray"]), help="Where workers are.")
@flag("--ray-address", default="", metavar="HOST:PORT", help="Ray cluster. Default: RAY_ADDRESS, or one made here.")
@flag("--shard", metavar="I/N", help="Only part I of N of each run, for job arrays; `sambench merge` joins them.")
@flag("--encodings", type=Path, metavar="DIR", help="Keep the encodings of images there, and use those that are.")
@flag("--encodings-size", default="50GB", show_default=True, help="How large that folder may become.")
@flag(
    "--encodings-dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "float16"]),
    help="Precision of encodings; float16 rounds them, also where they are not kept.",
)
@flag("--seed", type=int, default=0, show_default=True, help="Seed of random prompts and bootstraps.")
@flag("--fresh", is_flag=True, help="Throw away what a run already has, and start again.")
@flag(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="OWNER.KEY=A,B",
    help="As --set, with a run for each value, in an output folder of its own. Repeatable: every combination.",
)
@flag("--profile", is_flag=True, help="Also write files/trace.json of each run: when what was done, for Perfetto.")
@flag("--log-json", type=Path, metavar="FILE", help="Append progress to a file as JSON lines, to watch it elsewhere.")
@flag("--dry-run", is_flag=True, help="Say what would be evaluated, and stop.")
@flag("--json", "as_json", is_flag=True, help="Summaries as JSON on stdout instead of a table.")
def run(
    dry_run: bool,
    as_json: bool,
    sweeps: Sequence[str],
    ray_address: str,
    shard: str | None,
    encodings: Path | None,
    encodings_size: str,
    log_json: Path | None,
    **arguments: Any,
) -> int:
    """Evaluate models on datasets. Repeating the command goes on where it stopped. Ctrl-C, or SIGTERM, finishes what is
    in hand; a second one stops at once."""
    from sambench import evaluate
    from sambench.cli.interrupts import stoppable
    from sambench.cli.progress import Reporter
    from sambench.engine.encoding_cache import EncodingsSpec, parse_size
    from sambench.planning.plan import make_plan, out_of, part_of, specification
    from sambench.planning.sweep import variants

    kept = None
    if encodings is not None:
        kept = EncodingsSpec(encodings.absolute(), parse_size(encodings_size), arguments["encodings_dtype"])
    settings = replace(_settings(**arguments), encodings=kept, shard=_shard(shard))
    if dry_run:
        # Neither a cluster nor a GPU's memory is asked: where runs would lie does not depend on them.
        settings = replace(settings, backend="local", batch_size=settings.batch_size or int(settings.shard is None))
    elif settings.backend == "ray":
        from sambench.engine import ray_workers

        ray_workers.connect(ray_address)
    plans = [
        make_plan(
            replace(
                settings,
                out=settings.out / variant.folder,
                assignments=(*settings.assignments, *variant.assignments),
            )
        )
        for variant in variants(sweeps, settings.assignments)
    ]
    triples = [triple for plan in plans for triple in plan.triples]
    if dry_run:
        for triple in triples:
            spec = specification(triple)
            path, part = spec.directory(out_of(triple.settings)), ""
            if settings.shard is not None:
                part = f" ({len(part_of(triple.index, settings.shard, spec.encode_batch))} of them in this shard)"
            click.echo(f"{triple.title}: {len(triple.index)} images{part}, {triple.n_masks} masks -> {path}")
        _echo_missing(plans[0].missing)
        _echo_skipped(plans[0].skipped)
        return 0
    if not arguments["models"]:
        click.echo(f"no --model given: evaluating the embedded {settings.models[0]}", err=True)
    by_place, complete = {}, True
    with stoppable() as stop:
        for triple, path, summary in evaluate.evaluate(triples, Reporter(log_json), stop):
            by_place[id(triple)] = path
            if not summary["complete"]:
                complete = False
                _explain_incomplete(path, summary, settings)
    paths = [by_place[id(triple)] for triple in triples]
    if settings.shard is not None:
        _echo_shard(paths, settings)
        return 0 if complete else 1
    baseline = f"{(m := triples[0].model).name}@{m.weights_digest[:8]}" if len(settings.models) > 1 else ""
    report_path = _write_report(paths, settings.out / "report", baseline)
    if as_json:
        click.echo(json.dumps([json.loads((p / "summary.json").read_text("utf-8")) for p in paths], indent=1))
    else:
        _echo_table(paths, baseline)
        _echo_macro_means(settings.datasets, paths)
        _echo_missing(plans[0].missing)
        _echo_skipped(plans[0].skipped)
        click.echo(f"\nreport: {report_path.with_name('index.html')}, {report_path}")
    return 0 if complete else 1


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise UsageError(f"--shard {text}: write it as I/N, from 1/N to N/N")
    return int(i), int(n)


def _echo_shard(paths: Sequence[Path], settings: Settings) -> None:
    assert settings.shard is not None
    i, n = settings.shard
    for path in paths:
        click.echo(f"shard {i} of {n}: {path}")
    click.echo(f"when all {n} are there: sambench merge {settings.out}")


@cli.command()
@click.argument("out", type=click.Path(path_type=Path), default=Path("runs"))
@plugins_flag
@flag("--remove", is_flag=True, help="Remove the shards of what was merged.")
@flag("--json", "as_json", is_flag=True, help="Summaries as JSON on stdout instead of a table.")
def merge(out: Path, plugin_folders: Sequence[Path], remove: bool, as_json: bool) -> int:
    """Join the shards (run --shard I/N) under OUT, the --out of the runs, to whole runs and report them. A run with
    shards missing or unfinished is left as it is, and said."""
    from sambench.plugins import registry
    from sambench.runs import merging

    for folder in plugin_folders:
        registry.add_folder(folder)
    merged, unfinished = merging.merge(out, remove=remove)
    for line in unfinished:
        click.echo(line, err=True)
    if merged:
        report_path = _write_report(merged, out / "report")
        if as_json:
            click.echo(json.dumps([json.loads((p / "summary.json").read_text("utf-8")) for p in merged], indent=1))
        else:
            _echo_table(merged)
            click.echo(f"\nreport: {report_path.with_name('index.html')}, {report_path}")
    return 1 if unfinished else 0


@cli.command()
@flag("--task", "-t", required=True, help="Task the predictions answer.")
@flag("--dataset", "-d", required=True, help="Dataset with the ground truth; its images are not needed.")
@flag(
    "--predictions",
    required=True,
    type=Path,
    help="single_point: JSON list of {image_id, annotation_id, segmentation: RLE, score}, one or more for each "
    "annotation. edges: folder of PNG or .npy edge maps named by image id. proposals, instances: results JSON of "
    "{image_id, category_id, score, segmentation: RLE}. text_to_mask: JSON list of {image_id, phrase, "
    "segmentation: RLE}. See docs/tasks/.",
)
@flag("--no-nms", is_flag=True, help="Edge maps are thinned already (the same as --set task.edge_nms=false).")
@flag("--name", help="What to call the model. Default: the name of the file or folder.")
@data_flags
@out_flag
@flag("--subset", default="full", show_default=True, metavar=SUBSETS, help="Images that are scored.")
@flag("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@flag("--fresh", is_flag=True, help="Throw away what a run already has, and start again.")
@flag("--json", "as_json", is_flag=True, help="Summary as JSON on stdout instead of a table.")
def score(
    task: str,
    dataset: str,
    predictions: Path,
    no_nms: bool,
    name: str | None,
    as_json: bool,
    assignments: Sequence[str],
    **arguments: Any,
) -> int:
    """Score what was predicted elsewhere."""
    from sambench import score as scoring
    from sambench.cli.progress import RunProgress

    if no_nms:
        assignments = [*assignments, "task.edge_nms=false"]
    arguments["assignments"] = assignments
    settings = _settings(tasks=(task,), datasets=(dataset,), models=(), **arguments)
    path, summary = scoring.score(settings, predictions, name, RunProgress)
    if not summary["complete"]:
        _explain_incomplete(path, summary, settings)
    report_path = _write_report([path], settings.out / "report")
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        _echo_table([path])
        click.echo(f"\nreport: {report_path.with_name('index.html')}, {report_path}")
    return 0 if summary["complete"] else 1


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=Path)
@flag("--out", type=Path, required=True, help="Folder for the report.")
@flag(
    "--against",
    "baseline",
    default="",
    metavar="MODEL",
    help="Show each model's difference from this one, on each dataset.",
)
@flag("--gallery", type=click.IntRange(0), default=0, metavar="N", help="Picture N cases of each kind of each run.")
@again_flags
@flag("--json", "as_json", is_flag=True, help="The leaderboard as JSON on stdout too.")
def report(
    runs: Sequence[Path],
    out: Path,
    baseline: str,
    gallery: int,
    as_json: bool,
    **again: Any,
) -> int:
    """Write a site, Markdown, CSV, JSON and LaTeX tables and figures of runs (folders, searched for runs)."""
    absent = _write_galleries(runs, out, gallery, **again) if gallery else []
    path = _write_report(list(runs), out, baseline)
    if as_json:
        click.echo((out / "leaderboard.json").read_text("utf-8"))
    else:
        _echo_table(list(runs), baseline)
        click.echo(f"\nreport: {path.with_name('index.html')}, {path}")
    return 0 if all(one.expected for one in absent) else 1


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@flag("--models", metavar="A,B", help="The two models, where a folder holds runs of several (name or name@digest).")
@flag("--metric", default="", help="Which metric. Default: the task's first that is a mean over cases.")
@flag("--tie", type=click.FloatRange(0), default=0.0, help="Differences of at most so much count as a tie.")
@flag("--cases", type=click.IntRange(0), default=10, show_default=True, help="How many cases to show.")
@flag("--common", is_flag=True, help="Leave out datasets that only one side has, instead of refusing.")
@flag("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for Markdown, CSV and JSON.")
@plugins_flag
@flag("--json", "as_json", is_flag=True, help="As JSON on stdout.")
def compare(
    runs: Sequence[Path],
    models: str | None,
    metric: str,
    tie: float,
    cases: int,
    common: bool,
    out: Path | None,
    plugin_folders: Sequence[Path],
    as_json: bool,
) -> int:
    """Compare two models case by case: RUNS are two folders of runs, or one or more that hold both with --models."""
    from sambench.analysis import compare as comparing
    from sambench.plugins import registry
    from sambench.reporting import comparison

    for folder in plugin_folders:
        registry.add_folder(folder)
    if models is None and len(runs) != 2:
        raise UsageError(f"{len(runs)} folders given: give two to compare, or name the two with --models A,B")
    names = registry.split_names([models]) if models else ["", ""]
    if len(names) != 2:
        raise UsageError(f"--models {models}: give two different names with a comma between")
    sides = (runs, runs) if models else ([runs[0]], [runs[1]])
    result = comparing.compare(*sides, metric=metric, tie=tie, most=cases, common=common, keep=(names[0], names[1]))
    click.echo(json.dumps(comparison.as_json(result), indent=1) if as_json else comparison.console(result))
    if out is not None:
        click.echo(f"\ncomparison: {comparison.write(result, out)}", err=as_json)
    return 0


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@flag("--baseline", required=True, type=click.Path(path_type=Path), help="leaderboard.csv of an earlier report.")
@flag("--metric", "metrics", multiple=True, help="What to check. Repeatable. Default: each task's primary metric.")
@flag(
    "--max-drop", type=click.FloatRange(0), help="How much worse: .01 is a point. Default: to the 95 % interval's end."
)
@flag("--junit", type=click.Path(path_type=Path), help="Also write JUnit XML.")
@flag("--badge", type=click.Path(path_type=Path), help="Also write the JSON of a shields.io endpoint badge.")
def gate(
    runs: Sequence[Path],
    baseline: Path,
    metrics: Sequence[str],
    max_drop: float | None,
    junit: Path | None,
    badge: Path | None,
) -> int:
    """For CI: exit 1 where a run is worse than the baseline, incomplete or missing. Writes a table, also to
    GITHUB_STEP_SUMMARY where that is set."""
    from sambench.analysis import gate as gating
    from sambench.atomic_files import output_error, write_atomic
    from sambench.runs.summaries import load_summaries

    model_check = gating.gate(load_summaries(runs), baseline, metrics=metrics, max_drop=max_drop)
    table = gating.markdown_table(model_check)
    click.echo(table)
    for path, content in ((junit, gating.junit(model_check)), (badge, gating.badge(model_check))):
        if path is not None:
            write_atomic(path, content)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with open(summary, "a", encoding="utf-8") as file:
                file.write(table + "\n")
        except OSError as error:
            raise output_error(Path(summary), error) from error
    return 0 if all(check.passed for check in model_check) else 1


@cli.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@flag("--study", type=click.Path(path_type=Path), required=True, help="Folder of the study: masks, pictures, ratings.")
@flag("--masks", type=click.IntRange(1), default=1000, show_default=True, help="Objects to draw of each dataset.")
@flag("--raters", type=click.IntRange(1), default=1, show_default=True, help="Ratings that each mask gets.")
@flag("--model", "-m", "models", multiple=True, help="A run's model, where its manifest cannot tell it. Repeatable.")
@data_root_flag
@plugins_flag
@flag("--host", default="127.0.0.1", show_default=True, help="Address to serve at; 0.0.0.0: to others too.")
@flag("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@flag("--token", default="", help="What raters must know. Default: a random one where others can reach the page.")
@flag("--prepare", is_flag=True, help="Draw the masks and make them, and stop.")
@flag("--summary", "as_summary", is_flag=True, help="Say what the ratings are so far, and stop.")
@flag("--json", "as_json", is_flag=True, help="The summary as JSON.")
def rate(
    runs: Sequence[Path],
    study: Path,
    masks: int,
    raters: int,
    host: str,
    port: int,
    token: str,
    prepare: bool,
    as_summary: bool,
    as_json: bool,
    **where: Any,
) -> int:
    """Have people rate masks of runs, and the annotated ones, from 1 to 10, on a web page of this machine."""
    from sambench.study import studies, summary

    if as_summary:
        if runs:
            raise UsageError("--summary is of the study as it is: leave the runs out")
        found, path = studies.sum_up(study)
        click.echo(json.dumps(found.as_dict(), indent=1, ensure_ascii=False) if as_json else summary.page(found))
        click.echo(f"summary: {path}", err=True)
        return 0
    from sambench.cli.progress import RunProgress

    with studies.prepare(study, runs, masks, RunProgress, say=click.echo, **where) as storage:
        if not prepare:
            studies.serve(storage, host, port, token=token, raters=raters, say=click.echo)
    return 0


@cli.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@flag("--to", required=True, type=click.Choice(["coco", "csv", "fiftyone", "hf"]), help="What is to read it.")
@flag("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for it.")
@flag("--clicks", type=click.IntRange(1), default=1, show_default=True, help="The masks after so many clicks.")
@again_flags
def export_(run: Path, to: str, out: Path, **again: Any) -> int:
    """Write a run for other tools: masks as COCO's results, records as CSV, or a folder for Hugging Face's datasets or
    FiftyOne. Masks that the run does not hold are made again."""
    from sambench.outputs.export import export

    for path in export(run, to, out, **again):
        click.echo(path)
    return 0


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@flag("--to", required=True, type=click.Choice(["mlflow", "wandb"]), help="Which service, through its own client.")
@flag("--project", default="sambench", show_default=True, help="Experiment of MLflow, or project of Weights & Biases.")
def log(runs: Sequence[Path], to: str, project: str) -> int:
    """Log finished runs to MLflow or Weights & Biases. Nothing else of sambench ever does."""
    from sambench.outputs import tracking

    for name in tracking.log(runs, to, project):
        click.echo(f"{to}: {name}")
    return 0


@cli.command("list")
@click.argument("kind", type=click.Choice(["tasks", "datasets", "models"]))
@data_root_flag
@plugins_flag
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def list_(kind: str, data_root: Path | None, plugin_folders: Sequence[Path], as_json: bool) -> int:
    """Print the tasks, datasets or models that can be named; of datasets also whether they are there."""
    from sambench.data import catalogue

    if kind == "datasets":
        _list_datasets(data_root or _default_data_root(), plugin_folders, as_json)
        return 0
    rows = catalogue.tasks(plugin_folders) if kind == "tasks" else catalogue.models()
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    elif kind == "tasks":
        width = max(len(r["name"]) for r in rows)
        for row in rows:
            click.echo(f"{row['name']:<{width}}  {row['summary']}")
    else:
        _echo_models(rows)
    return 0


def _echo_models(rows: Sequence[dict[str, Any]]) -> None:
    headings = ("model", "parameters", "memory", "takes", "trained on", "licence", "run here", "what it is")
    table = [headings]
    for row in rows:
        count, trained_on = row.get("parameters"), row.get("trained_on")
        table.append(
            (
                row["name"],
                "" if count is None else f"{count / 1e6:.1f}M" if count else "0",
                row.get("memory", "").partition(",")[0],
                " ".join(row.get("capabilities", [])),
                "unknown"
                if trained_on is None
                else shorten(", ".join(trained_on) or "nothing", 36, placeholder=" ..."),
                shorten(row.get("licence", ""), 28, placeholder=" ..."),
                "yes" if row.get("ran_released_weights") else "no",
                row["summary"],
            )
        )
    widths = [max(len(line[i]) for line in table) for i in range(len(headings) - 1)]
    for line in table:
        click.echo("  ".join([*(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=False)), line[-1]]))
    click.echo(
        "\nmemory: of one image of 1024 pixels; run here: this project has run it with its authors' released weights."
    )


def _list_datasets(data_root: Path, plugin_folders: Sequence[Path], as_json: bool) -> None:
    from sambench.data import catalogue

    rows = catalogue.datasets(data_root, plugin_folders)
    if as_json:
        click.echo(json.dumps(list(rows), indent=1, ensure_ascii=False))
        return
    click.echo(f"at {data_root}:")
    for row in rows:
        counts = "" if row["images"] is None else f", {row['images']} images, {row['masks']} masks"
        click.echo(f"{row['name']:<14} {row['status']:<10}  {row['title']} [{row['group']}, {row['kind']}{counts}]")
        if row["detail"]:
            click.echo(f"{'':<14} {'':<10}  -> {row['detail']}")


@cli.command()
@click.argument("kind", type=click.Choice(["task", "dataset", "model"]))
@click.argument("name")
@plugins_flag
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def show(kind: str, name: str, plugin_folders: Sequence[Path], as_json: bool) -> int:
    """Print all that is known about one task, dataset or model: its card, its options."""
    from sambench.data import catalogue

    card = catalogue.card(kind, name, plugin_folders)
    click.echo(json.dumps(card, indent=1, ensure_ascii=False) if as_json else catalogue.text(card))
    return 0


@cli.group()
def data() -> None:
    """Get datasets, and look at those on disk."""


@data.command("get")
@click.argument("name")
@data_flags
@flag("--keep-archives", is_flag=True, help="Keep what was downloaded after it is unpacked.")
@flag("--yes", is_flag=True, help="Do not ask. Without a terminal nothing is asked anyway.")
@flag("--dry-run", is_flag=True, help="Say what would be downloaded and where it would go, and stop.")
def data_get(name: str, keep_archives: bool, yes: bool, dry_run: bool, **arguments: Any) -> int:
    """Download and unpack a dataset, or say how to get it. Repeating the command goes on where it stopped."""
    from sambench.cli.progress import ByteProgress
    from sambench.data import checks as datachecks
    from sambench.data import download

    plugin, split, options, data_root = _choose_one(name, **arguments)
    card = plugin.card
    there = datachecks.presence(plugin, data_root, split, options)
    if there.state in ("made", "yours", "present"):
        click.echo(f"{card.name}: nothing to get: " + (f"complete at {there.root}" if there.root else card.access))
        return 0
    plan = download.make_plan(card, split, data_root)
    click.echo(f"{card.title} ({card.url})\nlicence: {card.licence}\nplease cite: {card.citation}\n{plan.text()}")
    todo = plan.todo("here", "download")
    if todo and not dry_run:
        if sys.stdin.isatty() and not yes:
            click.confirm("go on?", default=True, abort=True)
        download.carry_out(plan, ByteProgress(), lambda line: click.echo(line, err=True), keep_archives=keep_archives)
    if plan.todo("by hand") or not plan.items:
        click.echo("\nThe rest cannot be downloaded without you:" if todo else "\nTo get it:")
        for number, step in enumerate(download.steps(plan), 1):
            click.echo(f"  {number}. {step}")
        return 0 if dry_run else 1
    if not dry_run:
        click.echo(f"{card.name} is in {plan.folder}; see whether it is whole: {download.check_command(plan)}")
    return 0


@data.command("check")
@click.argument("name")
@data_flags
@flag("--deep", is_flag=True, help="Decode every image and mask, not only the headers.")
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def data_check(name: str, deep: bool, as_json: bool, **arguments: Any) -> int:
    """Verify a dataset's files against its card."""
    from sambench.data import checks as datachecks

    plugin, split, options, data_root = _choose_one(name, **arguments)
    checked = datachecks.check(plugin, data_root, split, options, deep=deep)
    click.echo(json.dumps(checked.as_dict(), indent=1, ensure_ascii=False) if as_json else checked.text())
    return 0 if checked.passed else 1


@data.command("stats")
@click.argument("name")
@data_flags
@flag("--limit", type=click.IntRange(1), help="Only the first N images of the subset.")
@flag("--subset", default="paper", show_default=True, metavar=SUBSETS, help="Images that are looked at.")
@flag("--out", type=Path, default=Path("."), help="Folder for the picture.", show_default=True)
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def data_stats(name: str, limit: int | None, subset: str, out: Path, as_json: bool, **arguments: Any) -> int:
    """Count a dataset's masks; draw sizes, concavity and a heat map of centres."""
    from sambench.data import statistics, subset_files

    found = _find_one(name, **arguments)
    dataset = found.open()
    drawn, _ = subset_files.draw(dataset.index(), subset, found.card.name, found.split)
    stats = statistics.stats(dataset, [entry.id for entry in drawn][:limit])
    picture = statistics.draw(stats, out / f"{found.card.name}_stats.png")
    click.echo(json.dumps(stats.as_dict(), indent=1, ensure_ascii=False) if as_json else stats.text())
    click.echo(f"picture: {picture}", err=as_json)
    return 0


@data.command("lock")
@click.argument("name")
@data_flags
@flag("--subset", default="paper", show_default=True, metavar="paper|full|N", help="Rule by which images are drawn.")
@flag("--out", type=Path, help="File to write. Default: DATASET-SPLIT-SUBSET.json here.")
def data_lock(name: str, subset: str, out: Path | None, **arguments: Any) -> int:
    """Write the drawn image ids with their digest to a file: to share, to cite, for --subset file:PATH."""
    from sambench.atomic_files import write_json
    from sambench.data import subset_files

    found = _find_one(name, **arguments)
    locked = subset_files.lock(found.card, found.split, found.changed_options, found.open().index(), subset)
    path = out or Path(f"{found.card.name}-{found.split}-{subset}.json")
    write_json(path, locked.as_dict())
    click.echo(f"{locked.images} of {locked.of_images} images, {locked.masks} of {locked.of_masks} masks -> {path}")
    click.echo(f"digest {locked.digest}")
    return 0


@cli.group()
def check() -> None:
    """Try something before it costs hours."""


@check.command("model")
@click.argument("name")
@flag("--set", "assignments", multiple=True, metavar="model.KEY=VALUE", help="Option of the model. Repeatable.")
@flag("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where it runs.")
@flag("--json", "as_json", is_flag=True, help="As JSON.")
def check_model(name: str, assignments: Sequence[str], device: str, as_json: bool) -> int:
    """Try a model on a few demo images: a tick or a cross for each capability."""
    from sambench.bench import model_check

    results = model_check.check_model(name, assignments, device)
    if as_json:
        click.echo(json.dumps([r.as_dict() for r in results], indent=1, ensure_ascii=False))
    else:
        for result in results:
            click.echo(f"{'✓' if result.passed else '✗'} {result.what}: {result.detail}")
    return 0 if all(r.passed for r in results) else 1


@cli.group()
def bench() -> None:
    """Measure how fast a model answers, and what options that make it faster cost."""


@bench.command("latency")
@flag("--model", "-m", "models", multiple=True, required=True, metavar="M[,M]", help="Model, or several.")
@flag("--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Where it runs.")
@flag("--image", type=click.Path(path_type=Path), help="Image file. Default: a scene of the demo.")
@flag("--size", type=click.IntRange(16), default=1024, show_default=True, help="Its longer side is brought to this.")
@flag("--repeats", type=click.IntRange(1), default=50, show_default=True, help="Prompts of each kind that are timed.")
@flag("--images", type=click.IntRange(1), default=10, show_default=True, help="Encodings that are timed.")
@flag("--warmup", type=click.IntRange(0), default=5, show_default=True, help="How many of each before those.")
@flag("--threads", type=click.IntRange(1), help="Threads to compute with. Default: one on each processor.")
@flag("--set", "assignments", multiple=True, metavar="model.KEY=VALUE", help="Option of the models. Repeatable.")
@out_flag
@flag("--json", "as_json", is_flag=True, help="As JSON on stdout instead of a table.")
def bench_latency(
    models: Sequence[str],
    device: str,
    image: Path | None,
    size: int,
    repeats: int,
    images: int,
    warmup: int,
    threads: int | None,
    assignments: Sequence[str],
    out: Path,
    as_json: bool,
) -> int:
    """Time encodings and single prompts on this machine. A report of OUT then shows quality against latency."""
    from sambench.bench import latency
    from sambench.plugins import registry

    found = latency.bench(
        registry.split_names(models),
        latency.Plan(repeats, warmup, images),
        out,
        device=device,
        image=image,
        size=size,
        threads=threads or 0,
        assignments=assignments,
        say=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found], indent=1, ensure_ascii=False))
    else:
        click.echo(latency.console(found))
        click.echo("\n" + "\n".join(f"latency: {one.file(out)}" for one in found))
    return 0


@bench.command("accuracy-of")
@click.argument("changes", metavar="OWNER.KEY=VALUE...", nargs=-1, required=True)
@flag("--task", "-t", "tasks", multiple=True, required=True, metavar="T[,T]|all", help="Task, or several.")
@flag("--dataset", "-d", "datasets", multiple=True, required=True, metavar="D[,D]|all", help="As `sambench run` says.")
@flag("--model", "-m", "models", multiple=True, required=True, metavar="M", help="The one model.")
@data_flags
@out_flag
@flag("--limit", type=click.IntRange(1), help="Only the first N images.")
@flag("--subset", default="paper", show_default=True, metavar=SUBSETS, help="Images that are evaluated.")
@flag(
    "--device", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]), help="Of the baseline."
)
@flag("--batch-size", type=click.IntRange(1), help="Of the baseline. Default: by device.")
@flag("--workers", type=click.IntRange(1), help="Of the baseline. Default: by model and device.")
@flag("--threads", type=click.IntRange(1), help="Of the baseline. Default: by model and device.")
@flag("--seed", type=int, default=0, show_default=True, help="Seed of random prompts and bootstraps.")
@flag("--fresh", is_flag=True, help="Throw away what the runs already have, and start again.")
@flag("--json", "as_json", is_flag=True, help="As JSON on stdout instead of a table.")
def bench_accuracy_of(changes: Sequence[str], as_json: bool, **arguments: Any) -> int:
    """What options change in the metrics: a run without them, one with each, and their cases paired. Options are those
    of --set (model.dtype=bfloat16) and the flags run.batch_size, run.threads, run.device and run.encodings_dtype of
    `sambench run`. Runs that are there already are reused."""
    from sambench.bench import accuracy
    from sambench.cli.interrupts import stoppable
    from sambench.cli.progress import RunProgress
    from sambench.reporting import effects

    settings = _settings(**arguments)
    plan = accuracy.make_plan(settings, changes)
    with stoppable() as stop:
        found, incomplete = accuracy.carry_out(plan, RunProgress, stop)
    for path, summary in incomplete:
        _explain_incomplete(path, summary, settings)
    written = effects.write(plan.model, found, plan.folder)
    if as_json:
        click.echo(json.dumps(effects.as_json(plan.model, found), indent=1, ensure_ascii=False))
    else:
        click.echo(effects.console(plan.model, found))
        _echo_missing(plan.missing)
        click.echo(f"\neffects: {written}")
    return 1 if incomplete else 0


def _settings(
    tasks: Sequence[str],
    datasets: Sequence[str],
    models: Sequence[str],
    data_root: Path | None = None,
    **rest: Any,
) -> Settings:
    from sambench.models import zoo
    from sambench.planning.settings import Settings
    from sambench.plugins import registry

    given = {k: v for k, v in rest.items() if v is not None}
    return Settings(
        tasks=registry.split_names(tasks),
        datasets=list(datasets),
        models=registry.split_names(models) or [zoo.DEFAULT],
        data_root=data_root or _default_data_root(),
        **given,
    )


def _default_data_root() -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("sambench")) / "datasets"


def _choose_one(name: str, **arguments: Any) -> tuple[Any, str, Any, Path]:
    """Plugin, split, options and data root of one dataset, there or not."""
    from sambench.planning.find_datasets import choose
    from sambench.planning.settings import COLLECTIONS, SET_OWNERS
    from sambench.plugins import options, registry

    settings = _settings(tasks=(), datasets=(name,), models=(), **arguments)
    for folder in settings.plugin_folders:
        registry.add_folder(folder)
    values = options.parse_assignments(settings.assignments, SET_OWNERS)
    requests = registry.parse_datasets(settings.datasets)
    if len(requests) != 1 or requests[0].name in COLLECTIONS:
        raise UsageError(f"name one dataset, not {name!r}")
    plugin = registry.load("datasets", requests[0].name)
    split, built = choose(plugin, requests[0].arguments, settings, None, values["dataset"])
    return plugin, split, built, settings.data_root


def _find_one(name: str, **arguments: Any) -> Any:
    from sambench.planning.find_datasets import find_datasets
    from sambench.planning.settings import SET_OWNERS
    from sambench.plugins import options, registry

    settings = _settings(tasks=(), datasets=(name,), models=(), **arguments)
    for folder in settings.plugin_folders:
        registry.add_folder(folder)
    values = options.parse_assignments(settings.assignments, SET_OWNERS)
    found, _ = find_datasets(settings, None, values["dataset"])
    if len(found) != 1:
        raise UsageError(f"name one dataset, not {name!r}")
    return found[0]


def _write_report(paths: Sequence[Path], out: Path, baseline: str = "") -> Path:
    from sambench.reporting import write_report

    return write_report(paths, out, baseline)


def _write_galleries(runs: Sequence[Path], out: Path, number: int, **again: Any) -> list[Absent]:
    from sambench.outputs.gallery import write_galleries

    absent = write_galleries(runs, out, number, **again)
    for one in absent:
        click.echo(str(one), err=True)
    return absent


def _echo_table(paths: Sequence[Path], baseline: str = "") -> None:
    from sambench.reporting import console_table
    from sambench.runs.summaries import load_summaries

    click.echo(console_table(load_summaries(paths), baseline))


def _echo_macro_means(asked: Sequence[str], paths: Sequence[Path]) -> None:
    from sambench.analysis.macro_means import macro_means
    from sambench.runs.summaries import load_summaries

    lines = macro_means(asked, load_summaries(paths))
    if lines:
        click.echo("\n" + "\n".join(lines))


def _echo_missing(missing: Sequence[Missing]) -> None:
    if missing:
        click.echo("\nnot present, not evaluated:")
        for one in missing:
            card = one.card
            where = one.looked_at / (card.folders[0] if card.folders else card.name)
            click.echo(
                f"  {card.name}: get it from {card.url}, put it at {where} (`sambench show dataset {card.name}`)"
            )


def _echo_skipped(skipped: Sequence[str]) -> None:
    if skipped:
        click.echo("\nof all tasks, not evaluated:")
        for line in skipped:
            click.echo(f"  {line}")


def _explain_incomplete(path: Path, summary: dict[str, Any], settings: Settings) -> None:
    if summary["n_failed"]:
        from sambench.runs.directory import failures

        first = next(iter(failures(path)))
        click.echo(
            f"{path}: {summary['n_failed']} of {summary['n_expected']} images could not be evaluated (first: image "
            f"{first.id}: {first.error}), see {path / 'errors.jsonl'}; the same command tries just them again",
            err=True,
        )
    elif settings.limit is not None:
        click.echo(f"{path}: {summary['n_pending']} images left out by --limit; without it the run goes on", err=True)
