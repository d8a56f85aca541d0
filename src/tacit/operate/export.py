"""Ship it: one folder with the model, what it needs to decide, and the proof that it is still the same model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import from_numpy

from tacit import __version__
from tacit.data import dataset
from tacit.data.dataset import REMEMBERED, Dataset
from tacit.embedding.prepare import prepare
from tacit.errors import Asked, GateFailed, TacitError, nearest
from tacit.operate import gates as checks
from tacit.operate import papers
from tacit.operate.artefact import ABOUT, FORMAT, Artefact, Engine, Onnx, digest, sha256
from tacit.operate.gates import Gate
from tacit.operate.graph import LEAST, Graph, export_onnx
from tacit.operate.quantise import quantise
from tacit.operate.source import Source, read

KINDS = {
    "onnx": "float32, for onnxruntime",
    "int8": "the weights of large layers in 8 bits, for onnxruntime",
    "torch": "the weights alone, for torch",
}
ITEMS = 256  # that the gates look at, and as many others by which int8 is calibrated


@dataclass(frozen=True)
class Exported:
    """An artefact: its folder, the gates that it passed, and milliseconds a batch {"before", "after"}."""

    path: Path
    gates: list[Gate]
    latency: dict[str, Any]


def export(
    source: str | Path,
    to: str,
    out: str | Path,
    data: Any = None,
    options: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
    *,
    trust: bool = False,
) -> Exported:
    """Write a model as one folder that runs elsewhere, after every gate has passed on real items.

    source: a run, a model, or a fine-tuned model. to: "onnx", "int8" or "torch". out: the folder, which does not exist yet. data: real
    items, None = those that the model was trained on. options: for opening them. say: called with a line for every gate.
    trust: run the plug-ins that the model names even if they are files.
    Raises GateFailed, and leaves nothing, when a gate says no; Asked for what cannot be meant; TacitError for an operator that ONNX lacks.
    """
    source, out, say = Path(source), Path(out), say or (lambda words: None)
    if to not in KINDS:
        raise Asked(f"there is no form {to!r} to export to", nearest(to, KINDS))
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise Asked(f"{out} exists already", "choose another --out")
    if (source / ABOUT).is_file():
        raise Asked(f"{source} is an exported model already", "give the run that it was made from")
    found = read(source, trust=trust)
    items = _items(source, found, data, options or {}, say)
    rows, others = _rows(items)
    say(f"writing {source} as {to}: {KINDS[to]}")
    with _beside(out) as folder:
        found.save(folder)
        graph = _write(found.graph, to, folder, items, others)
        after: Engine = read(folder, trust=trust).graph if graph is None else Onnx(folder / graph["file"], graph)
        x, lengths = _taken(items, rows)
        labels = None if items.labels is None or items.labels.ndim > 1 else items.labels[rows]
        limits = checks.COARSE if to == "int8" else checks.EXACT
        passed = checks.measure(found.graph, after, x, lengths, labels, limits=limits, knowledge=found.knowledge)
        for gate in passed:
            say(f"{'passed' if gate.passed else 'FAILED'}: {gate.words}")
        if failed := [g for g in passed if not g.passed]:
            hint = "use --to onnx" if to == "int8" else "this is a fault of the export or of a plug-in: compare the two"
            raise GateFailed("\n".join(["it is not the same model any more", *(f"  {g.name}: {g.words}" for g in failed)]), hint)
        latency = {name: checks.latency(engine, x, lengths) for name, engine in (("before", found.graph), ("after", after))}
        for old, new in zip(latency["before"], latency["after"], strict=True):
            say(f"latency of {new['batch']}: {new['p50_ms']:.3g} ms (p95 {new['p95_ms']:.3g}), before {old['p50_ms']:.3g} ms")
        about = {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "tacit": __version__,
            "to": to,
            "source": {"id": _id(source), "model": _digest(source)},
            "spec": {**asdict(found.graph.spec), "extra": dict(found.graph.spec.extra)},
            "dim": found.graph.model.dim,
            "config": dict(found.config),
            "graph": graph,
            "data": {"name": Path(items.path).name, "fingerprint": items.fingerprint, "items": len(rows), "calibration": len(others)},
            "gates": [asdict(g) for g in passed],
            "latency": latency,
        }
        (folder / "CARD.md").write_text(papers.card(out.name, about, found.knowledge), encoding="utf-8")
        (folder / "requirements.txt").write_text(papers.requirements(about, items.path), encoding="utf-8")
        _seal(folder, about)
        Artefact.open(folder)
    return Exported(out, passed, latency)


def _write(graph: Graph, to: str, folder: Path, items: Dataset, others: np.ndarray) -> dict[str, Any] | None:
    """The graph's file, and what has to be known of it; None where torch runs the model itself."""
    if to == "torch":
        return None
    file = folder / "model.onnx"
    example, _ = _taken(items, np.arange(1))
    export_onnx(graph, from_numpy(example[0]), file)
    about = {"file": file.name, "step": graph.step, "least": LEAST * graph.step, **_signature(file)}
    if to == "int8":
        float32 = Onnx(file, about)
        small = folder / "model_int8.onnx"
        feeds = (float32.feed(*_taken(items, others[i : i + 32])) for i in range(0, len(others), 32))
        about |= {"file": small.name, "float32_layers": quantise(file, small, feeds)}
        file.unlink()
    return about


