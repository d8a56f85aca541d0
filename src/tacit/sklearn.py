"""A scikit-learn transformer: fit on unlabelled X, transform X into embeddings, in any pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data


class SelfSupervisedEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learn an embedding of X without labels, as a step of a scikit-learn pipeline.

    X: [N, F] vectors, [N, C, T] series, [N, C, H, W] or [N, H, W, C] images (uint8, or floats in 0..1 or 0..255).

    method: pretext task; "auto" = the preset of the kind of data. backbone: network; "auto" likewise. size: tiny, small or base.
    steps: optimizer steps. batch_size: items a step, None = chosen. lr: peak learning rate, None = the preset.
    random_state: seed, None = 0, or a numpy RandomState to draw the seed from.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        backbone: str = "auto",
        size: str = "small",
        steps: int = 300,
        batch_size: int | None = None,
        lr: float | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.method = method
        self.backbone = backbone
        self.size = size
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> SelfSupervisedEncoder:
        """Learn from all rows of X; y is ignored."""
        from tacit.data.dataset import from_arrays
        from tacit.training.memory import learn

        X = self._checked(X, reset=True)
        X = X[~_empty(X)]  # nothing can be learned from a row without a value
        data = from_arrays(X, max_bad=0.0).whole()
        self.model_ = learn(
            data,
            method=None if self.method == "auto" else self.method,
            backbone=None if self.backbone == "auto" else self.backbone,
            size=self.size,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self._seed(),
            overrides={} if self.lr is None else {"optim": {"lr": self.lr}},
        )
        self._n_features_out = self.model_.dim
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings float32 [N, D], one for each row of X; a row without a value counts as missing everywhere."""
        from tacit.data.dataset import from_arrays

        check_is_fitted(self)
        X = self._checked(X, reset=False)
        empty = _empty(X)
        if empty.any():
            X = X.copy()
            X[empty] = 0  # decoding would leave the row out
        spec = self.model_.spec
        x = from_arrays(X, modality=spec.modality, spec=spec, max_bad=0.0).x
        if empty.any() and x.dtype.kind == "f":
            x[empty] = np.nan
        return self.model_.vectors(x)

    def _seed(self) -> int:
        """The seed that random_state stands for; a RandomState gives the next of its numbers, as everywhere in scikit-learn."""
        if self.random_state is None or isinstance(self.random_state, (int, np.integer)):
            check_random_state(self.random_state)  # refuses what scikit-learn refuses
            return int(self.random_state or 0)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def _checked(self, X: Any, reset: bool) -> np.ndarray:
        X = validate_data(
            self, X, reset=reset, allow_nd=True, dtype="numeric", ensure_all_finite="allow-nan", ensure_min_samples=2 if reset else 1
        )
        return X if X.ndim == 4 and X.dtype == np.uint8 else np.asarray(X, dtype=np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = False
        return tags


def _empty(X: np.ndarray) -> np.ndarray:
    """Which rows hold no value at all, bool [N]."""
    if X.dtype.kind != "f":
        return np.zeros(len(X), bool)
    return np.asarray(~np.isfinite(X).any(axis=tuple(range(1, X.ndim))))
