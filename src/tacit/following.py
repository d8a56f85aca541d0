"""The verb that continues: recommend."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.errors import Asked
from tacit.options import DataArg, Group, Json, MaxBad, NoCache, Quiet, RunArg, Split
from tacit.terminal import Teller, out, table

WRITTEN = (".parquet", ".csv", ".jsonl")


def recommend(
    run: RunArg,
    data: DataArg,
    out_: Annotated[Path | None, typer.Option("--out", help="FILE.csv, .parquet or .jsonl, one row an item and sequence.")] = None,
    column: Annotated[str | None, typer.Option(help="What is ranked; default: the column with the most values that recur.")] = None,
    top: Annotated[int, typer.Option(help="Items for each sequence.", min=1)] = 10,
    new: Annotated[bool, typer.Option("--new", help="Leave out what a sequence has had already.")] = False,
    train: Annotated[str | None, typer.Option(help="Data to learn from; default: that of the run.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    group: Group = None,
    split: Split = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """What comes next in each sequence, and is it better than what is popular?"""
    from tacit import recommendation

    teller = Teller(quiet)
    if out_ is not None and out_.suffix not in WRITTEN:
        raise Asked(f"{out_}: recommendations are written as {', '.join(WRITTEN)}", "name the file like next.csv")
    given: dict[str, Any] = {"cache": not no_cache, "group": group, "split": split, "max_bad": max_bad}
    try:
        done = recommendation.recommend(
            run, data, column=column, top=top, new=new, train=train, seed=seed,
            options={k: v for k, v in given.items() if v is not None}, say=teller.say,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    if out_ is not None:
        done.found.write(out_)
    if json_:
        out({**done.result, "file": None if out_ is None else str(out_)})
        return
    result = done.result
    rows = []
    for r in result["scores"]:
        ahead = "" if "ahead" not in r else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*r["ahead"]["ndcg"])
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*r[name]) for name in ("recall", "ndcg")]
        rows.append([r["name"].replace("_", " "), *cells, ahead])
    title = f"the last event of {result['scores'][0]['n']:,} held-out sequences, among {result['items']:,} of {result['column']!r}"
    table(title, ["ranking", "recall@10", "nDCG@10", "ssl ahead by"], rows)
    teller.say(done.verdict)
    print(out_ if out_ is not None else done.path)
    if out_ is None:
        teller.say(f"what comes next: tacit recommend {shlex.quote(str(run))} {shlex.quote(data)} --out next.csv")
