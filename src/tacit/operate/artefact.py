"""A model that left: one folder of plain files, checked by their hashes, that runs with onnxruntime and without torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from tacit.data.dataset import Dataset
from tacit.deciding import Knowledge
from tacit.embedding.prepare import named, prepare
from tacit.errors import Asked, MissingExtra, TacitError
from tacit.head import together
from tacit.types import Embeddings, Spec

FORMAT = 1
ABOUT = "artefact.json"
AGAIN = "copy it again, or export anew"


class Engine(Protocol):
    """What computes."""

    def run(self, x: np.ndarray, lengths: np.ndarray | None) -> list[np.ndarray]:
        """One batch of decoded items -> embeddings [B, D] and, with a head, its outputs."""
        ...


class Artefact:
    """An exported model: it embeds data and, with a head, decides.

    path: its folder. about: what artefact.json says.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self.path, self.about = path, dict(about)
        raw = about["spec"]
        sizes, mean, std = (tuple(raw[k]) for k in ("sizes", "mean", "std"))
        self.spec = Spec(raw["modality"], int(raw["channels"]), sizes, mean, std, bool(raw["ragged"]), raw["extra"])

    @classmethod
    def open(cls, path: str | Path) -> Artefact:
        """Check every file against its hash. Raises Asked where there is no artefact, TacitError where one is damaged or too new."""
        path = Path(path)
        file = path / ABOUT
        if not file.is_file():
            raise Asked(f"{path} holds no exported model", "make one with `tacit export RUN --to onnx --out DIR`")
        try:
            about = json.loads(file.read_text(encoding="utf-8"))
            if int(about["format"]) > FORMAT:
                written = f"the artefact {path} has format {about['format']}, and this version of tacit reads up to {FORMAT}"
                raise TacitError(written, "pip install --upgrade tacit")
            if about["hash"] != digest(about):
                raise TacitError(f"{file} was changed after the export", AGAIN)
            for name, want in about["files"].items():
                _verify(path, name, want)
            return cls(path, about)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
            raise TacitError(f"{file} is damaged: {said}", AGAIN) from error

    @property
    def dim(self) -> int:
        """Width of the embedding."""
        return int(self.about["dim"])

    @property
    def config(self) -> dict[str, Any]:
        """How the encoder was trained."""
        return dict(self.about["config"])

    @cached_property
    def knowledge(self) -> Knowledge | None:
        """What turns outputs into decisions, None where the model only embeds."""
        return Knowledge.read(self.path) if "decider.json" in self.about["files"] else None

    @cached_property
    def engine(self) -> Engine:
        """What computes, loaded at its first use."""
        graph = self.about["graph"]
        return _torch(self.path) if graph is None else Onnx(self.path / _inside(self.path, graph["file"]), graph)

    def outputs(self, x: np.ndarray, lengths: np.ndarray | None = None, batch: int = 64) -> tuple[np.ndarray, np.ndarray | None]:
        """Embeddings float32 [N, D] and, with a head, its outputs [N, K] or [N, M, K] of decoded items; lengths: of ragged items."""
        return outputs(self.engine, x, lengths, batch)

    def vectors(self, x: np.ndarray, lengths: np.ndarray | None = None, batch: int = 64) -> np.ndarray:
        """Embeddings float32 [N, D] of decoded items; lengths: of ragged items, in samples."""
        return self.outputs(x, lengths, batch)[0]

    def embed(self, data: Any) -> Embeddings:
        """Vectors with ids, labels and the groups' names, in the order of the data: a Dataset, a path, file paths, or an array."""
        data = self.prepare(data)
        return named(data, self.vectors(data.x, data.lengths))

    def prepare(self, data: Any) -> Dataset:
        """Any data as a Dataset decoded the way this model was trained."""
        return prepare(data, self.spec)


