"""`map`: all items of a run on one map, each with its picture, text or sound and its nearest neighbours, for embedding-atlas."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tacit import registry
from tacit.api import Say
from tacit.data import splits
from tacit.data.dataset import Dataset
from tacit.embedding.model import load
from tacit.embedding.prepare import named
from tacit.embedding.store import described, write_columns
from tacit.errors import Asked, MissingExtra, TacitError
from tacit.explainers import groups
from tacit.finetuning.decider import is_decider
from tacit.operate.artefact import ABOUT
from tacit.origin import held, opened_run, training_data
from tacit.report.map import faithful
from tacit.runtime import choose_device, commit
from tacit.tabular import cell
from tacit.training.run import write_json

NEAR = 15
MOST = 20_000  # items on the map
JUDGED = 2000  # items that say how faithful it is
CHARACTERS = 5000  # of a text
SIDE = 64  # pixels of a picture's short side
COLUMNS = 30  # of a table
OWN = ("x", "y", "picture", "text", "sound", "__neighbors")  # columns of ours
PROJECTIONS = ("umap", "pca")
NAMED = 40  # classes that are named on the map
# older versions know no --state: they start with their own first page
LAUNCH = """
import sys
from embedding_atlas.cli import main
known = {o for p in main.params for o in p.opts}
words = sys.argv[1:]
if "--state" not in known:
    at = words.index("--state")
    del words[at : at + 2]
