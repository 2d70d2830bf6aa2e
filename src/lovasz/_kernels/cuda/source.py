"""The source of a kernel, as a compiler takes it: constants, structures and files in one text."""

import functools
from collections.abc import Mapping
from pathlib import Path

from ..._math import binning
from . import records

#: What stands before each kernel, in this order.
_HEADERS = {
    "states": ("sums.cuh", "labels.cuh", "softmax.cuh"),
    "count_softmax": ("counters.cuh",),
    "count_binary": ("sums.cuh", "labels.cuh", "binary.cuh", "counters.cuh"),
    "merge": (),
    "weigh": (),
    "apply_softmax": ("labels.cuh", "softmax.cuh"),
    "apply_binary": ("labels.cuh", "binary.cuh"),
    "finer": (),
}
FILES = tuple(_HEADERS)


@functools.cache
def _text(name: str) -> str:
    return f'#line 1 "{name}"\n' + Path(__file__).with_name(name).read_text(encoding="utf-8")


def source(file: str, macros: Mapping[str, str | int], device: str | None = None) -> str:
    """Return the text of one kernel file.

    Args:
        file: one of `FILES`.
        macros: the constants that it is compiled with.
        device: what takes the place of "device.cuh", which says what CUDA has.
    """
    every = {"HINGE_SCALE": binning.HINGE_SCALE, "MAX_BINS": binning.MAX_BINS, **macros}
    constants = "".join(f"#define {name} {value}\n" for name, value in sorted(every.items()))
    first = _text("device.cuh") if device is None else device
    names = ("numbers.cuh", *_HEADERS[file], f"{file}.cu")
    return constants + first + records.declarations() + "".join(map(_text, names))
