"""The verbs that turn an encoder into decisions: finetune, predict."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.errors import Asked, Stopped
from tacit.options import DataArg, Group, Json, MaxBad, NoCache, Quiet, Split, Target, TextColumn
from tacit.terminal import Teller, out

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[part.name=value]...",
        help="finetune.lr, decay, weight_decay, batch, passes, least, most, patience, mixup, l2sp, freeze, rank, view, norms, tiles; "
        "and those of the head, such as head.weights=balanced.",
    ),
]


def finetune(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or hf:NAME or timm:NAME.", show_default=False)],
    data: DataArg,
    overrides: Settings = None,
    target: Target = None,
    labels: Annotated[Path | None, typer.Option("--labels-from", help="Table with ids and labels, pairs or masks.")] = None,
    head: Annotated[str | None, typer.Option(help="What is predicted; see `tacit list heads`. Default: as the labels are.")] = None,
    strategy: Annotated[str, typer.Option(help="probe, lp-ft, full, last-N (last-2), lora, setfit or prototypes.")] = "lp-ft",
    folds: Annotated[int | None, typer.Option(help="Folds of cross-validation; default: only where labels are few.", min=2)] = None,
    alpha: Annotated[float, typer.Option(help="Share of sets and intervals that may miss the truth, 0 to 1.")] = 0.1,
    pseudo: Annotated[float | None, typer.Option(help="Learn from predictions for unlabelled items that are this sure.")] = None,
    outside: Annotated[str | None, typer.Option(help="Data of another kind: how well is it told?")] = None,
    mitigate: Annotated[
        str | None, typer.Option(help="With --strategy probe: treat --groups alike (`tacit list mitigations`); stays in the model.")
    ] = None,
    groups: Annotated[str | None, typer.Option("--groups", help="Column with the attribute that --mitigate is about.")] = None,
    group: Group = None,
    split: Split = None,
    text_column: TextColumn = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    out_: Annotated[Path | None, typer.Option("--out", help="Folder; default RUN/finetune/<target>_<strategy>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where it was interrupted.")] = False,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn labels and a pretrained encoder into a model that decides, and knows when it does not know."""
    from tacit.config import parse_overrides
    from tacit.training.run import finite
    from tacit.tuning import finetune as tune

    teller = Teller(quiet)
    options = {"group": group, "split": split, "text_column": text_column, "cache": not no_cache, "max_bad": max_bad, "say": teller.say}
    words = [w for w in sys.argv[1:] if w != "--resume"]
    try:
        done = tune(
            run if run.startswith(("hf:", "timm:")) else Path(run),
            data,
            target=target,
            labels=labels,
            head=head,
            strategy=strategy,
            folds=folds,
            alpha=alpha,
            pseudo=pseudo,
            outside=outside,
            mitigate=mitigate,
            groups=groups or "",
            seed=seed,
            out=out_,
            resume=resume,
            overrides=parse_overrides(overrides or [], ("finetune", "head")),
            options={k: v for k, v in options.items() if v is not None},
            command=shlex.join(["tacit", *words]),
            say=teller.say,
            show=lambda step, total, loss, best: teller.say(f"step {step}/{total}  loss {loss:.3f}{_best(best)}\r"),
        )
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    except Stopped as stop:
        print(f"{stop.message}\n  {shlex.join(['tacit', *words, '--resume'])}", file=sys.stderr)
        raise typer.Exit(130) from None
    if json_:
        out({"model": None if done.path is None else str(done.path), **finite(done.result)})
    else:
        for note in done.result["notes"]:
            teller.say(f"note: {note}")
        teller.say(_table(done.result))
        teller.say(done.verdict["sentence"])
        print(done.path)
    teller.say(f"next: tacit predict {shlex.quote(str(done.path))} DATA --out predictions.csv")


def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A fine-tuned model, or an exported one.", show_default=False)],
    data: DataArg,
    out_: Annotated[Path, typer.Option("--out", help="FILE.parquet, .csv, .jsonl, or .npz for masks.")],
    pairs: Annotated[Path | None, typer.Option(help="Table with two columns of ids, for a model that compares.")] = None,
    target: Target = None,
    group: Group = None,
    text_column: TextColumn = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decide about every item: class or value, how sure, what else is possible, how strange it is, and the evidence."""
    from tacit.operate.predict import predict as decide

    if out_.suffix not in (".parquet", ".csv", ".jsonl", ".npz"):
        raise Asked(f"{out_}: predictions are written as .parquet, .csv, .jsonl or .npz", "name the file like predictions.csv")
    teller = Teller(quiet)
    given = {"cache": not no_cache, "target": target, "group": group, "text_column": text_column, "max_bad": max_bad}
    options = {k: v for k, v in given.items() if v is not None}
    found = decide(model, data, pairs=pairs, options=options, say=teller.say)
    found.write(out_)
    held = sum(bool(a) for a in found["abstain"])
    teller.say(f"{len(found)} decisions, of which {held} abstain")
    for note in found.notes:
        teller.say(f"note: {note}")
    if json_:
        out({"file": str(out_), "items": len(found), "abstain": held, "columns": list(found.columns)})
    else:
        print(out_)


def _best(value: float) -> str:
    return f"  best on held-out labels {value:.3f}" if value > float("-inf") else ""


def _table(result: dict[str, Any]) -> str:
    """Scores of the model and of the frozen probe, one line each."""
    lines = []
    for probe in dict.fromkeys(r["probe"] for r in result["results"]):
        mine = [r for r in result["results"] if r["probe"] == probe and r["value"] == r["value"]]
        lines.append(f"{probe}: " + ", ".join(f"{r['metric'].replace('_', ' ')} {r['value']:.3f}" for r in mine))
    return "\n".join(lines)