def _signature(file: Path) -> dict[str, Any]:
    """Names, types and shapes of a graph's inputs and outputs; sizes that are free have a name."""
    import onnx

    graph = onnx.load(file).graph

    def said(value: Any) -> dict[str, Any]:
        kind = value.type.tensor_type
        shape = [d.dim_param or d.dim_value for d in kind.shape.dim]
        return {"name": value.name, "type": onnx.TensorProto.DataType.Name(kind.elem_type).lower(), "shape": shape}

    return {"inputs": [said(v) for v in graph.input], "outputs": [said(v) for v in graph.output]}


def _items(source: Path, found: Source, data: Any, options: Mapping[str, Any], say: Callable[[str], None]) -> Dataset:
    """Real items, decoded for the model. Raises Asked where it is not known what it was trained on."""
    spec = found.graph.spec
    place, kept = _own(source) if data is None else (data, {})
    if isinstance(place, (str, Path)):
        given = {k: v for k, v in {**kept, **options}.items() if v is not None}
        try:
            place = dataset.open(str(place), modality=spec.modality, spec=spec, say=say, **given)
        except Asked as error:
            raise (
                error if data is not None else Asked(f"what it was trained on is gone: {error.message}", "name real items with --data")
            ) from None
    return prepare(place, spec)


def _own(source: Path) -> tuple[str, dict[str, Any]]:
    """Path of the data that a model was trained on, and how it was opened."""
    for name in ("data.json", "decider.json"):
        if (source / name).is_file():
            try:
                own = json.loads((source / name).read_text(encoding="utf-8"))
                place = own.get("place") or own.get("path") or own["data"]
                return str(place), {k: v for k, v in (own.get("options") or {}).items() if k in REMEMBERED}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise TacitError(f"{source / name} cannot be read: {error}", "name real items with --data") from error
    raise Asked(f"what {source} was trained on is not known, and the gates need real items", "name some with --data")


def _rows(items: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Items for the gates, held-out ones first, and others to calibrate with (the same where there are no others)."""
    draw = np.random.default_rng(0)
    held = set(items.test.tolist())
    order = sorted(draw.permutation(len(items)).tolist(), key=lambda row: row not in held)
    rows, others = order[:ITEMS], order[ITEMS:][::-1][:ITEMS]
    return np.sort(rows), np.sort(others or rows)


def _taken(items: Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Some decoded items, and their lengths where they differ."""
    return np.ascontiguousarray(items.x[rows]), None if items.lengths is None else items.lengths[rows]


def _id(source: Path) -> str:
    """The run's name."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads((source / "run.json").read_text(encoding="utf-8")).get("id") or source.resolve().name)
    return source.resolve().name


def _digest(source: Path) -> str:
    """Hash of the weights that were exported, as evaluations name them."""
    file = source / "model" / "model.safetensors"
    file = file if file.is_file() else source / "model.safetensors"
    return hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()


def _seal(folder: Path, about: dict[str, Any]) -> None:
    """Write artefact.json with the hash of every file, and of itself."""
    about["files"] = {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    about["hash"] = digest(about)
    (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder beside `out`, which takes its place when all went well, and is gone otherwise."""
    folder = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        yield folder
        os.replace(folder, out)
    except OSError as error:
        raise TacitError(f"{out} cannot be written: {error.strerror or error}", "free some space or choose another --out") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
