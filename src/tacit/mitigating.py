"""A mitigation as part of a fine-tuned model: its linear layer learns to treat groups alike, and leaves with every export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tacit.auditors import attributes, repair
from tacit.auditors.attributes import Attribute
from tacit.auditors.repair import LinearDecision, Mitigation
from tacit.data import listed
from tacit.data.dataset import Dataset
from tacit.data.supervision import Supervision
from tacit.errors import Asked, BadData, CannotPair


@dataclass(frozen=True)
class Treated:
    """attribute: whom to treat alike. way: how. classes: of the label."""

    attribute: Attribute
    way: Mitigation
    classes: int
    seed: int

    def learn(self, z: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight [D, K] and bias [K] from standardised features [n, D], classes [n] and rows of the data [n]. Items of no known group are
        left out. Raises BadData where fewer than two groups have items."""
        s = self.attribute.codes[rows]
        known = s >= 0
        kinds, code = np.unique(s[known], return_inverse=True)
        if len(kinds) < 2:
            raise BadData(f"the labelled items belong to fewer than two groups of {self.attribute.name}", "label items of the others")
        x = np.asarray(z, np.float64)[known]
        c = repair.strength_of(x, y[known], self.classes, self.seed)
        problem = repair.Problem(x, y[known], code, self.classes, len(kinds), self.seed, c)
        found = self.way.fit(problem)
        assert isinstance(found, LinearDecision)
        return found.weight, np.maximum(found.bias, -1e6)


def of(data: Dataset, answers: Supervision, name: str, groups: str, strategy: str, seed: int) -> Treated:
    """The mitigation `name` for one attribute. Raises Asked for what does not fit, CannotPair for one that cannot stay in a model."""
    way = repair.make(name)
    if way.stays:
        raise CannotPair(f"{name} cannot become part of a model: {way.stays}", "reweighing, balanced, dfr or leace can")
    if strategy != "probe":
        raise Asked(f"--mitigate learns the last layer on frozen features, and --strategy {strategy} would undo it", "--strategy probe")
    if answers.head != "classification":
        raise Asked(f"--mitigate is for classes, not for {answers.head}", "of numbers only erasure helps: tacit erase")
    wanted = attributes.asked(groups)
    if len(wanted) != 1:
        raise Asked("--mitigate treats the groups of one attribute alike", f"--groups {wanted[0][0] if wanted else 'sex'}")
    (column, cuts), *_ = wanted
    found = attributes.attribute(column, listed.cells(data, column), cuts)
    if way.binary and len(answers.classes) != 2:
        raise Asked(f"{name} is only for two classes", "reweighing, balanced, dfr or leace")
    return Treated(found, way, len(answers.classes), seed)
