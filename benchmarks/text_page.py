"""docs/text.md, written from the cells of part 5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parts import sources
from tables_page import value

WAYS = (
    ("ssl", "linear"), ("ssl+lsa", "linear"), ("untrained", "linear"), ("tfidf", "itself"), ("lsa", "linear"), ("ssl", "knn"), ("lsa", "knn"),
)  # fmt: skip


def page(cells: Any) -> Iterator[str]:
    """The page, line by line."""
    found = cells.every()
    yield "# Text: what was measured\n"
    yield f"Written by `python benchmarks/part5.py --write` from the cells in `benchmarks/results/part5` (commits: {sources(found)})."
    yield "One preset for all sets, from scratch on the unlabelled training texts, five minutes at most on one thread (speed: as it says); what is missing was not measured.\n"
    yield from _labels(found)
    yield from _others(found)
    yield from _scope(found)
    yield from _similar(found)
    yield from _heads(found)
    yield from _language(found)
    yield from _translation(found)
    yield from _speed(found)


def _labels(found: dict[str, Any]) -> Iterator[str]:
    sets = [n.removeprefix("labels_") for n in found if n.startswith("labels_")]
    yield "## Few labels\n"
    if not sets:
        yield "not measured\n"
        return
    yield "Accuracy in %, means of 10 draws of 1, 5 and 10 labels a class and 3 of 50; the embedding is frozen and read by logistic regression."
    yield "With LSA: the embedding and LSA side by side, with equal variance (`ssl+lsa`).\n"
    yield "| labels a class | data | n test | Tacit | with LSA | untrained | TF-IDF + LR | LSA | Tacit, kNN | LSA, kNN |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for level in (1, 5, 10, 50, "all"):
        for s in sets:
            row = [100 * value(found[f"labels_{s}"], *way, level) for way in WAYS]
            best = max(v for v in row if v == v)
            shown = " | ".join("n/a" if v != v else f"**{v:.1f}**" if v == best else f"{v:.1f}" for v in row)
            yield f"| {level} | {s} | {found[f'labels_{s}']['rows'][0]['n_test']:,} | {shown} |"
    yield "\nWhat the verdict says:\n"
    for s in sets:
        cell = found[f"labels_{s}"]
        yield f"- {s} ({cell['train']:,} training texts, {cell['steps']:,} steps): {cell['verdict']}"
    yield ""


def _others(found: dict[str, Any]) -> Iterator[str]:
    names = sorted(n for n in found if n.startswith("method_"))
    if not names:
        return
    yield "## Other methods, three minutes each\n"
    yield "| data | method | 1 | 5 | 10 | 50 | all | steps |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name in names:
        _, method, data = name.split("_", 2)
        row = " | ".join(f"{100 * value(found[name], 'ssl', 'linear', level):.1f}" for level in (1, 5, 10, 50, "all"))
        yield f"| {data} | {method} | {row} | {found[name]['steps']:,} |"
    yield ""


def _scope(found: dict[str, Any]) -> Iterator[str]:
    if (cell := found.get("scope_clinc150")) is None:
        return
    yield "## Queries of no intent (clinc150)\n"
    yield f"{cell['n_outside']:,} queries out of scope among {cell['n_test']:,} others; the distance to the nearest training query needs no label.\n"
    yield "| embedding and distance | AUROC | FPR at 95 % |\n| --- | --- | --- |"
    for name, row in cell.items():
        if isinstance(row, dict) and "auroc" in row:
            yield f"| {name} | {row['auroc']:.3f} | {row['fpr95']:.3f} |"
    yield ""


def _similar(found: dict[str, Any]) -> Iterator[str]:
    names = [n for n in found if n.startswith("similar_")]
    if not names:
        return
    first = found[names[0]]
    yield "## Similar sentences (STS benchmark)\n"
    yield f"Spearman's correlation of the cosine with people's scores, {first['n_test']:,} pairs; learned from {first['sentences']:,} training sentences.\n"
    yield "| embedding | Spearman [95 %] |\n| --- | --- |"
    for name in names:
        for key in ("ssl", "tfidf", "lsa"):
            if key in found[name]:
                said = name.removeprefix("similar_") if key == "ssl" else f"{key} (classic)"
                yield f"| {said} | {_interval(found[name][key])} |"
    yield ""


def _heads(found: dict[str, Any]) -> Iterator[str]:
    names = [n for n in found if n.startswith("heads_")]
    if not names:
        return
    yield "## Entities, answers, entailment\n"
    yield "No set of these was at hand: the texts are generated templates (`benchmarks/templates.py`), which are easier than any real text."
    yield "Masked language modelling for a minute on the unlabelled texts, then LP-FT; untrained: the same network, fine-tuned from scratch.\n"
    yield "| task | score | labels | pretrained [95 %] | untrained [95 %] | n test |\n| --- | --- | --- | --- | --- | --- |"
    for name in names:
        rows = found[name]["rows"]
        for labels in dict.fromkeys(r["labels"] for r in rows):
            both = {r["start"]: r for r in rows if r["labels"] == labels}
            shown = " | ".join(_interval([both[w][k] for k in ("value", "low", "high")]) for w in ("pretrained", "untrained"))
            first = both["pretrained"]
            yield f"| {name.removeprefix('heads_')} | {first['metric'].replace('_', ' ')} | {labels:,} | {shown} | {first['n_test']:,} |"
    yield ""


def _interval(v: list[float]) -> str:
    return f"{v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]"


def _language(found: dict[str, Any]) -> Iterator[str]:
    if cell := found.get("language_shakespeare"):
        yield "## Language models\n"
        said = f"{cell['parameters']:,} parameters, {cell['steps']:,} steps of 12 windows of 64 characters in {cell['seconds']:.0f} s"
        yield f"Characters of Shakespeare, the last tenth held out: {cell['loss']:.3f} nats a character ({cell['characters']:,} predicted; {said}).\n"
    if cell := found.get("language_wikitext"):
        yield f"WikiText-2, learned from the official test file ({cell['train_tokens']:,} tokens), perplexity a word of the validation file ({cell['words']:,} words,"
        yield f"{cell['tokens']:,} tokens of pieces of words): transformer {cell['transformer']:.0f} ({cell['seconds']:.0f} s), Kneser-Ney of 5 tokens {cell['kneser-ney 5']:.0f}, of 3 {cell['kneser-ney 3']:.0f}.\n"


def _translation(found: dict[str, Any]) -> Iterator[str]:
    for name, title in (
        ("translation_tlm", "The German sentence of an English one"),
        ("translation_captions", "Another caption of the same image"),
    ):
        if cell := found.get(name):
            yield f"## {title} (multi30k)\n"
            yield f"Among {cell['n_test']:,}.\n\n| embedding | recall@1 | recall@5 | recall@10 |\n| --- | --- | --- | --- |"
            for key, row in cell.items():
                if isinstance(row, dict) and "recall@1" in row:
                    yield f"| {key} | " + " | ".join(_interval(row[f"recall@{k}"]) for k in (1, 5, 10)) + " |"
            yield ""


def _speed(found: dict[str, Any]) -> Iterator[str]:
    if (cell := found.get("speed_20newsgroups")) is None:
        return
    yield "## Speed\n"
    yield f"20 newsgroups, windows of 128 tokens, {cell['threads']} threads; the network of mlm has 4 layers and a width of 256.\n"
    yield "| | tokens/s | outside forward and backward |\n| --- | --- | --- |"
    for name in ("mlm, packed", "mlm, padded", "word2vec"):
        yield f"| {name} | {cell[name]['tokens_per_s']:,.0f} | {cell[name]['outside']:.0%} |"
    yield f"\nEmbedding: {cell['embedding']['texts_per_s']:,.0f} texts/s ({cell['embedding']['tokens_per_s']:,.0f} tokens/s).\n"
