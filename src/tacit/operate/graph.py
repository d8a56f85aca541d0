"""What leaves as ONNX: stored values in, the embedding and what a head makes of the item out."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tacit.embedding.model import Model
from tacit.errors import MissingExtra, TacitError
from tacit.layers import exporting
from tacit.operate.quiet import quiet
from tacit.types import Batch

LEAST = 2  # cells of an exported item at least: a size of 1 would be taken for fixed
LONGEST = 2**20  # cells of an exported item at most


class Graph(nn.Module):
    """Stored values to the embedding and, with a head, to its output; float32, nothing random.

    model: gives the embedding. decide: takes the batch of decoded items, gives [B, K], or [B, M, K] for every feature; None = no head.
    """

    def __init__(self, model: Model, decide: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.decide = model, decide
        self.float().eval()

    @property
    def spec(self) -> Any:
        """The spec of the data."""
        return self.model.spec

    @property
    def any_length(self) -> bool:
        """Whether items may differ in length: then `forward` is told which samples exist."""
        return len(self.spec.sizes) == 1 and "ragged" in self.model.encoder.can

    @property
    def step(self) -> int:
        """Lengths of items are multiples of this many samples; items are padded to it, which changes nothing."""
        return self.model.modality.samples_of(self.model.encoder.cell) if self.any_length else 1

    def forward(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, ...]:
        """x uint8 or float32 [B, C, *S]; valid bool [B, T], False = padding -> embedding [B, D] and, with a head, its output."""
        batch = Batch(self.model.modality.load(x), torch.arange(x.shape[0], device=x.device), valid)
        z = self.model.read(batch)
        return (z,) if self.decide is None else (z, self.decide(batch).float())

    @torch.no_grad()
    def run(self, x: np.ndarray, lengths: np.ndarray | None) -> list[np.ndarray]:
        """One batch of decoded items [B, C, *S]; lengths: of ragged items, in samples."""
        valid = None if lengths is None else torch.arange(x.shape[-1]) < torch.from_numpy(lengths)[:, None]
        return [out.float().numpy() for out in self(torch.from_numpy(np.array(x)), valid)]


def export_onnx(graph: Graph, x: Tensor, path: Path) -> None:
    """Write a graph as ONNX for batches of any size and, where the network takes them, items of any length.

    x: one stored item [C, *S] as an example. Raises TacitError, which names the operator and its layer, for what ONNX does not have, and
    MissingExtra.
    """
    for package in ("onnx", "onnxscript"):
        _needed(package)
    written = _recurrent(copy.deepcopy(graph)).cpu()
    inputs, names, shapes = _example(graph, x)
    out = ["item_vector", "head_output"][: 1 if graph.decide is None else 2]  # no names of operators, which values inside have
    program = None
    with quiet(), torch.no_grad():
        try:
            # in two steps: the exporter alone would make a size fixed, without a word, where it cannot keep it free
            program = torch.export.export(written, inputs, dynamic_shapes=shapes, strict=False)
            options: dict[str, Any] = {
                "input_names": names,
                "output_names": out,
                "external_data": False,
                "dynamo": True,
                "custom_translation_table": _table(),
            }
            torch.onnx.export(program, inputs, path, **options)
        except Exception as error:  # the exporter raises what its many parts raise
            said = _said(error, program)
            raise TacitError(said, "export it with --to torch, which runs wherever torch does") from error
    for name, size in _fixed(path, names, shapes):
        said = f"the network fixes a size that has to be free: {name} is always {size}"
        raise TacitError(said, "export it with --to torch, which runs wherever torch does")


def _example(graph: Graph, x: Tensor) -> tuple[tuple[Tensor, ...], list[str], tuple[dict[int, Any], ...]]:
    """Inputs, their names and which of their sizes are free; two rows, because a size of 1 would be taken for fixed."""
    batch = torch.export.Dim("batch")
    if not graph.any_length:
        return (torch.stack([x, x]),), ["x"], ({0: batch},)
    step = graph.step
    cells = torch.export.Dim("cells", min=LEAST, max=LONGEST)
    time = step * cells if step > 1 else cells
    samples = 2 * LEAST * step
    item = x.repeat(1, -(-samples // x.shape[-1]))[:, :samples]
    valid = torch.arange(samples) < torch.tensor([[samples], [samples - 1]])
    return (torch.stack([item, item]), valid), ["x", "valid"], ({0: batch, 2: time}, {0: batch, 1: time})


class _Recurrent(nn.Module):
    """A GRU layer as the one operator that ONNX has for it: the exporter would unroll it over a fixed length."""

    def __init__(self, layer: nn.GRU) -> None:
        super().__init__()
        self.layer = layer
        w, r, bw, br = (self._gates(p.detach()) for p in layer.parameters())
        self.w, self.r, self.b = w[None], r[None], torch.cat([bw, br])[None]

    @staticmethod
    def _gates(p: Tensor) -> Tensor:
        """Reset, update, new as update, reset, new, which is ONNX's order."""
        reset, update, new = p.chunk(3)
        return torch.cat([update, reset, new])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """x [B, T, C] -> [B, T, D]; the last state is not given."""
        return (_gru()(x, self.w, self.r, self.b), None) if exporting() else self.layer(x)