main(words)
"""


@dataclass(frozen=True)
class Atlas:
    """path: the Parquet: id, label, group, split, x, y, __neighbors, and the item. shown: which columns show it, of picture, text and
    sound. result: how it was drawn and how faithful it is, as plain JSON."""

    path: Path
    shown: tuple[str, ...]
    result: dict[str, Any]

    @property
    def labels(self) -> Path:
        """Words on the map: how faithful it is, and the names of the classes or groups."""
        return self.path.with_name("labels.parquet")

    @property
    def state(self) -> Path:
        """What the viewer shows at its start."""
        return self.path.with_name("state.json")

    def command(self) -> list[str]:
        """Arguments of embedding-atlas."""
        named = [w for column, option in (("picture", "--image"), ("text", "--text")) if column in self.shown for w in (option, column)]
        axes = ["--x", "x", "--y", "y", "--neighbors", "__neighbors", "--disable-projection"]
        return [str(self.path), *axes, *named, "--labels", str(self.labels), "--state", str(self.state)]


def atlas(
    run: str | Path,
    data: Any = None,
    *,
    how: str | None = None,
    most: int = MOST,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    say: Say | None = None,
) -> Atlas:
    """Write the map of a run's embedding to RUN/map/items.parquet, with what `Atlas.command` needs to open it.

    run: a run folder. data: a path, an array or open data, None = what the run learned from. how: umap or pca, None = UMAP where it is
    installed. most: items on the map; of more every n-th. Raises Asked where there are fewer than three items or all are the same.
    """
    say = say or (lambda words: None)
    path, given = Path(run), dict(options or {})
    if how is not None and how not in PROJECTIONS:
        raise Asked(f"--how {how} is no way of drawing a map", f"one of {', '.join(PROJECTIONS)}")
    if most < 3:
        raise Asked(f"--most {most}: that is no map", "give 3 or more")
    if data is not None:
        path, net, items = opened_run(run, data, given, say)
    else:
        if (path / ABOUT).is_file() or is_decider(path):
            raise Asked(f"{path} does not say what it learned from", f"name the data: tacit map {path} DATA")
        net = load(path, choose_device().value)
        try:
            items = training_data(net, path, None, given, say)
        except Asked as error:
            raise Asked(error.message, f"name the data: tacit map {path} DATA") from None
    rows = np.arange(0, len(items), max(1, -(-len(items) // most)))
    if len(rows) < 3:
        raise Asked(f"{items.path} has {len(rows)} items, too few for a map")
    say(f"embedding {len(rows):,} items\r")
    z = net.vectors(*held(items, rows)).astype(np.float64)
    z = z - z.mean(0)  # the direction that all items share is no neighbourhood
    unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    if unit.std(0).max() < 1e-9:
        raise Asked("all items have the same embedding", "there is nothing to map: see the health of the run")
    say("drawing the map\r")
    flat, drawn = projected(unit, how, seed)
    ids, far = neighbours(unit)
    some = np.sort(np.random.default_rng(seed).permutation(len(unit))[:JUDGED])
    trust, kept, k = faithful(unit[some], flat[some])
    columns = _columns(items, rows)
    shown = tuple(c for c in ("picture", "text", "sound") if c in columns)
    columns |= {"x": flat[:, 0], "y": flat[:, 1], "__neighbors": _arrow_neighbours(ids, far)}
    about: dict[str, Any] = {"run": str(path), "data": items.path, "fingerprint": items.fingerprint, "commit": commit(), "seed": seed}
    about |= {"items": len(rows), "of": len(items), "method": drawn, "k": k, "judged_on": len(some)}
    about |= {"trustworthiness": trust, "continuity": kept}
    made = Atlas(write_columns(columns, path / "map" / "items.parquet"), shown, about)
    write_columns(_words(items, rows, z, flat, titled(about), seed), made.labels)
    write_json(path / "map" / "map.json", about)
    write_json(made.state, {"charts": _charts(columns, titled(about))})
    return made


def titled(about: Mapping[str, Any]) -> str:
    """What stands on the map: how it was drawn and how faithful it is."""
    if about["trustworthiness"] is None:
        return f"{about['method']}, too few items to say how faithful it is"
    measured = f"trustworthiness {about['trustworthiness']:.3f}, continuity {about['continuity']:.3f}"
    return f"{about['method']}: {measured} (k = {about['k']}, n = {about['judged_on']:,})"


def projected(unit: np.ndarray, how: str | None = None, seed: int = 0) -> tuple[np.ndarray, str]:
    """Directions [n, D] as places [n, 2], and by what they were drawn. how: umap, pca, None = UMAP where it is installed."""
    there = importlib.util.find_spec("umap") is not None
    if how == "umap" and not there:
        raise MissingExtra("umap-learn", "map", "--how umap")
    if how == "umap" or (how is None and there and len(unit) >= 30):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a seed takes one thread
            from umap import UMAP

            made = UMAP(n_neighbors=min(NEAR, len(unit) - 1), metric="cosine", random_state=seed, n_jobs=1)
            return np.asarray(made.fit_transform(unit), np.float64), "UMAP"
    from sklearn.decomposition import PCA

    flat = PCA(min(2, *unit.shape), svd_solver="full").fit_transform(unit)
    return np.column_stack([flat, np.zeros(len(unit))])[:, :2], "PCA"


def neighbours(unit: np.ndarray, k: int = NEAR, block: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Rows int64 [n, k] of the nearest others by cosine, the nearest first, and their distances 1 - cosine [n, k]."""
    k = min(k, len(unit) - 1)
    ids, far = [], []
    for i in range(0, len(unit), block):
        cosine = unit[i : i + block] @ unit.T
        cosine[np.arange(len(cosine)), np.arange(i, i + len(cosine))] = -np.inf
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(cosine, near, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        ids.append(np.take_along_axis(near, order, 1))
        far.append(1 - np.take_along_axis(values, order, 1))
    return np.concatenate(ids), np.concatenate(far)


def open_in_viewer(made: Atlas, *, port: int | None = None, export: Path | None = None) -> int:
    """Show a map in embedding-atlas until it is interrupted, or write it as a web page (`export`: a folder or a .zip).

    Returns the exit code. Raises MissingExtra where embedding-atlas is not installed.
    """
    if importlib.util.find_spec("embedding_atlas") is None:
        raise MissingExtra("embedding-atlas", "map", "opening a map")
    more = ["--export-application", str(export)] if export else ["--port", str(port)] if port else []
    start = [sys.executable, "-c", LAUNCH]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run([*start, *made.command(), *more], env=offline, stdout=2)
    if export and done.returncode:
        raise TacitError(f"embedding-atlas could not write {export}", "its words stand above; the map itself is in " + str(made.path))
    return done.returncode


def _columns(items: Dataset, rows: np.ndarray) -> dict[str, Any]:
    """Arrow columns that show each item: its name, label, group and split, and its picture, text, sound or values."""
    import pyarrow as pa

    whole = described(named(items, np.zeros((len(items), 0), np.float32)))
    columns: dict[str, Any] = {k: v.take(pa.array(rows)) for k, v in whole.items()}
    columns["split"] = pa.array([splits.NAMES[s] for s in items.split[rows]])
    kind = registry.find("modalities", items.modality)
    if items.raws is not None:
        wanted = set(rows.tolist())
        columns["text"] = pa.array([t[:CHARACTERS] for i, t in enumerate(items.raws()) if i in wanted])
    elif items.spec.modality == "table":
        for f, column in enumerate(items.spec.extra["columns"][:COLUMNS]):
            x = np.asarray(items.x[rows, f], np.float64)
            name = column["name"] if column["name"] not in {*columns, *OWN} else f"{column['name']} (column)"
            plain = "values" not in column and column["kind"] != "date"
            columns[name] = pa.array(x, from_pandas=True) if plain else pa.array([cell(column, float(v)) for v in x])
    else:
        heard = [kind.played(items[int(r)], items.spec) for r in rows]
        if any(heard):
            columns["sound"] = _held(heard, "wav")
        pictures = [kind.picture(items[int(r)], items.spec, SIDE) for r in rows]
        if any(pictures):
            columns["picture"] = _held(pictures, "png")
    return columns


def _held(files: list[bytes | None], ending: str) -> Any:
    """Files as the viewer knows a picture or a sound: their bytes, and a name with the ending."""
    import pyarrow as pa

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": f, "path": f"{i}.{ending}"} for i, f in enumerate(files)], kind)


def _words(items: Dataset, rows: np.ndarray, z: np.ndarray, flat: np.ndarray, title: str, seed: int) -> dict[str, Any]:
    """What stands on the map: its title high up, and in the middle of each class its name, or of each group what sets it apart."""
    import pyarrow as pa

    across, up = flat.mean(0) + [0, 1.4] * flat.std(0)  # where the first look is sure to be
    placed = [(float(across), float(up), title)]
    if items.labels is not None and 1 < len(items.classes) <= NAMED:
        group, names = items.labels[rows], [str(c) for c in items.classes]
    elif items.raws is not None or items.spec.modality == "table":
        group, found = groups.of_data(items, rows, z, 0, seed)[:2]
        names = [g.apart[0].partition(" (")[0] if g.apart else "" for g in found]
    else:
        group, names = np.full(len(rows), -1), []
    for k, name in enumerate(names):
        if name and (group == k).any():
            across, up = np.median(flat[group == k], 0)
            placed.append((float(across), float(up), name))
    x, y, text = zip(*placed, strict=True)
    first = [0] * len(x)
    return {"x": pa.array(x), "y": pa.array(y), "text": pa.array(text), "level": pa.array(first), "priority": pa.array([2, *first[1:]])}


def _arrow_neighbours(ids: np.ndarray, far: np.ndarray) -> Any:
    import pyarrow as pa

    return pa.array([{"ids": i.tolist(), "distances": d.tolist()} for i, d in zip(ids, far, strict=True)])


def _charts(columns: Mapping[str, Any], title: str) -> dict[str, Any]:
    """The viewer's first page: the map under its own title, coloured by label, and the list of items."""
    axes = {"x": "x", "y": "y", **({"text": "text"} if "text" in columns else {}), **({"category": "label"} if "label" in columns else {})}
    charts: list[dict[str, Any]] = [
        {"type": "embedding", "title": title, "data": axes},
        {"type": "predicates", "title": "SQL Predicates"},
        {"type": "instances", "title": "Items"},
    ]
    counted = [c for c in ("label", "group", "split") if c in columns]
    charts += [{"type": "count-plot", "title": c, "data": {"field": c}} for c in counted]
    return {str(i + 1): c for i, c in enumerate(charts)}
