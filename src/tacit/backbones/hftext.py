from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from tacit import published
from tacit.encoder import Backbone
from tacit.errors import CannotPair
from tacit.layers import exporting, in_windows, of_windows
from tacit.types import Layout, Tokens

_BERT = {
    "model_type": "bert",
    "vocab_size": 2,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
}
_LARGER = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
SAFE = 2  # positions that some networks keep for padding


def encoder_of(net: Any) -> nn.Module:
    """Of a network with a decoder the encoder."""
    found: nn.Module = net.get_encoder() if net.config.is_encoder_decoder else net
    return found


class HFText(Backbone):
    """An encoder of text of the package transformers, such as BERT, RoBERTa or ModernBERT; its word vectors are the tokenizer's.

    config: the network's configuration as JSON text, with its model_type; `--init hf:NAME` fills it in. begin, end: a vector stands before
    the first token, and after the last one, as [CLS] and [SEP] do; no feature is theirs. A text longer than the network knows is read
    in windows.
    """

    package = "transformers"
    wants, ranks = "patch", frozenset({1})
    can = frozenset({"mask", "layers", "resize", "tokens", "ragged", "chunk", "dropout"})
    on_cpu = "tiny"
    presets = {
        "tiny": {"config": json.dumps(_BERT)},
        "small": {"config": json.dumps(_BERT | _LARGER)},
        "base": {"config": json.dumps({"model_type": "bert", "vocab_size": 2})},
    }

    def __init__(
        self,
        width: int,
        layout: Layout,
        grid: tuple[int, ...],
        *,
        config: str = presets["small"]["config"],
        begin: bool = True,
        end: bool = True,
    ) -> None:
        super().__init__(width, layout, grid)
        found = published.configured(config, what="a network of text")
        self.net = encoder_of(published.built(found))
        known = self.net.get_input_embeddings()  # type: ignore[operator]
        if known is None or known.weight.ndim != 2:
            raise CannotPair(f"{found.model_type} reads no vectors of tokens", "name an encoder of text")
        own = known.weight.shape[1]
        self.inward = nn.Identity() if own == width else nn.Linear(width, own)
        self.net.set_input_embeddings(nn.Embedding(1, own))  # type: ignore[operator]
        self.first, self.last = (nn.Parameter(torch.randn(own) * 0.02) if there else None for there in (begin, end))
        self.window = int(getattr(found, "max_position_embeddings", 0) or 514) - SAFE - begin - end
        trial = published.trial(self.net, lambda: self.net(inputs_embeds=torch.zeros(1, 2, own)).last_hidden_state)
        self.dim = int(trial.shape[2])

    def forward(
        self, tokens: Tokens, position: Tensor, full: bool, *, causal: bool = False, layers: int = 0
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, valid = self.inward(tokens.x), tokens.valid
        b, n = valid.shape
        windows = not exporting() and n > self.window
        if windows:
            x, valid = in_windows(self.window, x, valid)
        x, there = self._marked(x, valid)
        found = self.net(inputs_embeds=x, attention_mask=there.long(), output_hidden_states=layers > 0)
        outs = [found.last_hidden_state, *(found.hidden_states[-layers:] if layers else ())]
        begin = int(self.first is not None)
        outs = [v[:, begin : begin + valid.shape[1]] for v in outs]
        if windows:
            outs = of_windows(b, n, *outs)
        return outs[0], tuple(outs[1:])

    def _marked(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens [B, N, width] with the marks around those that exist, and what the network looks at, bool."""
        rows, wide = x.shape[0], x.shape[2]
        end = valid.sum(1, keepdim=True)  # padding comes last
        if self.first is not None:
            x, end = torch.cat([self.first.to(x.dtype).expand(rows, 1, wide), x], 1), end + 1
        place = torch.arange(x.shape[1] + int(self.last is not None), device=x.device)
        if self.last is not None:
            last = self.last.to(x.dtype).expand(rows, 1, wide)
            x, end = torch.where((place == end)[..., None], last, torch.cat([x, last], 1)), end + 1
        return x, place < end.clamp(min=1)  # a window without any token would have nothing to look at
