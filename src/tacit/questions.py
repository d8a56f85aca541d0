"""What is asked of an item: one number, by any network of its kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import Asked, few, nearest
from tacit.explainers import outside, values
from tacit.explainers.values import Value
from tacit.finetuning.decider import Decider
from tacit.finetuning.network import Network
from tacit.recommendation import column_of
from tacit.recommending.ranker import Ranker
from tacit.subject import Subject, others, stored
from tacit.types import Batch

CORPUS = 200  # items of a class that an item is held against


def of_item(
    net: Any,
    items: Dataset,
    shown: Sequence[Batch],
    rows: Sequence[int],
    k: int,
    these: str | None,
    those: str | None,
    known: Dataset | None,
) -> Callable[[Model], Value]:
    """What is explained of item k, by any network of this kind; known: the training items that it is strange beside, None = it is not."""
    if len(shown) == 2:
        return lambda m: values.pair(m, shown[1 - k], f"how near it is to {items.names[rows[1 - k]]}")
    if known is not None:
        near = others(known, items, rows[k])
        near = near[:: max(1, len(near) // values.BANK)]
        return lambda m: values.strangeness(m, _vectors(m, known, near))
    if these is None:
        return lambda m: values.itself(m, shown[k])
    a, b = _of_class(items, these, None, rows[k]), _of_class(items, those, these, rows[k])
    said = f"how much nearer it is to the items of {these} than to {f'those of {those}' if those else 'all others'}"
    return lambda m: values.contrast(m, _vectors(m, items, a), _vectors(m, items, b), said)


def of_decision(decider: Decider, batch: Batch, these: str | None) -> Callable[[Model], Value]:
    """What a fine-tuned model says of an item, as it is stored: for a class, or for the one that it decides for."""
    network, head = decider.network, decider.knowledge.head
    if head.level != "item":
        raise Asked(f"{decider.knowledge.name} says more than one thing of an item", "explain the run that it was made from")
    if these is not None and these not in head.classes:
        raise Asked(f"there is no class {these!r}", f"{nearest(these, list(head.classes))} of {few(head.classes)}")
    exclusive = decider.knowledge.name == "classification"
    with torch.no_grad():
        best = int(network.decide(batch)[0].argmax())
    k = best if these is None else head.classes.index(these)
    said = values.named(head, k, exclusive, decider.knowledge.about)

    def of(m: Model) -> Value:
        if m is network.model:
            return values.decision(network, k, exclusive, said)
        other = Network(m, head, network.tiles)  # the same reading of another network
        other.layer, other.bank = network.layer, network.bank
        return values.decision(other, k, exclusive, said)

    return of


def of_next(net: Model, known: Dataset, items: Dataset, row: int, wanted: str, seed: int, say: Any) -> Callable[[Model], Value]:
    """What a run says comes next in a sequence: one item of the ranked column, or (top) the likeliest.

    The ranking is learned anew, of another network too, as `recommend` does.
    """
    if net.spec.modality != "events":
        raise Asked(f"the run learned from {net.spec.modality} data, in which nothing follows", "leave --next out")
    f, names = column_of(net, known, None)
    ranker = Ranker(net, f, len(names)).fit(known, known.train, seed, say)
    if wanted != "top" and wanted not in names:
        raise Asked(f"{wanted!r} is no value of {net.spec.extra['columns'][f]['name']}", f"{nearest(wanted, names)} of {few(names)}")
    k = int(ranker.scores(items, np.array([row]))[0].argmax()) if wanted == "top" else names.index(wanted)

    def of(m: Model) -> Value:
        own = ranker if m is net else Ranker(m, f, len(names)).fit(known, known.train, seed)
        return values.following(own, k, f"how likely {names[k]} comes next (log-odds)")

    return of


def of_export(subject: Subject, items: Dataset, row: int, these: str | None) -> Callable[[Any], Value]:
    """What an exported decision says of an item."""
    value = outside.decision(subject.net, subject.held, these, stored(subject.net, items, row))
    return lambda m: value


def _vectors(m: Model, items: Dataset, rows: np.ndarray) -> np.ndarray:
    """Embeddings of whole items."""
    return m.vectors(items.x[rows], None if items.lengths is None else items.lengths[rows], tiles=False)


def _of_class(items: Dataset, name: str | None, without: str | None, row: int) -> np.ndarray:
    """Some items of a class, or of all but one class; the explained item is none of them."""
    if items.labels is None or not items.classes:
        raise Asked(f"{items.path} has no classes", "name their column with --target")
    for word in (name, without):
        if word is not None and word not in items.classes:
            raise Asked(f"there is no class {word!r}", f"{nearest(word, list(items.classes))} of {few(items.classes)}")
    if name is not None:
        chosen = items.labels == items.classes.index(name)
    else:
        chosen = (items.labels >= 0) & (items.labels != items.classes.index(str(without)))
    found = np.flatnonzero(chosen)
    found = found[found != row]
    if not len(found):
        raise Asked(f"no other item is of {f'the class {name!r}' if name else f'another class than {without!r}'}")
    return found[:: max(1, -(-len(found) // CORPUS))]
