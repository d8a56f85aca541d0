"""The verbs of text: generate, fill, similar, search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.errors import Asked
from tacit.options import DataArg, Json, MaxBad, NoCache, Quiet, RunArg, TextColumn
from tacit.terminal import Teller, out, table

NAME, TEXT = 20, 90  # characters that are shown of a document's name and of its beginning
Order = Annotated[str, typer.Option(help="What decides: fusion of both ranks, embedding (meaning) or bm25 (words).")]


def generate(
    run: RunArg,
    prompt: Annotated[str, typer.Option(help="How the text begins; default: with a word drawn by how frequent it is.")] = "",
    tokens: Annotated[int, typer.Option(help="Tokens that are added, at most.")] = 200,
    temperature: Annotated[float, typer.Option(help="Below 1 = likely tokens become likelier; 0 = always the likeliest.")] = 0.8,
    top_k: Annotated[int, typer.Option(help="Draw from so many of the likeliest tokens; 0 = all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens that together have this probability.")] = 1.0,
    count: Annotated[int, typer.Option(help="Texts, with an empty line between.")] = 1,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """How does the text go on? For runs of `--method autoregressive`."""
    from tacit import language

    done = language.generate(
        run, prompt, tokens=tokens, temperature=temperature, top_k=top_k, top_p=top_p, count=count, seed=seed, say=Teller(quiet).say
    )
    if json_:
        out(done.result)
    else:
        print("\n\n".join(done.texts))


def fill(
    run: RunArg,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="With [MASK] where something is missing.", show_default=False)],
    top: Annotated[int, typer.Option(help="Tokens for each [MASK].")] = 5,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """What belongs into the gaps of a text? For runs of `--method mlm`."""
    from tacit import language

    teller = Teller(quiet)
    done = language.fill(run, text, top=top, say=teller.say)
    if json_:
        out(done.result)
        return
    many = len(done.gaps) > 1
    rows = [
        [*([str(k + 1)] if many else []), token, f"{p:.3f}" if p >= 5e-4 else "< 0.001"]
        for k, gap in enumerate(done.gaps)
        for token, p in gap
    ]
    table("", [*(["[MASK]"] if many else []), "token", "probability"], rows)
    print(done.text)


def similar(
    run: RunArg,
    word: Annotated[str, typer.Argument(metavar="WORD", help="A word, or a sum: 'king - man + woman'.", show_default=False)],
    top: Annotated[int, typer.Option(help="Words.")] = 10,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which words are alike?"""
    from tacit import language

    teller = Teller(quiet)
    done = language.similar(run, word, top=top, say=teller.say)
    if json_:
        out(done.result)
        return
    table("", ["word", "cosine"], [[w, f"{c:.3f}"] for w, c in done.words])


def search(
    run: RunArg,
    data: DataArg,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words to look for.", show_default=False)],
    top: Annotated[int, typer.Option(help="Documents.")] = 10,
    order: Order = "fusion",
    out_: Annotated[Path | None, typer.Option("--out", help="FILE.jsonl, one document a line.")] = None,
    text_column: TextColumn = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which documents fit a query, by meaning and by words?"""
    from tacit import retrieval

    if out_ is not None and out_.suffix not in (".jsonl", ".ndjson"):
        raise Asked(f"{out_}: documents are written as .jsonl", "name the file like found.jsonl")
    teller = Teller(quiet)
    given: dict[str, Any] = {"cache": not no_cache, "text_column": text_column, "max_bad": max_bad}
    options = {k: v for k, v in given.items() if v is not None}
    done = retrieval.search(run, data, query, top=top, order=order, options=options, say=teller.say)
    if out_ is not None:
        retrieval.write(done, out_)
    if json_:
        out({**done.result, "file": None if out_ is None else str(out_)})
        return
    rows = [
        [
            str(h.place),
            f"{h.cosine:.3f}",
            "none" if h.bm25_rank is None else f"{h.bm25_rank:,}",
            _cut(h.name, NAME, end=True),
            _cut(h.text, TEXT),
        ]
        for h in done.hits
    ]
    table("", ["", "cosine", "BM25 rank", "name", "text"], rows)
    if out_ is not None:
        print(out_)


def _cut(text: str, most: int, end: bool = False) -> str:
    """A text of so many characters at most, as a table takes it; end: its end is kept, as of a path."""
    if len(text) > most:
        text = "..." + text[3 - most :] if end else text[: most - 3] + "..."
    return text
