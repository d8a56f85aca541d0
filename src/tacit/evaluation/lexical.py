"""Words and letters of texts as sparse counts: what the classics of text stand on."""

from __future__ import annotations

from typing import Any

import numpy as np

from tacit import wording
from tacit.types import Spec

MOST = 100_000  # features of each kind
KEPT = 100_000  # texts whose rows are remembered


class Lexicon:
    """TF-IDF of words (1 to 2 in a row) and of characters (3 to 5 within a word), each text at length 1 in both.

    Texts are those that the tokens stand for, so a tokenizer's lower case is shared by all that is compared. Of DNA and SMILES, which
    have no words, tokens take the place of characters.
    """

    def __init__(self, *, characters: bool = True) -> None:
        """characters: False = words only."""
        self.characters = characters

    def fit(self, x: Any, spec: Spec) -> Lexicon:
        """Learn the words and their rarity from training texts x [N, 1, T], without any label."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._extra = spec.extra
        shared: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "max_features": MOST, "min_df": 2 if len(x) > 50 else 1}
        words = spec.extra["kind"] not in ("bases", "smiles")
        self._parts = [TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[^\w\s]", **shared)] if words else []
        if self.characters or not words:
            self._parts.append(TfidfVectorizer(analyzer="char_wb" if words else "char", ngram_range=(3, 5), lowercase=words, **shared))
        self._rows: dict[bytes, int] = {}
        self._known: Any = None
        texts = wording.texts_of(x, spec.extra)
        self._keep(_keys(x), _joined([p.fit_transform(texts) for p in self._parts]))
        return self

    def matrix(self, x: Any) -> Any:
        """Rows of texts x [N, 1, T], sparse float32 [N, features]."""
        keys = _keys(x)
        new = [i for i, k in enumerate(keys) if k not in self._rows]
        if new:
            texts = wording.texts_of(x[np.array(new)], self._extra)
            self._keep([keys[i] for i in new], _joined([p.transform(texts) for p in self._parts]))
        return self._known[[self._rows[k] for k in keys]]

    def _keep(self, keys: list[bytes], rows: Any) -> None:
        """Remember rows, because the same texts are read at every level and draw."""
        from scipy.sparse import vstack

        start = 0 if self._known is None else self._known.shape[0]
        self._known = rows if self._known is None else vstack([self._known, rows], format="csr")
        for i, k in enumerate(keys):
            self._rows.setdefault(k, start + i)


def _keys(x: Any) -> list[bytes]:
    """What tells texts apart."""
    if isinstance(x, np.ndarray):
        return [row[~np.isnan(row)].astype(np.int32).tobytes() for row in x[:, 0]]
    return [item.astype(np.int32).tobytes() for item in x]


def _joined(parts: list[Any]) -> Any:
    from scipy.sparse import hstack

    return hstack(parts, format="csr") if len(parts) > 1 else parts[0].tocsr()
