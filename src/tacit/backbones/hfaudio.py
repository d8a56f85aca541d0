from __future__ import annotations

import json
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from tacit import published, publishedwaves
from tacit.encoder import Backbone
from tacit.types import Layout, Tokens

_TINY = {
    "model_type": "wav2vec2",
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 8,
    "conv_dim": [32] * 7,
}
_LARGER = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}


class HFAudio(Backbone):
    """The transformer of a network of sound of the package transformers: wav2vec 2.0, HuBERT, WavLM, data2vec.

    config: the network's configuration as JSON text, with its model_type; `--init hf:NAME` fills it in. Its convolutions are the
    tokenizer's.
    """

    package = "transformers"
    wants, ranks = "patch", frozenset({1})
    can = frozenset({"mask", "layers", "resize", "tokens", "ragged", "chunk", "dropout"})
    on_cpu = "tiny"
    presets = {
        "tiny": {"config": json.dumps(_TINY)},
        "small": {"config": json.dumps(_TINY | _LARGER)},
        "base": {"config": json.dumps({"model_type": "wav2vec2"})},
    }

    def __init__(self, width: int, layout: Layout, grid: tuple[int, ...], *, config: str = presets["small"]["config"]) -> None:
        super().__init__(width, layout, grid)
        net = publishedwaves.network(config)
        own = int(net.config.hidden_size)
        self.inward = nn.Identity() if own == width else nn.Linear(width, own)
        self.net = nn.ModuleDict({"encoder": net.encoder})
        self.dim = own
        self.one_length = self._leaks()
        published.trial(self.net, lambda: self.read(torch.zeros(1, 4, own), None, 0)[0])

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, valid = self.inward(tokens.x) * tokens.valid[..., None], tokens.valid  # a copy: the network writes into what it is given
        if full or not self.one_length:
            return self.read(x, None if full else valid, layers)
        return self._each_length(x, valid, layers)

    def read(self, x: Tensor, valid: Tensor | None, layers: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features of tokens [B, N, dim], and what the last `layers` layers gave."""
        encoder: Any = self.net["encoder"]
        outs: list[Tensor] = []

        def keep(layer: nn.Module, given: Any, out: Any) -> None:
            outs.append(out[0] if isinstance(out, tuple) else out)

        hooks = [layer.register_forward_hook(keep) for layer in (list(encoder.layers)[-layers:] if layers else [])]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Support for mismatched key_padding_mask")  # of WavLM, about its own masks
                found: Tensor = encoder(x, attention_mask=valid).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return found, tuple(outs)

    @torch.no_grad()
    def _leaks(self) -> bool:
        """Whether padding behind an item changes its features, as through several convolutions one after the other."""
        if any(p.is_meta for p in self.net.parameters()):  # a network that computes shapes alone
            return True
        before = self.net.training
        self.net.eval()
        x = torch.randn(1, 8, self.dim, generator=torch.Generator().manual_seed(0))
        there = (torch.arange(8) < 4)[None]
        alone, beside = self.read(x[:, :4].clone(), None, 0)[0], self.read(x * there[..., None], there, 0)[0]
        self.net.train(before)
        return not torch.allclose(alone, beside[:, :4], atol=1e-4)

    def _each_length(self, x: Tensor, valid: Tensor, layers: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`read`, items of one length at a time, without padding."""
        count = valid.sum(1).clamp(min=1)
        outs = [torch.zeros_like(x) for _ in range(1 + layers)]
        for n in count.unique().tolist():
            rows = (count == n).nonzero()[:, 0]
            found, inner = self.read(x[rows, :n], None, layers)
            for out, part in zip(outs, (found, *inner), strict=True):
                out[rows, :n] = part.to(out.dtype)
        return outs[0], tuple(outs[1:])
