"""The verb that watches: detect."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.errors import Asked
from tacit.options import Group, Json, MaxBad, NoCache, Quiet, RunArg, Split, Target
from tacit.terminal import Teller, out, table

SHOWN = 5
DataOrNone = Annotated[str | None, typer.Argument(metavar="[DATA]", help="A file or a folder; with --stream, stdin.", show_default=False)]


def detect(
    run: RunArg,
    data: DataOrNone = None,
    out_: Annotated[Path | None, typer.Option("--out", help="FILE.csv, .parquet or .jsonl, one row an item.")] = None,
    false_alarms: Annotated[float, typer.Option(help="Share of normal items that may be flagged, 0 to 1.")] = 0.01,
    normal: Annotated[str | None, typer.Option(help="Label of normal items: only these are learned from; needs labels.")] = None,
    train: Annotated[str | None, typer.Option(help="Data to learn what is normal from; default: that of the run.")] = None,
    reasons: Annotated[int, typer.Option(help="Reasons an item, at most.", min=1)] = 3,
    stream_: Annotated[bool, typer.Option("--stream", help="Series: one line of numbers in, one line of JSON out.")] = False,
    compare: Annotated[bool, typer.Option("--classics/--no-classics", help="Also score with isolation forest, PCA and LOF.")] = True,
    steps: Annotated[int, typer.Option(help="Of the network that fills in; 0 = by the number of items.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is unusual in my data, and why?"""
    import numpy as np

    from tacit import detection

    teller = Teller(quiet)
    given: dict[str, Any] = {"cache": not no_cache, "target": target, "group": group, "split": split, "max_bad": max_bad}
    options = {k: v for k, v in given.items() if v is not None}
    try:
        if stream_:
            if data is not None:
                raise Asked("--stream reads lines from stdin", f"tacit detect {run} --stream < {data}")
            answers = detection.stream(
                run,
                sys.stdin,
                false_alarms=false_alarms,
                train=train,
                normal=normal,
                steps=steps,
                seed=seed,
                options=options,
                say=teller.say,
            )
            for answer in answers:
                print(json.dumps(answer, ensure_ascii=False), flush=True)
            return
        if data is None:
            raise Asked("detect needs DATA", f"tacit detect {run} DATA --out alarms.csv, or --stream")
        if out_ is not None and out_.suffix not in (".parquet", ".csv", ".jsonl"):
            raise Asked(f"{out_}: alarms are written as .parquet, .csv or .jsonl", "name the file like alarms.csv")
        done = detection.detect(
            run, data, false_alarms=false_alarms, normal=normal, train=train, reasons=reasons, compare=compare, steps=steps, seed=seed,
            options=options, say=teller.say,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    found, alarms = done.found, done.alarms
    if out_ is not None:
        found.write(out_)
    teller.say(f"{int(alarms.sum()):,} of {len(alarms):,} flagged; {false_alarms:.2%} of normal items would be")
    order = np.argsort(-np.asarray(found["score"]), kind="stable")
    top = [i for i in order[:SHOWN].tolist() if alarms[i]]
    if json_:
        out({**done.result, "file": None if out_ is None else str(out_), "top": [_row(found, i) for i in top]})
        return
    for i in top:
        teller.say(f"  {found['id'][i]}  score {found['score'][i]:.1f}: {found['reason'][i]}")
    if done.result["scores"]:
        names = ["score", "AUROC [95 %]", "AUPRC", "recall at 1 % false alarms"]
        rows = []
        for r in done.result["scores"]:
            interval = f"{r['auroc']:.3f} [{r['low']:.3f}, {r['high']:.3f}]"
            rows.append([r["name"].replace("_", " "), interval, f"{r['aupr_out']:.3f}", f"{r['recall_at_1']:.1%}"])
        table("", names, rows)
    print(out_ if out_ is not None else done.path)
    if out_ is None:
        teller.say(f"every item's score and reason: tacit detect {shlex.quote(str(run))} {shlex.quote(data)} --out alarms.csv")


def _row(found: Any, i: int) -> dict[str, Any]:
    return {"id": found["id"][i], "score": float(found["score"][i]), "rate": float(found["rate"][i]), "reason": found["reason"][i]}
