"""The sum of counts over the processes of a group, which must agree on what they count."""

import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._math.lasting import lasting

#: Groups and kinds of counts on an accelerator whose agreement has been read back once, at the price of waiting.
_agreed: set[tuple[str, tuple[str, ...], tuple[int, ...]]] = set()


@lasting(None)
def _words(kind: tuple[str, ...], like: torch.dtype, device: torch.device) -> Tensor:
    """Return a number for each part of a kind, and its square: processes agree when both sum to n times their own.

    Then the mean of the numbers is one's own and their variance is 0. With 24 bits no sum overflows. They are
    brought to a device once.
    """
    numbers = [zlib.crc32(part.encode()) & 0xFFFFFF for part in kind]
    return torch.tensor([*numbers, *(number**2 for number in numbers)], dtype=like, device=device)


def all_reduce(counts: Tensor, group: str, kind: Sequence[str]) -> Tensor:
    """Sum over the processes of a group, by its name; an error where that fails, or adds what does not agree.

    Tables of one size may be of different things. `kind` says of what, part by part ("bins=8192"), and travels
    behind the table in two words a part; of floats, with an empty `kind`, nothing does.
    """
    resolve: Any = torch.distributed.distributed_c10d._resolve_process_group
    processes = resolve(group)
    own = _words(tuple(kind), counts.dtype, counts.device)
    total = torch.cat((counts.flatten(), own))
    try:
        torch.distributed.all_reduce(total, group=processes)
    except RuntimeError as error:
        what = f"{str(counts.dtype).removeprefix('torch.')} {tuple(counts.shape)}"
        raise RuntimeError(
            f"all_reduce of Lovász counts ({what}, {counts.nbytes} bytes) failed in process {processes.rank()} of "
            f"{processes.size()}: another process died, hangs, did not make this call, or made it with other "
            f"classes or bins: {error}"
        ) from error
    asked = (group, tuple(kind), tuple(counts.shape))
    if kind and (counts.device.type == "cpu" or asked not in _agreed):
        right = (total[counts.numel() :] == processes.size() * own).tolist()
        differ = [part for i, part in enumerate(kind) if not (right[i] and right[i + len(kind)])]
        if differ:
            raise RuntimeError(
                f"the processes of a group must count the same: process {processes.rank()} of {processes.size()} "
                f"has {', '.join(differ)}, another has not"
            )
        if counts.device.type != "cpu":
            _agreed.add(asked)
    return total[: counts.numel()].view(counts.shape)
