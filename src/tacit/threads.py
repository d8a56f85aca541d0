"""One BLAS thread for all but huge problems: the thread pools of numpy and scipy, alternating, made small fits 50 times slower."""

from __future__ import annotations

import os
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


def cores() -> int:
    """Threads that this process may use: OMP_NUM_THREADS, otherwise its processors."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
