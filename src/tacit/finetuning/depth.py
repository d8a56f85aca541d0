"""Where a parameter lies between input and head, and which of them may learn."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from torch import nn

from tacit.errors import Asked, nearest


def depths(encoder: nn.Module) -> tuple[dict[str, int], int]:
    """(parameter -> layer, number of layers): 0 is the tokenizer and all that comes before the first block, then block by block; what
    follows the last block belongs to it.

    Blocks are the numbered parts of the network, in whatever list they are kept.
    """
    found: dict[str, int] = {}
    last, highest = 0, 0
    for name, _ in encoder.named_parameters():
        numbers = [int(part) for part in name.split(".") if part.isdigit()]
        if not name.startswith("backbone."):
            found[name] = 0
            continue
        # norms of a convolutional network are a list of their own, with the numbers of their layers
        last = numbers[0] + 1 if numbers else last
        highest = max(highest, last)
        found[name] = last
    return found, highest


def frozen(encoder: nn.Module, patterns: str, last: int = 0) -> set[str]:
    """Parameters that stay as they are: those that match a pattern, and with `last` all but the last so many layers.

    Raises Asked for a pattern that matches nothing.
    """
    where, count = depths(encoder)
    stay = {name for name, depth in where.items() if last and depth <= count - last}
    for pattern in filter(None, (p.strip() for p in patterns.split(","))):
        hit = [n for n in where if fnmatch.fnmatchcase(n, pattern) or n.startswith(pattern + ".")]
        if not hit:
            raise Asked(f"finetune.freeze={pattern}: no parameter has that name", _near(pattern, list(where)))
        stay.update(hit)
    return stay


def _near(pattern: str, names: Sequence[str]) -> str:
    heads = list(dict.fromkeys(".".join(n.split(".")[:3]) for n in names))
    return nearest(pattern, heads[:12])
