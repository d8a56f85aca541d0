"""Eight bits: the weights of a graph's large layers, and what flows into them, as whole numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tacit.errors import MissingExtra, TacitError
from tacit.operate.quiet import quiet

LAYERS = ("Conv", "Gemm", "MatMul")


def quantise(source: Path, to: Path, feeds: Iterable[Mapping[str, np.ndarray]]) -> list[str]:
    """Write a graph with 8-bit layers; returns the names of the layers that stayed in float32.

    source, to: .onnx files. feeds: inputs of the graph made of real items, by which the range of every activation is measured.

    Activations have one scale, weights one for each channel and 7 of the 8 bits: older processors add up pairs of products in 16 bits,
    which 8 would overflow, and where the file will run is not known here. What reads raw values and what decides stay in float32, as
    does all that is no layer: normalisation, attention, the resampling of tiles, their mean and deviation.
    Raises TacitError where nothing is left to be quantised, and MissingExtra.
    """
    try:
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "onnxruntime", "export", "exporting to int8") from error
    with tempfile.TemporaryDirectory() as scratch, quiet():
        ready = Path(scratch) / "ready.onnx"
        # batch normalisation becomes a part of the convolution before it
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        layers, kept = _layers(onnx.load(ready).graph)
        if not layers:
            raise TacitError("no layer of this network can be quantised: int8 is for convolutions and linear layers", "use --to onnx")
        quantize_static(
            str(ready),
            str(to),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(LAYERS),
            nodes_to_quantize=layers,
            per_channel=True,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return kept


class _Reader:
    """Inputs one after the other, as the calibration asks for them."""

    def __init__(self, feeds: Iterable[Mapping[str, np.ndarray]]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Mapping[str, np.ndarray] | None:
        return next(self.feeds, None)


def _layers(graph: Any) -> tuple[list[str], list[str]]:
    """Names of the layers to quantise, and of those that stay: the first after the input, and the last before a head's output."""
    weights = {w.name for w in graph.initializer}
    layers = [n for n in graph.node if n.op_type in LAYERS and n.input[1] in weights]
    names = {n.name for n in layers}
    after: set[str] = set()  # values that some layer has gone into
    first: set[str] = set()
    for node in graph.node:  # in the order of computing
        behind = any(i in after for i in node.input)
        if node.name in names and not behind:
            first.add(node.name)
        if behind or node.name in names:
            after.update(node.output)
    before: set[str] = {graph.output[0].name}  # values that go into a further layer, or into the embedding
    last: set[str] = set()
    for node in reversed(graph.node):
        ahead = any(o in before for o in node.output)
        if node.name in names and not ahead:
            last.add(node.name)
        if ahead or node.name in names:
            before.update(node.input)
    kept = first | last
    return [n.name for n in layers if n.name not in kept], [n.name for n in layers if n.name in kept]
