"""The verb that looks: inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tacit.options import (
    Columns,
    DataArg,
    Group,
    Json,
    MaxBad,
    ModalityOpt,
    NoCache,
    OrderBy,
    Overrides,
    Quiet,
    SequenceBy,
    Split,
    Target,
    TextColumn,
    open_data,
    reading_of,
)
from tacit.terminal import Teller, out


def inspect(
    data: DataArg,
    overrides: Overrides = None,
    modality: ModalityOpt = None,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    columns: Columns = None,
    sequence_by: SequenceBy = None,
    order_by: OrderBy = None,
    text_column: TextColumn = None,
    redact: Annotated[Path | None, typer.Option(help="Text: write it here without personal data, as .jsonl.")] = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Also write the JSON here.")] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is in my data, and what is wrong with it?"""
    from tacit.data import inspect as inspection
    from tacit.training.run import write_json

    teller = Teller(quiet)
    found = open_data(
        data, teller, modality=modality, target=target, group=group, split=split, columns=columns, sequence_by=sequence_by,
        order_by=order_by, text_column=text_column, cache=not no_cache, max_bad=max_bad, settings=reading_of(overrides)[1],
    )  # fmt: skip
    result = inspection.inspect(found)
    if redact is not None:
        from tacit.data.texts import redacted

        result["redacted"] = redacted(found, redact)
    if out_ is not None:
        write_json(out_, result)
    if json_:
        out(result)
    else:
        print("\n".join(inspection.lines(result)))
