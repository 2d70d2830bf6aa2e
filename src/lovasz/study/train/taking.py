"""Tensors of a file in the place of a network's own: which name is which, and what was not taken."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lovasz.study.io.text import printable

# What programs put before the names of a network's tensors.
PREFIXES = ("module.", "model.", "network.", "_orig_mod.")
# At most so many of them are seen through, and so many other components are tried: a file may hold any names.
DEEPEST, WIDEST = 3, 8
# Names that are written out, and characters of each.
NAMED, LONGEST = 3, 100


@dataclass(frozen=True)
class Taken:
    """What a network took from a file.

    Attributes:
        number: Tensors taken.
        total: Tensors of the network.
        absent: Names of the network's tensors that the file has not.
        reshaped: Those that have another shape in the file, with both shapes.
        unused: Names of the file's tensors that the network has not.
    """

    number: int
    total: int
    absent: list[str]
    reshaped: list[str]
    unused: list[str]

    def __str__(self) -> str:
        """Say it: "214 of 218 tensors taken; not in the file: head.weight; not used: fc.weight"."""
        said = [f"{self.number} of {self.total} tensors taken"]
        for what, names in (
            ("not in the file", self.absent),
            ("of another shape", self.reshaped),
            ("not used", self.unused),
        ):
            if names:
                said.append(f"{what}: {_listed(names)}")
        return "; ".join(said)


def take(network: nn.Module, tensors: Mapping[str, Tensor], source: str) -> Taken:
    """Copy into a network the tensors that fit it, by name and shape.

    Prefixes that programs put before names are seen through, and so is an encoder alone: the way to
    see the names under which most tensors fit is taken.

    Args:
        network: The network; if it has an ``encoder``, this may be all that the file holds.
        tensors: By the names of the file.
        source: What messages begin with.

    Returns:
        What was taken, and what was not.

    Raises:
        ValueError: If no tensor fits, one has a type that is not converted, or values that are not finite.
    """
    own = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    pairs = _best(own, tensors, network)
    fitting = {name: stored for name, stored in pairs.items() if own[name].shape == tensors[stored].shape}
    if not any(own[name].is_floating_point() for name in fitting):
        raise ValueError(
            f"{source}: no tensor fits the network, which has {_listed(_shaped(own))}; the file has "
            f"{_listed(_shaped(tensors))}"
        )
    for name, stored in fitting.items():
        value, wanted = tensors[stored], own[name].dtype
        if value.dtype != wanted and not (value.is_floating_point() and wanted.is_floating_point):
            raise ValueError(
                f"{source}: {_listed([stored])} is {value.dtype}, {name} of the network {wanted}; only "
                "floating-point values are converted"
            )
        if not value.to(wanted).isfinite().all():
            raise ValueError(f"{source}: {_listed([stored])} holds values that are not finite")
    with torch.no_grad():
        for name, stored in fitting.items():
            own[name].copy_(tensors[stored])
    return Taken(
        number=len(fitting),
        total=len(own),
        absent=[name for name in own if name not in pairs],
        reshaped=[
            f"{name} {tuple(tensors[stored].shape)}, expected {tuple(own[name].shape)}"
            for name, stored in pairs.items()
            if name not in fitting
        ],
        unused=[stored for stored in tensors if stored not in pairs.values()],
    )


def _best(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], network: nn.Module) -> dict[str, str]:
    """Return the name in the file of each of the network's, with those prefixes that make most tensors fit."""
    best: tuple[tuple[int, int], dict[str, str]] = (0, 0), {}
    for before in _stored_prefixes(tensors):
        stripped = {name.removeprefix(before): name for name in tensors if name.startswith(before)}
        for root in _roots(own, network):
            pairs = {name: stripped[name.removeprefix(root)] for name in own
                     if name.startswith(root) and name.removeprefix(root) in stripped}  # fmt: skip
            fitting = sum(own[name].shape == tensors[stored].shape for name, stored in pairs.items())
            if (fitting, len(pairs)) > best[0]:
                best = (fitting, len(pairs)), pairs
    return best[1]


def _stored_prefixes(names: Iterable[str]) -> Iterator[str]:
    """Yield chains of known prefixes that occur, and each with one more component that many names share."""
    names, chains = list(names), [""]
    for chain in chains:  # it grows meanwhile
        if chain.count(".") < DEEPEST:
            chains += [chain + one for one in PREFIXES if any(name.startswith(chain + one) for name in names)]
    yield from chains
    for chain in chains:
        rests = (name.removeprefix(chain) for name in names if name.startswith(chain))
        firsts = Counter(rest.partition(".")[0] for rest in rests if "." in rest)
        for first, _ in firsts.most_common(WIDEST):
            if f"{chain}{first}." not in chains:
                yield f"{chain}{first}."


def _roots(own: Iterable[str], network: nn.Module) -> Iterator[str]:
    """Yield where in the network the names of a file may begin: at its root, at its encoder, or further in."""
    yield ""
    if not isinstance(getattr(network, "encoder", None), nn.Module):
        return
    root, names = "encoder.", [name for name in own if name.startswith("encoder.")]
    while names:
        yield root
        firsts = {name.removeprefix(root).partition(".") for name in names}
        heads = {first + dot for first, dot, _ in firsts}
        if len(heads) != 1 or not (head := heads.pop()).endswith("."):
            return
        root += head


def _shaped(tensors: Mapping[str, Tensor]) -> list[str]:
    return [f"{name} {tuple(value.shape)}" for name, value in tensors.items()]


def _listed(names: list[str]) -> str:
    more, some = len(names) - NAMED, (printable(name) for name in names[:NAMED])
    return ", ".join(name if len(name) <= LONGEST else f"{name[:LONGEST]}..." for name in some) + (
        f" and {more} more" if more > 0 else ""
    )
