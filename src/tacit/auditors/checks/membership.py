"""Does the encoder give away what it was trained on?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tacit.auditors.attributes import FEWEST
from tacit.auditors.case import Case, Check
from tacit.auditors.finding import Finding, grade, percent
from tacit.auditors.membership import Attack, attack, signs
from tacit.errors import BadData
from tacit.types import Count

BEST_OF = 1.27  # the best of four attacks needs an interval that is so much wider (2.5 deviations in the place of 1.96)


class Membership(Check):
    """Three attacks, and all together, tell items that the encoder learned from, from items of the same kind that it never saw.

    Consistency: how alike random views of an item are embedded. Parts: how views of parts answer to the parts of the whole. Loss: how well
    the pretext task is solved. Half of the items teach each attack, the other half test it. The same attacks on the network with random
    weights must give 0.5: otherwise the two parts differ by themselves, and nothing follows.
    """

    section, needs, slow = "privacy", ("views", "learned"), True
    source = "arXiv:2108.11023 (EncoderMI), arXiv:2404.02462 (PartCrop); ours sums their responses up in a few numbers an item"

    def __init__(self, *, most: Count = 2000, draws: Count = 8) -> None:
        """most: items of each side. draws: random views of each."""
        self.most, self.draws = most, draws

    def look(self, case: Case) -> Iterator[Finding]:
        members, others = balanced(case, self.most)
        rows = np.concatenate([members, others])
        inside = np.arange(len(rows)) < len(members)
        case.say("asking the encoder about members and others\r")
        own = signs(case.asks, rows, self.draws)
        found = attack(own, inside, case.seed)
        case.say("asking the network with random weights\r")
        control = attack(signs(case.asks, rows, self.draws, "control "), inside, case.seed)
        found = {k: v for k, v in found.items() if k in control}  # an attack without its control proves nothing
        best = max(found, key=lambda k: found[k].auc)
        top, plain = found[best], control[best]
        told = ", ".join(f"{k} {t.auc:.3f} [{t.low:.3f}, {t.high:.3f}]" for k, t in found.items())
        beside = f"the network with random weights {plain.auc:.3f} [{plain.low:.3f}, {plain.high:.3f}]"
        more = {
            "attacks": {k: t.plain() for k, t in found.items()},
            "control": {k: t.plain() for k, t in control.items()},
            "groups": self._by_group(case, rows, found[best]),
        }
        if plain.low > 0.5 and plain.auc > 0.53:
            yield Finding(
                "membership.control", "medium",
                f"the control fails ({beside}): training and held-out items differ by themselves, so an attack (AUC {top.auc:.3f}) "
                "proves nothing",
                f"AUC of the control ({best})", plain.auc, plain.n, "split at random, or by group, and audit again", plain.low, plain.high,
                weight=plain.auc - 0.5, more=more,
            )  # fmt: skip
            return
        low = top.auc - BEST_OF * (top.auc - top.low)
        severity = grade(low, 0.7, 0.6, 0.52)
        rare = f", {percent(top.tpr_rare)} at 0.1 %" if top.tpr_rare is not None else ""
        yield Finding(
            "membership", severity,
            f"whether an item was learned from can be told with AUC {told}; {beside}; at 1 % false alarms {percent(top.tpr)} of the "
            "members "
            f"are caught{rare}", f"AUC ({best})", top.auc, top.n,
            "" if severity == "fine" else "fewer passes over the data, more data, or pretrain with privacy: --epsilon 8", top.low, top.high,
            weight=top.auc - 0.5, more=more,
        )  # fmt: skip
        yield from self._memorised(case, rows, inside, top)

    @staticmethod
    def _memorised(case: Case, rows: np.ndarray, inside: np.ndarray, top: Attack) -> Iterator[Finding]:
        """Members that the attack is surer of than of 99 % of the others, and whether copies are among them."""
        caught = top.tested[inside[top.tested] & (top.score > top.bound)]
        share = top.tpr
        order = caught[np.argsort(-top.score[np.isin(top.tested, caught)], kind="stable")]
        _, code, count = np.unique(case.data.hashes[case.learned], return_inverse=True, return_counts=True)
        assert case.learned is not None
        twice = np.isin(rows[caught], case.learned[count[code] > 1])
        yield Finding(
            "membership.memorised", "medium" if share > 0.1 else "low" if share > 0.05 else "fine",
            f"{len(caught):,} of {int(inside[top.tested].sum()):,} tested training items stand out as memorised"
            + (f"; {percent(float(twice.mean()))} of them are in the training data more than once" if twice.any() else ""),
            "share of members above 99 % of the others", share, int(inside[top.tested].sum()),
            "look at them; take copies out; tacit forget removes items", weight=share, items=case.names(rows[order]),
            more={"ids": [str(case.data.names[r]) for r in rows[order][:200]]},
        )  # fmt: skip

    @staticmethod
    def _by_group(case: Case, rows: np.ndarray, top: Attack) -> dict[str, dict[str, float]]:
        """AUC of the best attack in each group that has enough tested members and others."""
        from tacit.auditors.rates import auc

        out: dict[str, dict[str, float]] = {}
        for a in case.attributes:
            code = a.codes[rows[top.tested]]
            for g, name in enumerate(a.values):
                mine = code == g
                if min((top.member[mine]).sum(), (~top.member[mine]).sum()) >= FEWEST:
                    out.setdefault(a.name, {})[name] = auc(top.score[mine], top.member[mine])
        return out


def balanced(case: Case, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(members, others): as many of each, without exact copies of the other side. Raises BadData where there are too few."""
    learned = case.learned
    assert learned is not None
    others = np.setdiff1d(case.data.test, learned) if case.unseen is None else case.unseen
    h = case.data.hashes
    members = learned[~np.isin(h[learned], h[others])]
    others = others[~np.isin(h[others], h[learned])]
    n = min(most, len(members), len(others))
    if n < 50:
        raise BadData(f"{len(members)} learned and {len(others)} unseen items: an attack needs 50 of each", "hold more items out")
    return case.some(members, n), case.some(others, n)
