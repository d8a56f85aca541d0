"""A model card that huggingface_hub can load, and a datasheet, filled from what was measured; with what was not, and what failed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tacit.report.duties import duties
from tacit.report.read import words

LICENCE = "the licence of the weights follows from that of the data: say it here"


def model_card(run: Path, result: Mapping[str, Any]) -> str:
    """source: Mitchell et al. 2019, arXiv:1810.03993, in the form of Hugging Face's model cards."""
    run = next((p for p in (run, run.parent.parent) if (p / "run.json").is_file()), run)  # a fine-tuned model lies in RUN/finetune
    own, model = _read(run / "run.json"), _read(run / "model" / "model.json")
    evaluations = sorted((run / "evaluation").glob("*.json"))
    verdict = next((v for f in reversed(evaluations) if (v := (_read(f).get("verdict") or {}).get("sentence"))), "")
    head = {"library_name": "tacit", "tags": ["self-supervised-learning", str(result["modality"]), "feature-extraction"]}
    front = "---\n" + "".join(f"{k}: {json.dumps(v)}\n" for k, v in head.items()) + "---\n"
    policy = result.get("policy")
    lines = [
        front,
        f"# Model card: {run.name}",
        "",
        f"An encoder of {result['modality']} data"
        + (f", one vector of {model['dim']} numbers an item" if model.get("dim") else "")
        + (f", learned by `{words((own.get('asked') or {}).get('method'), 40)}`" if (own.get("asked") or {}).get("method") else "")
        + f" from `{words(_read(run / 'data.json').get('path') or result['data'])}`.",
        "",
        f"- Trained with tacit {words(own.get('tacit'), 20) or '?'}, commit {words(own.get('commit'), 20) or '?'}, seed "
        f"{words(own.get('seed'), 20)}.",
        f"- Weights: safetensors, hash `{result['model'] or '?'}`.",
        f"- Taught to ignore: {words(model.get('ignores'), 500) or 'not recorded'}.",
        f"- Labels were {'read' if own.get('labels_seen') else 'not read' if own.get('labels_seen') is False else 'perhaps read'} in "
        "pretraining.",
        f"- Privacy: {_private(result)}",
        f"- License: {LICENCE}.",
        "",
        "## Intended use",
        "",
        (policy["purpose"] if policy and policy["purpose"] else "Not stated: a policy.toml with `purpose` says it.") + " "
        "Representations for decisions that are checked by people; not for decisions about people by themselves.",
        "",
        "## Was it worth it?",
        "",
        words(verdict, 800) or "Not measured: `tacit evaluate` says it.",
        "",
        "## What the audit found",
        "",
        *_found(result),
        "",
        *_groups(result),
        *_objectives(result),
        *_end(result),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def datasheet(result: Mapping[str, Any]) -> str:
    """source: Gebru et al. 2018, arXiv:1803.09010; only what can be measured is answered, the rest is asked."""
    about = result["about"]
    asked = "**not recorded**: whoever collected the data has to say"
    spread = [
        f"  - {words(g['name'], 60)}: " + ", ".join(f"{words(k, 60)} {n:,}" for k, n in list(g["sizes"].items())[:12])
        for g in result["groups"]
    ]
    classes = about["classes"]
    made = {f["name"]: f for f in result["findings"]}
    lines = [
        f"# Datasheet: {words(result['data'])}",
        "",
        f"Written on {result['created']} by tacit {result['tacit']}, fingerprint `{result['fingerprint']}`.",
        "",
        "## Motivation",
        "",
        f"- For what was it made, by whom, who paid? {asked}.",
        "",
        "## Composition",
        "",
        f"- {result['items']:,} items of {result['modality']} data.",
        f"- Split: {words(result['split'], 500)}.",
        "- Classes: " + (", ".join(f"{words(k, 40)} {n:,}" for k, n in list(classes.items())[:20]) if classes else "none named") + ".",
        "- Groups:" + ("" if spread else " none named."),
        *spread,
        f"- Copies: {_one(made, 'duplicates', 'duplicates.across', 'duplicates.within')}",
        f"- Near copies: {_one(made, 'near', 'near.across', 'near.within')}",
        f"- Labels: {_one(made, 'labels', 'labels.block', 'labels.suspected')}",
        f"- Missing values: {_one(made, 'missing', 'missing.groups')}",
        f"- Personal data: {_one(made, 'personal', 'files.places')}",
        f"- Could a person be recognised? {_one(made, 'anonymity', 'anonymity.k')}",
        "",
        "## Collection",
        "",
        f"- How, when, from whom, with whose consent, under which review? {asked}.",
        "",
        "## Preprocessing",
        "",
        *[f"- {words(n, 400)}" for n in about["notes"] or ["as it was found"]],
        f"- Items that could not be read: {about['unreadable']:,}.",
        "",
        "## Uses",
        "",
        f"- What must it not be used for? {asked}.",
        f"- What the label can be told from without the content: {_one(made, 'shortcuts', 'shortcuts.nuisances', 'shortcuts.spot')}",
        "",
        "## Distribution and maintenance",
        "",
        f"- Licence, contact, corrections, how to have an item removed: {asked}; `tacit forget` removes items from a model.",
        "",
        *_end(result),
    ]
    return "\n".join(lines) + "\n"


def _found(result: Mapping[str, Any]) -> list[str]:
    wrong = [f for f in result["findings"] if f["severity"] != "fine"]
    if not wrong:
        return ["Nothing that is wrong, of what was looked at."]
    return [f"- **{f['severity']}** ({f['name']}, n = {f['n']:,}): {words(f['said'], 600)}" for f in wrong]


def _groups(result: Mapping[str, Any]) -> list[str]:
    from tacit.report.audited import tables

    out = []
    for t in tables(result):
        out += [f"### By {t['attribute']}", "", "| group | n | " + " | ".join(c[1] for c in t["columns"]) + " |"]
        out.append("| --- | --- |" + " --- |" * len(t["columns"]))
        for g in t["groups"]:
            cells = [f"{g[c]:.3f}" if isinstance(g.get(c), float) else "" for c, _ in t["columns"]]
            out.append(f"| {words(g['group'], 40).replace('|', '/')} | {g['n']:,} | " + " | ".join(cells) + " |")
        out.append("")
    return out


def _objectives(result: Mapping[str, Any]) -> list[str]:
    policy = result.get("policy")
    if not policy:
        return []
    rows = [f"- {o['state']}: {words(o['said'], 400)}" for o in policy["objectives"]]
    return [f"## Objectives, decided by {policy['decided_by']} on {policy['decided_on']}", "", *rows, ""]


def _end(result: Mapping[str, Any]) -> list[str]:
    failed = [words(o["said"], 400) for o in (result.get("policy") or {}).get("objectives", []) if o["state"] == "failed"]
    failed += [words(f["said"], 400) for f in result["findings"] if f["severity"] == "high"]
    unchecked = [f"{u['check']}: {words(u['why'], 300)}" for u in result["unchecked"]]
    rows = [f"| {d['name']} | {d['where']} | {d['measured']} | {d['lacking']} |" for d in duties(result)]
    reviewer = (result.get("policy") or {}).get("reviewer") or "____________________"
    return [
        "## Failed",
        "",
        *([f"- {line}" for line in failed] or ["Nothing."]),
        "",
        "## Not checked",
        "",
        *([f"- {line}" for line in unchecked] or ["Everything that there is a check for was looked at."]),
        "- Whether the labels mean what the decision needs; whether the data stands for the people it is used on; law.",
        "",
        "## What was measured of what is usually asked for",
        "",
        "This table claims no compliance.",
        "",
        "| requirement | asked for by | measured | not checked |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        "## Review",
        "",
        f"Reviewed by: {reviewer}    Date: ____________    Signature: ____________________",
    ]


def _one(made: Mapping[str, Any], *names: str) -> str:
    found = [made[n] for n in names if n in made]
    return "; ".join(words(f["said"], 400) for f in found) + "." if found else "not checked."


def _private(result: Mapping[str, Any]) -> str:
    e = result.get("epsilon")
    if not e:
        return "no differential privacy: nothing bounds what the weights give away of a single item."
    return f"differentially private training, epsilon {e['epsilon']:.2f} at delta {e['delta']:.1e}, for the weights alone."


def _read(path: Path) -> dict[str, Any]:
    try:
        held = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}
