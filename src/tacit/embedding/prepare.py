"""What a trained model and an exported one do alike: take any data, and give vectors back with what belongs to them. Without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tacit.data import dataset
from tacit.data.dataset import Dataset
from tacit.errors import Asked
from tacit.types import Embeddings, Spec


def prepare(data: Any, spec: Spec) -> Dataset:
    """Any data as a Dataset decoded as a trained model's spec says; labels, groups and split are kept.

    data: a Dataset, a path, a list of file paths (of a model of text: of texts), an array of decoded items, or a table with Arrow's
    interface. Raises Asked when it is of another modality.
    """
    if isinstance(data, Dataset):
        if data.modality != spec.modality:
            raise Asked(f"the model was trained on {spec.modality} data, this is {data.modality}", "give it data of that kind")
        return data.decoded_for(spec)
    if isinstance(data, (str, Path)):
        return dataset.open(str(data), modality=spec.modality, spec=spec)
    if hasattr(data, "__arrow_c_stream__"):
        if spec.modality not in ("table", "events"):
            raise Asked(f"the model was trained on {spec.modality} data, this is a table", "give it data of that kind")
        return dataset.from_table(data, spec=spec)
    if spec.modality == "text" and isinstance(data, (list, tuple)) and data and all(isinstance(v, str) for v in data):
        return dataset.from_texts(data, spec=spec)
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], (str, Path)):
        return dataset.from_files([Path(p) for p in data], spec=spec)
    if not (isinstance(data, (list, tuple)) and data and all(isinstance(item, np.ndarray) for item in data)):
        data = np.asarray(data)  # a list of arrays stays one: series may differ in length
    return dataset.from_arrays(data, modality=spec.modality, spec=spec)


def named(data: Dataset, vectors: np.ndarray) -> Embeddings:
    """Vectors [N, D] with ids, labels and the groups' names, in the order of the data; None (in numbers: NaN) = unlabelled, no group."""
    labels = None
    if data.labels is not None:
        labels = np.array([*data.classes, None], dtype=object)[data.labels] if data.classes else data.labels
    groups = None if data.groups is None else np.array([*data.group_names, None], dtype=object)[data.groups]
    return Embeddings(vectors, tuple(data.names), labels, groups)
