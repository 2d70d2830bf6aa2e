"""A cache of tensors that outlive the call which makes them, whatever mode that call was made in."""

import functools
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def lasting(maxsize: int | None) -> "Callable[[Callable[..., T]], functools._lru_cache_wrapper[T]]":
    """Return a decorator that caches what a function makes, in a thread of its own.

    In such a thread no mode of the caller holds. In his own, inference mode would leave tensors that autograd
    refuses later, a mode of fake tensors would leave fakes, and a CUDA graph would take memory from its pool.

    Args:
        maxsize: number of results to keep; None for all, where a CUDA graph may go on reading them.
    """

    def decorator(function: Callable[..., T]) -> "functools._lru_cache_wrapper[T]":
        def made(*arguments: Hashable) -> T:
            with ThreadPoolExecutor(1) as apart:
                return apart.submit(function, *arguments).result()

        cached = functools.lru_cache(maxsize)(made)
        functools.update_wrapper(cached, function)
        return cached

    return decorator
