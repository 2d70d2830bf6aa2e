"""The processes that ``torchrun`` starts, and what they tell one another."""

import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# One process may be done long before the slowest; if one dies, torchrun ends the others.
PATIENCE = datetime.timedelta(days=1)


class Ranks:
    """The place of this process among those that share the work; alone it is the first of one.

    Attributes:
        rank: The number of this process, from 0.
        world_size: How many there are.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank, self.world_size = rank, world_size

    def sum(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the sum over all processes, on each."""
        total = torch.from_numpy(counts.copy())
        if self.world_size > 1:
            torch.distributed.all_reduce(total)
        return total.numpy()

    def to_first(self, counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Returns the arrays of all processes, equal in shape, by rank; on all but the first none."""
        if self.world_size == 1:
            return [counts]
        received = [torch.empty(counts.shape, dtype=torch.int64) for _ in range(self.world_size)]
        torch.distributed.gather(torch.from_numpy(counts), received if self.rank == 0 else None)
        return [part.numpy() for part in received] if self.rank == 0 else []

    def all(self, value: Any) -> list[Any]:
        """Returns what each process passed, by rank, on each."""
        values = [value]
        if self.world_size > 1:
            values = [None] * self.world_size
            torch.distributed.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Joins the processes of ``torchrun``, as its environment says; without it there is but this one."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1 or "RANK" not in os.environ:
        yield Ranks()
        return
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    try:
        yield Ranks(int(os.environ["RANK"]), world_size)
    finally:
        torch.distributed.destroy_process_group()