class Onnx:
    """A graph with onnxruntime.

    about: {"step", "least"} samples: lengths are multiples of one and at least the other; {"inputs"}: their names and shapes.
    Raises MissingExtra without onnxruntime.
    """

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        try:
            import onnxruntime as ort
        except ModuleNotFoundError as error:
            raise MissingExtra("onnxruntime", "export", "running an exported model") from error
        self.step, self.least = int(about["step"]), int(about["least"])
        self.shape = tuple(about["inputs"][0]["shape"][1:])
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)  # 0 = as many as there are
        try:
            self.session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has exceptions of its own, which are no public names
            raise TacitError(
                f"{file} cannot be run: {error}", "a newer onnxruntime may read it: pip install --upgrade onnxruntime"
            ) from error
        self.any_length = len(self.session.get_inputs()) > 1
        # the outputs of a head for every feature follow the length of the item
        self.follows = [len(o.shape) == 3 and isinstance(o.shape[1], str) for o in self.session.get_outputs()]

    def feed(self, x: np.ndarray, lengths: np.ndarray | None) -> dict[str, np.ndarray]:
        """The graph's inputs. Raises Asked for items of a size that it does not take."""
        if self.any_length:
            filled, valid = padded(x, lengths, self.step, self.least)
            return {"x": filled, "valid": valid}
        if x.shape[1:] != self.shape:
            shown = [" x ".join(map(str, s)) for s in (self.shape, x.shape[1:])]
            raise Asked(f"this model takes items of {shown[0]}, these have {shown[1]}", "give it items of that size")
        return {"x": x}

    def run(self, x: np.ndarray, lengths: np.ndarray | None) -> list[np.ndarray]:
        """One batch of decoded items."""
        found = self.session.run(None, self.feed(x, lengths))
        cells = -(-x.shape[-1] // self.step)
        return [np.asarray(f[:, :cells] if cut else f) for f, cut in zip(found, self.follows, strict=True)]


def outputs(engine: Engine, x: np.ndarray, lengths: np.ndarray | None = None, batch: int = 64) -> tuple[np.ndarray, np.ndarray | None]:
    """Embeddings float32 [N, D] and, with a head, its outputs of decoded items [N, C, *S], a batch at a time; lengths: of ragged items."""
    parts = []
    batch = max(1, min(batch, 2**24 // max(1, int(np.prod(x.shape[1:])))))  # long series and large images stay within memory
    for i in range(0, len(x), batch):
        parts.append(engine.run(np.ascontiguousarray(x[i : i + batch]), None if lengths is None else lengths[i : i + batch]))
    if not parts:  # of no item, too, the width is known; onnxruntime does not survive an empty batch
        parts.append([out[:0] for out in engine.run(np.zeros((1, *x.shape[1:]), x.dtype), None)])
    whole = [together(each) for each in zip(*parts, strict=True)]
    return whole[0], whole[1] if len(whole) > 1 else None


def padded(x: np.ndarray, lengths: np.ndarray | None, step: int, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Items [B, C, T] at a length that a graph takes, and which samples exist, bool [B, T]; padding changes nothing."""
    t = x.shape[-1]
    size = max(least, -(-t // step) * step)
    own = np.full(len(x), t) if lengths is None else lengths
    return np.pad(x, ((0, 0), (0, 0), (0, size - t))), np.arange(size) < own[:, None]


def sha256(file: Path) -> str:
    """Hash of a file's content."""
    with file.open("rb") as held:
        return hashlib.file_digest(held, "sha256").hexdigest()


def digest(about: Mapping[str, Any]) -> str:
    """Hash of everything else that artefact.json says."""
    plain = {k: v for k, v in about.items() if k != "hash"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _inside(folder: Path, name: Any) -> str:
    """A file's name, which lies in the folder. Raises TacitError."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise TacitError(f"{folder / ABOUT} names {name!r}, which lies outside of the artefact", "do not use it")
    return str(name)


def _verify(folder: Path, name: str, want: str) -> None:
    file = folder / _inside(folder, name)
    if not file.is_file():
        raise TacitError(f"the artefact {folder} lacks its file {name}", AGAIN)
    if sha256(file) != want:
        raise TacitError(f"{file} was changed after the export", AGAIN)


def _torch(folder: Path) -> Engine:
    try:
        from tacit.operate.source import read
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise TacitError(
            f"{folder} was exported with --to torch, which is not installed here", "pip install torch, or export it --to onnx"
        ) from error
    return read(folder).graph
