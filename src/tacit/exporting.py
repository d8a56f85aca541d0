"""The verb that ships: export."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tacit.options import Group, Json, MaxBad, NoCache, Quiet, Split, Target
from tacit.terminal import Teller, out


def export(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run, or a model that was fine-tuned.", show_default=False)],
    to: Annotated[str, typer.Option(help="onnx (float32), int8, or torch.")],
    out_: Annotated[Path, typer.Option("--out", help="Folder of the exported model; it does not exist yet.")],
    data: Annotated[str | None, typer.Option(help="Real items for the gates; default: those that it was trained on.")] = None,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ship it: one folder that runs without torch, once it is proved that it is still the same model."""
    from tacit.operate.export import export as write

    teller = Teller(quiet)
    given = {"target": target, "group": group, "split": split, "max_bad": max_bad, "cache": not no_cache}
    done = write(model, to, out_, data, {k: v for k, v in given.items() if v is not None}, teller.say)
    verb, file = ("predict", "decisions.csv") if (done.path / "decider.json").is_file() else ("embed", "vectors.parquet")
    teller.say(f"next: tacit {verb} {shlex.quote(str(done.path))} DATA --out {file}")
    if json_:
        out({"artefact": str(done.path), "to": to, "gates": [asdict(g) for g in done.gates], "latency": done.latency})
    else:
        print(done.path)
