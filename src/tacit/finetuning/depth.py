"""Where a parameter lies between input and head, and which of them may learn."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from torch import nn

from tacit.errors import Asked, nearest

STAGES = 4  # so few numbered parts are stages, whose own numbered parts are the layers


def depths(encoder: nn.Module) -> tuple[dict[str, int], int]:
    """(parameter -> layer, number of layers): 0 is the tokenizer and all that comes before the first layer, then layer by layer; what
    follows the last one belongs to it.

    Layers are the numbered parts of the network, in whatever list they are kept; where these are few, the numbered parts inside them.
    """
    names = [name for name, _ in encoder.named_parameters()]
    numbers = {name: _numbers(name) for name in names if name.startswith("backbone.")}
    deep = 1 if len({n[0] for n in numbers.values() if n}) > STAGES else 2
    order = {key: i + 1 for i, key in enumerate(sorted({n[:deep] for n in numbers.values() if n}))}
    found: dict[str, int] = {}
    last = 0
    for name in names:
        # norms of a convolutional network are a list of their own, with the numbers of their layers
        last = order[numbers[name][:deep]] if numbers.get(name) else last
        found[name] = last if name in numbers else 0
    return found, len(order)


def _numbers(name: str) -> tuple[int, ...]:
    """The numbers in a parameter's path: of "backbone.net.layer1.0.conv.weight" (1, 0)."""
    parts, found = name.split("."), []
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        tail = re.search(r"\d+$", part)
        if part.isdigit() or (tail and following.isdigit()):
            found.append(int(tail[0]) if tail else int(part))
    return tuple(found)


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
