"""One BLAS thread for all but huge problems: the thread pools of numpy and scipy, alternating, made small fits 50 times slower."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any


def few_threads(size: int, limit: int = 100_000_000) -> AbstractContextManager[Any]:
    """Context in which BLAS uses one thread if the arrays hold at most `limit` numbers; size: how many they hold."""
    return _controller().limit(limits=1, user_api="blas") if size <= limit else nullcontext()


@cache
def _controller() -> Any:
    import scipy.linalg
    import scipy.optimize  # noqa: F401  both must be loaded before their thread pools can be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
