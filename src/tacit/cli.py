"""The command line. stdout is data, stderr is words; verbs are thin over `tacit.api`, which is imported only when one runs."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit import __version__, alarms, checking, choosing, deciders, explaining, exporting, following, listening, looking, mapping, speaking
from tacit.errors import Asked, Stopped, TacitError, nearest
from tacit.options import (
    Backbone,
    BatchSize,
    Columns,
    DataArg,
    Group,
    ImageSize,
    Json,
    MaxBad,
    ModalityOpt,
    NoCache,
    OrderBy,
    Overrides,
    Quiet,
    RunArg,
    SequenceBy,
    Size,
    Split,
    Target,
    TextColumn,
    open_data,
    reading_of,
)
from tacit.terminal import Teller, out, scores, table

app = typer.Typer(
    name="tacit",
    help="Self-supervised learning on any kind of data, with a verdict on whether it was worth it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(epilog="Example: tacit pretrain photos/ --budget 10min --out runs/photos method.temperature=0.2")
def pretrain(
    data: DataArg,
    overrides: Overrides = None,
    modality: ModalityOpt = None,
    method: Annotated[str | None, typer.Option(help="Pretext task; see `tacit list methods`, or path/to/file.py:Class.")] = None,
    backbone: Backbone = None,
    size: Size = None,
    budget: Annotated[str | None, typer.Option(help="Time, such as 10min; default 5min at most.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps instead of a budget.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data instead of a budget.")] = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    init: Annotated[str | None, typer.Option(help="Run whose encoder is the start, or a checkpoint: hf:NAME, timm:NAME.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random; default 0.")] = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Run folder; default runs/<date>_<method>_<data>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    devices: Annotated[int, typer.Option(help="Processes on this machine.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.", min=1)] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps.")] = None,
    precision: Annotated[str | None, typer.Option(help="bf16-mixed or 32-true.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Train with differential privacy: what may be given away of an item.")] = None,
    keep: Annotated[Path | None, typer.Option(help="List of items to learn from (`tacit audit --write-keep`).")] = None,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    columns: Columns = None,
    sequence_by: SequenceBy = None,
    order_by: OrderBy = None,
    text_column: TextColumn = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, each value with its reason, and stop.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn a representation from unlabelled data, within a time budget."""
    from tacit.runtime import leads
    from tacit.training.plan import seconds
    from tacit.training.pretrain import Pretrained
    from tacit.training.pretrain import pretrain as train

    teller = Teller(quiet or not leads())
    given, reading = reading_of(overrides)
    if epsilon is not None:
        given["private"]["epsilon"] = epsilon
    if budget is not None:
        seconds(budget)
    opened = open_data(
        data,
        teller,
        modality=modality,
        target=target,
        group=group,
        split=split,
        columns=columns,
        sequence_by=sequence_by,
        order_by=order_by,
        text_column=text_column,
        settings=reading,
        cache=not no_cache,
        max_bad=max_bad,
        size=image_size,
        keep=keep,
    )
    command = shlex.join(["tacit", *sys.argv[1:]])
    try:
        done = train(
            opened,
            out=out_,
            resume=resume,
            budget=budget,
            steps=steps,
            epochs=epochs,
            init=init,
            devices=devices,
            nodes=nodes,
            overrides=given,
            command=command,
            say=teller.say,
            show=teller.show,
            dry_run=dry_run,
            method=method,
            backbone=backbone,
            size=size,
            batch_size=batch_size,
            device=device,
            precision=precision,
            seed=seed,
        )
    except KeyboardInterrupt:
        print("interrupted before the first step: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    except Stopped as stop:
        words = [w for w in sys.argv[1:] if w != "--resume"]
        if out_ is None and stop.run is not None:
            words += ["--out", str(stop.run)]
        print(f"{stop.message}\n  {shlex.join(['tacit', *words, '--resume'])}", file=sys.stderr)
        raise typer.Exit(130) from None
    if not leads():
        return
    if not isinstance(done, Pretrained):
        if json_:
            out([{"name": c.name, "value": c.value, "reason": c.reason} for c in done])
        else:
            table("The plan", ["what", "value", "why"], [[c.name, str(c.value), c.reason] for c in done])
        return
    if done.health is not None:
        teller.say(
            f"{done.health.state}: {done.health.words}" + (f" - {done.health.cause}; try: {done.health.cure}" if done.health.cause else "")
        )
    teller.say(f"next: tacit evaluate {shlex.quote(str(done.path))} {shlex.quote(data)}")
    if json_:
        info = json.loads((done.path / "run.json").read_text(encoding="utf-8"))
        out({"run": str(done.path), **{k: info.get(k) for k in ("steps", "seconds", "items_per_s", "health", "labels_seen")}})
    else:
        print(done.path)


@app.command(epilog="Example: tacit embed runs/photos photos/ --out embeddings.parquet")
def embed(
    run: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run, a fine-tuned or an exported model.", show_default=False)],
    data: DataArg,
    out_: Annotated[Path, typer.Option("--out", help="FILE.parquet (ids and labels go along) or FILE.npy.")],
    target: Target = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn data into vectors."""
    from tacit.operate.embed import embed as write
    from tacit.operate.embed import read
    from tacit.operate.loading import load

    if out_.suffix not in (".parquet", ".npy"):
        raise Asked(f"{out_}: embeddings are written as .parquet or .npy", "name the file like embeddings.parquet")
    teller = Teller(quiet)
    model = load(run, None)
    found = read(model, run, data, {"target": target, "max_bad": max_bad, "cache": not no_cache}, teller.say)
    z = write(model, found, out_)
    teller.say(f"{len(z.ids)} vectors of {z.vectors.shape[1]} numbers")
    if json_:
        out({"file": str(out_), "items": len(z), "dim": z.shape[1], "left_out": [p.name for p in found.bad]})
    else:
        print(out_)


@app.command(epilog="Example: tacit evaluate runs/photos photos/ --labels 1,5,10,50,all")
def evaluate(
    run: RunArg,
    data: DataArg,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    test: Annotated[str | None, typer.Option(help="Further labelled data to test on; default: the held-out part of DATA.")] = None,
    labels: Annotated[str | None, typer.Option(help="Labels a class, such as 1,5,10,50,all (regression: labels).")] = None,
    seeds: Annotated[int, typer.Option(help="Label draws a level.", min=1)] = 5,
    no_supervised: Annotated[bool, typer.Option("--no-supervised", help="Leave out training from scratch, the slow part.")] = False,
    finetune: Annotated[str | None, typer.Option(help="Ways of fine-tuning to compare with: lp-ft, full, last-N, lora, setfit.")] = None,
    episodes: Annotated[str | None, typer.Option(help="Few-shot episodes, such as 5way1shot,5way5shot.")] = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Was it worth it, against what I would have done without it?"""
    from tacit import api
    from tacit.training.run import Run

    teller = Teller(quiet)
    levels = None if labels is None else [_level(word) for word in labels.split(",")]
    options = {"group": group, "split": split, "cache": not no_cache, "max_bad": max_bad, "say": teller.say}
    done = api.evaluate(
        Run.open(run).path,
        data,
        target=target,
        test=test,
        levels=levels,
        seeds=seeds,
        supervised=not no_supervised,
        finetune=finetune.split(",") if finetune else (),
        episodes=episodes.split(",") if episodes else (),
        options={k: v for k, v in options.items() if v is not None},
        say=teller.say,
    )
    if json_:
        out(done.to_json())
    else:
        scores(done.to_json(), teller)
    teller.say(f"written to {done.path}\nnext: tacit report {shlex.quote(str(run))}")


def _level(word: str) -> int | str:
    word = word.strip()
    if word == "all":
        return word
    if not word.isdigit() or int(word) < 1:
        raise Asked(f"--labels: {word!r} is neither a positive number nor all", "write it like 1,5,10,50,all")
    return int(word)


@app.command(epilog="Example: tacit report runs/photos")
def report(run: RunArg, json_: Json = False, quiet: Quiet = False) -> None:
    """Show me: one HTML file with everything about a run."""
    from tacit.report.build import build
    from tacit.training.run import Run

    path = build(Run.open(run).path)
    if json_:
        out({"report": str(path)})
    else:
        print(path)


@app.command("list", epilog="Example: tacit list methods")
def list_(
    kind: Annotated[str | None, typer.Argument(help="methods, backbones, modalities, heads, probes, classics or sources.")] = None,
    name: Annotated[str | None, typer.Argument(help="One of them: its hyperparameters.")] = None,
    matrix_: Annotated[bool, typer.Option("--matrix", help="Which method runs, learns and leads on which kind of data.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is there: methods, backbones, modalities, heads, probes, classics, sources."""
    from tacit import registry

    if kind is not None and kind not in registry.KINDS:
        raise Asked(f"there is no kind {kind!r}", nearest(kind, registry.KINDS))
    if matrix_:
        if kind != "methods" or name is not None:
            raise Asked("--matrix is for all methods", "tacit list methods --matrix")
        _matrix(json_)
        return
    if name is not None and kind is not None:
        _describe(kind, name, json_)
        return
    found = [e for k in ([kind] if kind else registry.KINDS) for e in registry.entries(k)]
    if json_:
        out(
            [
                {
                    "kind": e.kind,
                    "name": e.name,
                    "summary": e.summary,
                    "source": e.source,
                    "family": e.family,
                    "experimental": e.experimental,
                }
                for e in found
            ]
        )
        return
    for k in dict.fromkeys(e.kind for e in found):
        rows = [[e.name, e.summary + _marks(e)] for e in sorted(found, key=lambda e: (e.family, e.name)) if e.kind == k]
        table(f"{k}: {registry.KINDS[k]}", ["name", "what it does"], rows)


def _marks(entry: Any) -> str:
    """What a person should know of a plug-in beside what it does."""
    marks = [entry.family] if entry.family not in ("", "labels") else ["reads labels"] if entry.family else []
    marks += [f"experimental: {entry.experimental}"] if entry.experimental else []
    return f" ({'; '.join(marks)})" if marks else ""


def _matrix(json_: bool) -> None:
    from tacit.matrix import mark, matrix

    rows = matrix()
    if json_:
        out(rows)
        return
    kinds = [k for k in rows[0] if k not in ("method", "family")]
    table("", ["method", "family", *kinds], [[r["method"], r["family"], *(mark(r[k]) for k in kinds)] for r in rows])
    print("runs: can be built and trained. learns: beats the untrained encoder with an interval. leads: the best of its family.")


def _describe(kind: str, name: str, json_: bool) -> None:
    import inspect as signatures

    from tacit import registry

    cls = registry.find(kind, name)
    knobs = {k: p.default for k, p in registry.knobs(cls).items()}
    if json_:
        out({"kind": kind, "name": name, "about": signatures.getdoc(cls), "source": getattr(cls, "source", ""), "hyperparameters": knobs})
        return
    print(signatures.getdoc(cls))
    if source := getattr(cls, "source", ""):
        print(f"\nsource: {source}")
    if knobs:
        table("", ["hyperparameter", "default"], [[k, str(v)] for k, v in knobs.items()])


@app.command(epilog="Example: tacit doctor")
def doctor(json_: Json = False, quiet: Quiet = False) -> None:
    """Does my machine work?"""
    from dataclasses import asdict

    from tacit import doctor as doctoring

    findings = doctoring.diagnose()
    if json_:
        out([asdict(f) for f in findings])
    else:
        print("\n".join(doctoring.lines(findings)))
    if any(f.ok is False for f in findings):
        raise typer.Exit(1)


@app.command(epilog="Example: tacit demo")
def demo(
    out_: Annotated[Path | None, typer.Option("--out", help="Run folder; default runs/<date>_demo.")] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the whole way on 1,797 handwritten digits in under three minutes."""
    from tacit.demo import demo as show

    teller = Teller(quiet)
    result = show(out_, teller.say, teller.show)
    if json_:
        out(result)
        return
    scores(result, teller)
    print(result["report"])


app.command(epilog="Example: tacit inspect photos/")(looking.inspect)
app.command(epilog="Example: tacit detect runs/sales sales.csv --out alarms.csv")(alarms.detect)
app.command(epilog="Example: tacit recommend runs/shop log.csv --out next.csv")(following.recommend)
app.command(epilog="Example: tacit generate runs/tales --prompt 'Once upon a time'")(speaking.generate)
app.command(epilog="Example: tacit fill runs/tales 'the cat [MASK] on the mat'")(speaking.fill)
app.command(epilog="Example: tacit similar runs/tales 'king - man + woman'")(speaking.similar)
app.command(epilog="Example: tacit search runs/mails mails/ 'late delivery' --out found.jsonl")(speaking.search)
app.command(epilog="Example: tacit explain runs/photos photos/ --item 17 --class horse")(explaining.explain)
app.command(epilog="Example: tacit audit runs/loans loans.csv --groups sex,race --policy policy.toml")(checking.audit)
app.command(epilog="Example: tacit erase runs/loans loans.csv --groups sex --out runs/loans-without-sex")(checking.erase)
app.command(epilog="Example: tacit forget runs/photos --ids anna_01.jpg,anna_02.jpg")(checking.forget)
app.command("map", epilog="Example: tacit map runs/photos")(mapping.map_)
app.command(epilog="Example: tacit verify runs/calls calls/ --group speaker")(listening.verify)
app.command(epilog="Example: tacit enhance runs/clean noisy/ --out cleaned/")(listening.enhance)
app.command(epilog="Example: tacit compare photos/ --methods simclr,mae,byol --budget 30min")(choosing.compare)
app.command(epilog="Example: tacit export runs/photos --to onnx --out photos-model")(exporting.export)
app.command("tune-augmentation", epilog="Example: tacit tune-augmentation photos/ --budget 30min")(choosing.tune_augmentation)

app.command(epilog="Example: tacit finetune runs/photos photos/ --target species")(deciders.finetune)
app.command(epilog="Example: tacit predict runs/photos/finetune/species_lp-ft new/ --out decisions.csv")(deciders.predict)


def _version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit()


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Self-supervised learning on any kind of data, with a verdict on whether it was worth it."""


def main() -> None:
    """Entry point: errors become one clear message and an exit code."""
    try:
        app()
    except TacitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print("error: this needs torch, which is not installed here\nhint: pip install torch", file=sys.stderr)
        sys.exit(1)
