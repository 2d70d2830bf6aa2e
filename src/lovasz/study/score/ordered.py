"""Work of several threads, its results in order and only a few of them at a time."""

import concurrent.futures
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int) -> Iterator[Result]:
    """Yield the results of threads in the order of the items.

    Args:
        work: What a thread does with an item.
        items: The items, taken one by one.
        workers: Threads.
        ahead: How many results are under way at most.
    """
    # OpenMP inside each of many threads would only get in their way.
    with concurrent.futures.ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        under_way: deque[concurrent.futures.Future[Result]] = deque()
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