@cache
def _gru() -> Any:
    """The operator that stands for a GRU layer while a graph is written; it has no code of its own."""
    torch.library.define("tacit::gru", "(Tensor x, Tensor w, Tensor r, Tensor b) -> Tensor")
    torch.library.register_fake("tacit::gru", lambda x, w, r, b: x.new_empty(x.shape[0], x.shape[1], r.shape[-1]))
    return torch.ops.tacit.gru.default


def _table() -> dict[Any, Any]:
    """How operators of ours are written in ONNX."""
    from onnxscript import opset18 as op

    def gru(x: Any, w: Any, r: Any, b: Any) -> Any:
        states, _ = op.GRU(op.Transpose(x, perm=[1, 0, 2]), w, r, b, hidden_size=int(r.shape[-1]), linear_before_reset=1)
        one: Any = op.Constant(value_ints=[1])
        return op.Transpose(op.Squeeze(states, one), perm=[1, 0, 2])

    return {_gru(): gru}


def _recurrent(graph: Graph) -> Graph:
    """The same graph with every GRU layer replaced."""
    for module in list(graph.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GRU) and child.num_layers == 1 and child.batch_first and child.bias and not child.bidirectional:
                setattr(module, name, _Recurrent(child))
    return graph


def _fixed(path: Path, names: Sequence[str], shapes: Sequence[Mapping[int, Any]]) -> list[tuple[str, str]]:
    """Sizes that should be free in what was written and are not: (which, size)."""
    import onnx

    dims = {i.name: i.type.tensor_type.shape.dim for i in onnx.load(path, load_external_data=False).graph.input}
    free = [(name, axis) for name, shape in zip(names, shapes, strict=True) for axis in shape]
    found = [(f"axis {a} of {name}", dims[name][a].dim_param or str(dims[name][a].dim_value)) for name, a in free]
    return [(which, size) for which, size in found if size.isdigit()]


def _said(error: Exception, program: Any) -> str:
    """What ONNX does not have, and in which layer, as far as it is known."""
    last: BaseException = error
    while last.__cause__ is not None:
        last = last.__cause__
    text = str(last)
    if (operator := re.search(r"op='([\w.:]+)'", text)) and program is not None:
        return f"ONNX has no operator {operator[1]}, which {_layer(program, operator[1])} uses"
    line = re.search(r'File "([^"]+)", line (\d+)', text)
    where = f" ({Path(line[1]).name}, line {line[2]})" if line else ""
    why = "a branch of it depends on values" if "data-dependent" in text else text.strip().splitlines()[0]
    return f"the network cannot be written as ONNX: {why}{where}"


def _layer(program: Any, operator: str) -> str:
    """The layer that uses an operator."""
    for node in program.run_decompositions().graph.nodes:
        if node.op == "call_function" and operator.rpartition(".")[2] in str(node.target):
            stack = list(node.meta.get("nn_module_stack", {}).values())
            if stack:
                name, kind = stack[-1]
                return f"{name} ({str(kind).rpartition('.')[2]})"
    return "the network"


def _needed(package: str) -> None:
    try:
        __import__(package)
    except ModuleNotFoundError as error:
        raise MissingExtra(package, "export", "exporting to ONNX") from error
