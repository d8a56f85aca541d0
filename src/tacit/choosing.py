"""The verbs that choose: compare methods, tune augmentation."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.errors import Stopped
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
    Quiet,
    SequenceBy,
    Size,
    Split,
    Target,
    TextColumn,
    open_data,
)
from tacit.terminal import Teller, out, ranking


def compare(
    data: DataArg,
    methods: Annotated[str | None, typer.Option(help="Names, with commas; hyperparameters as simclr@method.temperature=0.5.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All methods that can run on this data and read no labels.")] = False,
    budget: Annotated[str, typer.Option(help="Time for all candidates together.")] = "30min",
    out_: Annotated[Path | None, typer.Option("--out", help="Folder; default runs/<date>_compare_<data>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the comparison in --out.")] = False,
    backbone: Backbone = None,
    size: Size = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    modality: ModalityOpt = None,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    columns: Columns = None,
    sequence_by: SequenceBy = None,
    order_by: OrderBy = None,
    text_column: TextColumn = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which pretext task suits my data? Labels, where there are any, are read to choose."""
    from tacit import api
    from tacit.halving import short, summary

    teller = Teller(quiet)
    reading = {
        "modality": modality,
        "target": target,
        "group": group,
        "split": split,
        "columns": columns,
        "sequence_by": sequence_by,
        "order_by": order_by,
        "text_column": text_column,
        "cache": not no_cache,
        "max_bad": max_bad,
    }
    opened = open_data(data, teller, **reading, size=image_size)
    with _resumable(out_):
        found = api.compare(
            opened, methods.split(",") if methods else None, every=all_, budget=budget, out=out_, resume=resume, seed=seed,
            options={"backbone": backbone, "size": size, "batch_size": batch_size}, say=teller.say, show=teller.show,
        )  # fmt: skip
    _told(found, data, teller, json_, short(found), summary(found))


def tune_augmentation(
    data: DataArg,
    method: Annotated[str | None, typer.Option(help="Method that trains; default simclr.")] = None,
    budget: Annotated[str, typer.Option(help="Time for all trials together.")] = "30min",
    out_: Annotated[Path | None, typer.Option("--out", help="Folder; default runs/<date>_augmentation_<data>.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in --out.")] = False,
    backbone: Backbone = None,
    size: Size = None,
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    modality: ModalityOpt = None,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    columns: Columns = None,
    sequence_by: SequenceBy = None,
    order_by: OrderBy = None,
    text_column: TextColumn = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """How strong should augmentation be, and which invariances would erase what my labels say?"""
    from tacit import api
    from tacit.augmentation import chosen, invariances
    from tacit.halving import short, summary

    teller = Teller(quiet)
    reading = {
        "modality": modality,
        "target": target,
        "group": group,
        "split": split,
        "columns": columns,
        "sequence_by": sequence_by,
        "order_by": order_by,
        "text_column": text_column,
        "cache": not no_cache,
        "max_bad": max_bad,
    }
    opened = open_data(data, teller, **reading, size=image_size)
    with _resumable(out_):
        found = api.tune_augmentation(
            opened, method=method, budget=budget, out=out_, resume=resume, seed=seed,
            options={"backbone": backbone, "size": size, "batch_size": batch_size}, say=teller.say, show=teller.show,
        )  # fmt: skip
    rows, words = invariances(found, opened), chosen(found)
    lines = [
        f"without {r['strength']} ({r['from']} -> {r['to']}): {r['difference']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}], "
        + (f"so this invariance {r['means']}" if r["means"] != "no clear effect" else r["means"])
        for r in rows
    ]
    said = " ".join(f"modality.{k}={str(v).lower()}" for k, v in words.items())
    options = {
        "method": found.request["candidates"][0],
        "backbone": backbone,
        "size": size,
        "batch-size": batch_size,
        "image-size": image_size,
    }
    options |= {"target": target, "group": group, "split": split, "columns": columns, "modality": modality}
    options |= {"sequence-by": sequence_by, "order-by": order_by}
    given = " ".join(f"--{k} {shlex.quote(str(v))}" for k, v in options.items() if v is not None)
    if said:
        lines.append(f"use: tacit pretrain {shlex.quote(data)} {given} {said}")
    elif found.choice()["name"]:
        lines.append("the preset's augmentation is the best that was tried")
    plain = short(found) | {"invariances": rows, "use": words}
    _told(found, data, teller, json_, plain, [*summary(found), *lines])


@contextlib.contextmanager
def _resumable(out_: Path | None) -> Iterator[None]:
    """An interrupt ends with the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted before the first round: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    except Stopped as stop:
        words = [w for w in sys.argv[1:] if w != "--resume"] + ([] if out_ else ["--out", str(stop.run)])
        print(f"{stop.message}\n  {shlex.join(['tacit', *words, '--resume'])}", file=sys.stderr)
        raise typer.Exit(130) from None


def _told(found: Any, data: str, teller: Teller, json_: bool, plain: dict[str, Any], lines: list[str]) -> None:
    run = plain["choice"]["run"]
    if json_:
        out(plain)
        raise typer.Exit(0 if run else 1)
    ranking(plain["ranking"], found.criterion)
    print("\n".join(lines))
    teller.say(f"written to {found.out / 'compare.json'}" + (f"\nnext: {shlex.join(['tacit', 'evaluate', run, data])}" if run else ""))
    if run is None:
        raise typer.Exit(1)
    print(run)
