"""Verbs of sound: whose voice it is, and recordings without their noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.options import DataArg, Group, Json, MaxBad, NoCache, Quiet, RunArg
from tacit.terminal import Teller, out, table


def verify(
    run: RunArg,
    data: DataArg,
    group: Group = None,
    apart: Annotated[str | None, typer.Option(help="Column in which the two of a pair must differ, such as the word.")] = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do two items come from the same speaker (patient, camera)? Equal error rate on pairs of held-out items."""
    from tacit import verification

    teller = Teller(quiet)
    given: dict[str, Any] = {"cache": not no_cache, "max_bad": max_bad}
    options = {k: v for k, v in given.items() if v is not None}
    done = verification.verify(run, data, group=group, apart=apart, options=options, say=teller.say)
    if json_:
        out(done.result)
        return
    rows = [
        [
            r["representation"],
            f"{100 * r['eer']:.1f} ({100 * r['eer_low']:.1f}-{100 * r['eer_high']:.1f})",
            f"{r['min_dcf']:.3f} ({r['min_dcf_low']:.3f}-{r['min_dcf_high']:.3f})",
        ]
        for r in done.rows
    ]
    title = f"{done.result['trials']:,} pairs, {done.result['groups']} groups; lower is better [95 % interval]"
    table(title, ["", "equal error rate, %", "minimum detection cost"], rows)


def enhance(
    run: RunArg,
    source: Annotated[Path, typer.Argument(metavar="SOUND", help="A sound file, or a folder of them.", show_default=False)],
    out_: Annotated[Path, typer.Option("--out", help="A file, or a folder; nothing is overwritten.", show_default=False)],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write recordings without their noise, by a run of --method enhancement."""
    from tacit import cleaning

    done = cleaning.enhance(run, source, out_, say=Teller(quiet).say)
    if json_:
        out(done.result)
        return
    for file in done.files:
        print(file)
