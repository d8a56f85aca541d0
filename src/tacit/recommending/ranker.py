"""Which of many items comes next: a ranking read from the frozen network at the end of each sequence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.data.dataset import Dataset
from tacit.embedding.model import Model
from tacit.errors import BadData
from tacit.recommending.rankings import shares
from tacit.runtime import rng, seed_globally

EXAMPLES = 200_000  # places in sequences that are learned from, at most
APART = 5  # times fewer where a network sees all of a sequence, so that each place is a pass of its own
HELD = 10_000  # places that say when to stop, at most
AT_ONCE = 2**24  # numbers in a batch of sequences
BATCH, PASSES, PATIENCE = 256, 60, 4
LEAST = 20  # events that follow another, at least
WIDTH = 64
PLACES = 4  # of one sequence then, at most


class Ranking(nn.Module):
    """States [n, D] to log-odds of the items [n, V]: their shares, and how near each item's vector is."""

    mean: Tensor
    std: Tensor
    prior: Tensor

    def __init__(self, mean: Tensor, std: Tensor, prior: Tensor) -> None:
        super().__init__()
        for name, value in (("mean", mean), ("std", std), ("prior", prior)):
            self.register_buffer(name, value)
        self.inner = nn.Linear(len(mean), WIDTH)
        self.items = nn.Parameter(torch.randn(len(prior), WIDTH) * 0.05)
        self.bias = nn.Parameter(torch.zeros(len(prior)))

    def forward(self, z: Tensor) -> Tensor:
        logits: Tensor = self.inner((z - self.mean) / self.std) @ self.items.T + self.bias + self.prior
        return logits


@dataclass
class Ranker:
    """A trained ranking. model: the run's. column: which one holds the items. items: how many there are."""

    model: Model
    column: int
    items: int
    ranking: Ranking | None = None

    def fit(self, data: Dataset, rows: np.ndarray, seed: int = 0, say: Callable[[str], None] | None = None) -> Ranker:
        """Learn from these sequences which item follows; a tenth of them says when to stop. Raises BadData with too few."""
        x, lengths = data.some(rows)
        assert lengths is not None
        held = np.arange(len(x)) % 10 == 9
        z, y = self._examples(x[~held], lengths[~held], seed, EXAMPLES)
        zh, yh = self._examples(x[held], lengths[held], seed, HELD)
        if len(y) < LEAST or not len(yh):
            said = f"{len(x)} sequences with {len(y) + len(yh)} events that follow another are too few to learn what comes next"
            raise BadData(said, f"at least 10 sequences and {LEAST} such events are needed")
        seed_globally(seed, 7)
        std = torch.from_numpy(z.std(0)).clamp(min=1e-6)
        net = Ranking(torch.from_numpy(z.mean(0)), std, torch.from_numpy(np.log(shares(y, self.items)).astype(np.float32)))
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
        inputs, answers = torch.from_numpy(z), torch.from_numpy(y)
        tests, wanted = torch.from_numpy(zh), torch.from_numpy(yh)
        best, kept, since = float("inf"), net.state_dict(), 0
        for turn in range(PASSES):
            for rows in torch.randperm(len(y), generator=rng(seed, "ranking", turn)).split(BATCH):
                optimiser.zero_grad()
                loss = F.cross_entropy(net(inputs[rows]), answers[rows])
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                error = sum(
                    F.cross_entropy(net(a), b, reduction="sum").item() for a, b in zip(tests.split(1024), wanted.split(1024), strict=True)
                )
            if say is not None:
                say(f"learning what follows: pass {turn + 1}  loss {error / len(yh):.3f}\r")
            if error < best:
                best, kept, since = error, {k: v.clone() for k, v in net.state_dict().items()}, 0
            else:
                since += 1
            if since == PATIENCE:
                break
        net.load_state_dict(kept)
        self.ranking = net.eval()
        return self

    @torch.no_grad()
    def scores(self, data: Dataset, rows: np.ndarray, hidden: int = 0) -> np.ndarray:
        """Log-probability of every item to come after these sequences, float32 [n, V]; hidden: events at their end that are not seen."""
        x, lengths = data.some(rows)
        assert self.ranking is not None and lengths is not None
        z = self._states(x, lengths - hidden, None)[0]
        return self.ranking(torch.from_numpy(z)).log_softmax(1).numpy()

    def _examples(self, x: np.ndarray, lengths: np.ndarray, seed: int, total: int) -> tuple[np.ndarray, np.ndarray]:
        """States before an event [n, D] and the item of that event, int64 [n]; at most `total` of them."""
        draw = np.random.default_rng([seed, 31])
        causal = self.model.encoder.causal
        total = total if causal else total // APART
        if len(x) > total:
            some = np.sort(draw.choice(len(x), total, replace=False))
            x, lengths = x[some], lengths[some]
        most = max(1, total // max(1, len(x)))
        most = most if causal else min(PLACES, most)
        places = []
        for i, n in enumerate(lengths.tolist()):
            ends = np.flatnonzero(x[i, self.column, 1:n] >= 0) + 1  # how many events come before it
            places.append(np.sort(draw.choice(ends, most, replace=False)) if len(ends) > most else ends)
        z, row, end = self._states(x, lengths, places)
        return z, x[row, self.column, end].astype(np.int64)

    @torch.no_grad()
    def _states(self, x: np.ndarray, lengths: np.ndarray, places: list[np.ndarray] | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The feature of the latest event and the mean of all so far, [n, 2 D], with the sequence and the number of events of each.

        places: numbers of events after which to look, of each sequence; None = at its end.
        """
        if places is None:
            places = [np.array([n]) for n in lengths.tolist()]
        row = np.repeat(np.arange(len(x)), [len(p) for p in places])
        end = np.concatenate(places).astype(np.int64) if places else np.zeros(0, np.int64)
        encoder = self.model.encoder.eval()
        cast = self.model.precision.startswith("bf16")
        out = [np.zeros((0, 2 * self.model.encoder.dim), np.float32)]
        shown, which = (np.arange(len(x)), row) if encoder.causal else (row, np.arange(len(row)))
        long = lengths if encoder.causal else end
        step = max(1, min(256, AT_ONCE // max(1, x.shape[1] * x.shape[2])))
        for i in range(0, len(shown), step):
            part, n = x[shown[i : i + step]], long[i : i + step]
            (batch,) = self.model.batches(part[..., : max(1, int(n.max(initial=1)))], n, step)
            view = self.model.plain(batch)
            with torch.autocast(view.x.device.type, torch.bfloat16, enabled=cast):
                f = encoder(view)
            tokens = f.tokens.float()
            steps = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)[:, None]
            both = torch.cat([tokens, tokens.cumsum(1) / steps], -1)
            mine = slice(*np.searchsorted(which, [i, i + step]))  # ascending, as the sequences are
            out.append(both[which[mine] - i, end[mine] - 1].cpu().numpy())
        return np.concatenate(out), row, end
