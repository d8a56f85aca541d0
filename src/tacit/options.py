"""Arguments and options that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.terminal import Teller

DataArg = Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder, or builtin:digits.", show_default=False)]
RunArg = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No words on stderr, only errors.")]
ModalityOpt = Annotated[str | None, typer.Option(help="image, series, audio, table, events, text or vector; detected if left out.")]
Target = Annotated[str | None, typer.Option(help="Column with the label.")]
Group = Annotated[str | None, typer.Option(help="Column with the group (patient, session); groups are split as a whole.")]
Split = Annotated[str | None, typer.Option(help="Column that says train or test.")]
Columns = Annotated[str | None, typer.Option(help="What columns of a table are, such as age:number,zip:category,note:text.")]
SequenceBy = Annotated[str | None, typer.Option(help="Event logs: column whose words each stand for one sequence of rows.")]
OrderBy = Annotated[str | None, typer.Option(help="Event logs: column with the time that orders a sequence.")]
TextColumn = Annotated[str | None, typer.Option(help="Column of a table that holds the text; several with commas are joined.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do not keep the decoded items on disk.")]
MaxBad = Annotated[float | None, typer.Option(help="Share of unreadable files that is tolerated, 0 to 1; default 0.1.", min=0.0, max=1.0)]
Backbone = Annotated[str | None, typer.Option(help="Network; see `tacit list backbones`.")]
Size = Annotated[str | None, typer.Option(help="tiny, small or base.")]
BatchSize = Annotated[int | None, typer.Option(help="Items a step.")]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Training size of images in pixels, of series in samples, of text in tokens; of event logs the events kept."),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[part.name=value]...", help="Hyperparameters, such as method.temperature=0.2.")
]


def open_data(data: str, teller: Teller, **options: Any) -> Any:
    """The data of a verb, opened; options that are None were not given."""
    from tacit import api

    columns, more = options.pop("columns", None), options.pop("settings", {})
    given = {k: v for k, v in options.items() if v is not None}
    settings = {**more, **({} if columns is None else {"columns": columns})}
    return api.opened(data, say=teller.say, **given, **({"options": settings} if settings else {}))


def reading_of(words: list[str] | None) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Hyperparameters, and what says how the data is read (data.tokens=characters)."""
    from tacit.config import PARTS, parse_overrides

    given = parse_overrides(words or [], (*PARTS, "data"))
    return given, given.pop("data")
