"""Fine-tuning as one of the ways that an evaluation compares: trained on the labels of each draw, scored on the same items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tacit import registry
from tacit.data.dataset import Dataset
from tacit.data.supervision import Supervision
from tacit.embedding.model import Model
from tacit.errors import Asked
from tacit.evaluation.labels import SMALL
from tacit.evaluation.readers import Trained
from tacit.finetuning.config import FinetuneConfig, strategy
from tacit.finetuning.fit import Task


class AsFit:
    """Fine-tunes on some labelled rows and scores training and test rows.

    task: of one strategy, whose answers are those of the training rows, in their order. test_data, test: rows to score.
    """

    def __init__(self, task: Task, test_data: Dataset, test: np.ndarray) -> None:
        self.task, self.test_data, self.test = task, test_data, test
        self.pace = 0.0
        self.wanted = np.arange(len(task.answers))

    def cost(self, labels: int) -> float:
        """Seconds that training on so many rows would take, by the pace of the last training; 0 before the first."""
        return self.pace * self.task.steps(labels)[1]

    def only(self, rows: np.ndarray) -> None:
        """Score these training rows alone from now on; the others get NaN."""
        self.wanted = rows

    def __call__(self, chosen: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the training and of all test rows (numbers: the values) after training on these positions among the training rows."""
        task, y = self.task, self.task.answers.values[chosen]
        many = len(np.unique(y)) if task.answers.classes else 1
        network, about = task.fit(chosen, None, small=len(y) / many < SMALL, seed=seed)
        if about["steps"]:
            self.pace = about["seconds"] / about["steps"]
        data, rows = self.test_data, self.test
        tested = network.outcome(network.features(data.x[rows], None if data.lengths is None else data.lengths[rows]))
        train = np.full((len(task.answers), tested.shape[1]), np.nan)
        if len(self.wanted):
            train[self.wanted] = task.outputs(network, self.wanted)
        if not task.answers.classes:
            return network.head.values(train), network.head.values(tested)
        return train, tested


def ways(
    model: Model,
    data: Dataset,
    train: np.ndarray,
    test_data: Dataset,
    test: np.ndarray,
    strategies: Sequence[str],
    *,
    config: FinetuneConfig | None = None,
    seed: int = 0,
) -> list[Trained]:
    """The ways of fine-tuning that were asked for.

    model: pretrained. data, train: labelled data and its training rows. test_data, test: likewise for the test.
    strategies: "lp-ft", "full", "last-2", "lora", "setfit". Raises Asked for an unknown one.
    """
    assert data.labels is not None
    answers = Supervision("classification" if data.classes else "regression", train, data.labels[train], tuple(data.classes))
    kind = registry.find("heads", answers.head)
    config = config or FinetuneConfig()
    tasks = [Task(model, data, answers, lambda: kind(answers.classes), config, name, seed) for name in check(strategies)]
    for task in tasks:  # what the pretrained encoder says is the same for all of them
        task._features = tasks[0]._features
    return [Trained("ssl", "finetune", f"finetune:{t.strategy}", f"fine-tuning by {t.strategy}", AsFit(t, test_data, test)) for t in tasks]


def check(strategies: Sequence[str]) -> list[str]:
    """The strategies, each once. Raises Asked for one that does not exist, or that changes nothing."""
    names = list(dict.fromkeys(name.strip() for name in strategies))
    for name in names:
        if strategy(name)[0] == "probe":
            raise Asked(
                "--finetune probe: the linear probe on the frozen encoder is always measured", "lp-ft, full, last-2, lora or setfit"
            )
    return names
