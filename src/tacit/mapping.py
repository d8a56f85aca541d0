"""The verb that shows the whole embedding: map."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.options import Group, Json, MaxBad, NoCache, Quiet, RunArg, Split, Target, TextColumn
from tacit.terminal import Teller, out


def map_(
    run: RunArg,
    data: Annotated[str | None, typer.Argument(metavar="[DATA]", help="Data to map; default: what the run learned from.")] = None,
    how: Annotated[str | None, typer.Option(help="umap or pca; default: UMAP where it is installed.")] = None,
    most: Annotated[int, typer.Option(help="Items on the map; of more every n-th.")] = 20_000,
    export: Annotated[Path | None, typer.Option(help="Write the map as a web page: a folder, or a .zip.")] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in embedding-atlas, or only write it, as --json does.")] = True,
    port: Annotated[int | None, typer.Option(help="Port of the page; default 5055 or the next that is free.")] = None,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    text_column: TextColumn = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """All items on one map, with pictures, texts or sounds and nearest neighbours, and how far it can be believed."""
    from tacit.atlas import atlas, open_in_viewer, titled

    teller = Teller(quiet)
    given: dict[str, Any] = {"cache": not no_cache, "target": target, "group": group, "split": split, "max_bad": max_bad}
    given["text_column"] = text_column
    options = {k: v for k, v in given.items() if v is not None}
    made = atlas(run, data, how=how, most=most, seed=seed, options=options, say=teller.say)
    teller.say(f"{made.result['items']:,} of {made.result['of']:,} items, drawn by {titled(made.result)}")
    if json_:
        out({**made.result, "path": str(made.path)})
    else:
        print(made.path, flush=True)
    if export is not None:
        open_in_viewer(made, export=export)
        teller.say(f"the web page is in {export}: any web server can show it, such as python -m http.server")
    elif open_ and not json_:
        teller.say("opening it in embedding-atlas; Ctrl-C ends it")
        try:
            code = open_in_viewer(made, port=port)
        except KeyboardInterrupt:
            print(f"ended; the map stays in {made.path}", file=sys.stderr)
            return
        if code:
            raise typer.Exit(1)
