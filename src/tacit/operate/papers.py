"""What goes along with an exported model for people: a card, and the packages that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tacit.deciding import Knowledge

NEEDS = ("numpy", "pillow", "platformdirs", "pyarrow", "pydantic", "rich", "typer")


def requirements(about: Mapping[str, Any], data: str) -> str:
    """requirements.txt: what the target machine needs beside tacit itself, in the versions in use here.

    about: what artefact.json says. data: path of the items that the gates looked at.
    """
    library = {"hf": ["transformers"], "timm": ["timm"]}.get(about["config"]["backbone"]["name"], [])
    runs = ["torch", "safetensors", *library] if about["graph"] is None else ["onnxruntime"]
    more = ["scikit-learn"] if data.startswith("builtin:") else []
    more += {"text": ["tokenizers"], "audio": ["soundfile", "soxr"]}.get(about["spec"]["modality"], [])
    lines = [f"# beside tacit itself: pip install --no-deps tacit=={about['tacit']}"]
    return "\n".join([*lines, *(f"{name}=={_version(name)}" for name in sorted([*NEEDS, *runs, *more]))]) + "\n"


def _version(name: str) -> str:
    try:
        return version(name).split("+")[0]  # a build for one machine is none that others can install
    except PackageNotFoundError:
        return "*"


def card(name: str, about: Mapping[str, Any], knowledge: Knowledge | None) -> str:
    """CARD.md: what this is, from what it was made, what was checked, and what nobody knows.

    name: of the folder. about: what artefact.json says. knowledge: what decides, None = the model only embeds.
    """
    gates = "\n".join(f"- {g['words']}" for g in about["gates"])
    times = "\n".join(f"- a batch of {t['batch']}: {t['p50_ms']:.3g} ms, p95 {t['p95_ms']:.3g} ms" for t in about["latency"]["after"])
    seen = {None: "not known", True: "yes", False: "no"}[about["config"].get("labels_seen")]
    does = "embeds items" if knowledge is None else f"embeds items and decides ({knowledge.name})"
    classes = "" if knowledge is None or not knowledge.head.classes else f"\n- Classes: {', '.join(knowledge.head.classes[:50])}"
    return f"""# {name}

A model of {about["spec"]["modality"]} data that {does}: vectors of {about["dim"]} numbers. Exported to `{about["to"]}` with Tacit
{about["tacit"]} on {about["created"][:10]} from `{about["source"]["id"]}` (weights {about["source"]["model"]}).
{classes}
- It ignores: {about["config"].get("ignores") or "not recorded"}
- Labels read while it was pretrained: {seen}

## Use

`pip install --no-deps tacit=={about["tacit"]}`, `pip install -r requirements.txt`, then `tacit embed {name} DATA --out vectors.parquet`
{"" if knowledge is None else f"or `tacit predict {name} DATA --out decisions.csv`, "}or in Python `tacit.load("{name}").embed(DATA)`.

## Checked on {about["data"]["items"]} items of `{about["data"]["name"]}`

{gates}

Latency where it was exported:
{times}

## Not known

Fairness, privacy, and behaviour on other data than this.

## To be written by whoever releases it

- Intended use, and uses that are not intended:
- Where the data comes from, and whether it may be used for this:
- Who answers for it:
"""
