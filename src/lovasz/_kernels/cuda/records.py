"""What a launch is, and the arguments of the kernels: declared here once, for Python and for C++.

A kernel takes structures by value. Their fields stand here alone: `declarations` writes them in C++.
"""

import ctypes
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
_FLOAT, _DOUBLE = ctypes.c_float, ctypes.c_double
_NAMES: dict[object, str] = {
    _POINTER: "void*", _INT: "int", _LONG: "long long", _FLOAT: "float", _DOUBLE: "double",
}  # fmt: skip


class Pixels(ctypes.Structure):
    """The pixels of a call, and `tiles` blocks of them in each image; strides are in elements."""

    _fields_ = [
        ("logits", _POINTER), ("target", _POINTER), ("mask", _POINTER),
        ("images", _LONG), ("pixels", _LONG), ("tiles", _LONG),
        ("image_stride", _LONG), ("class_stride", _LONG), ("pixel_stride", _LONG),
        ("target_image", _LONG), ("target_class", _LONG), ("target_pixel", _LONG),
        ("mask_image", _LONG), ("mask_class", _LONG), ("mask_pixel", _LONG),
        ("ignored", _LONG), ("has_ignored", _INT), ("per_image", _INT), ("classes", _INT), ("bins", _INT),
        ("steps", _FLOAT),
    ]  # fmt: skip


class States(ctypes.Structure):
    """Of each pixel, for the softmax, what its classes share; the numbers of valid and of wrong labels."""

    _fields_ = [
        ("top", _POINTER), ("inverse", _POINTER), ("label", _POINTER), ("valid", _POINTER), ("wrong", _POINTER),
    ]  # fmt: skip


class Entropy(ctypes.Structure):
    """The cross-entropy: class weights (null for ones), and of each block the sums of loss and weights."""

    _fields_ = [("class_weights", _POINTER), ("sums", _POINTER), ("smoothing", _DOUBLE)]


class Counting(ctypes.Structure):
    """The counters of each range of pixels, and in how many parts of how many slots a class is counted."""

    _fields_ = [("counted", _POINTER), ("ranges", _LONG), ("parts", _INT), ("slots", _INT)]


class Merging(ctypes.Structure):
    """The counters of all ranges, and what becomes of them.

    A number of valid pixels is that of `classes_a_number` rows; those of foreground lie `foreground` further on.
    """

    _fields_ = [
        ("counted", _POINTER), ("valid", _POINTER), ("table", _POINTER), ("numbers", _POINTER),
        ("ranges", _LONG), ("rows", _LONG), ("foreground", _LONG), ("classes_a_number", _LONG), ("bins", _INT),
    ]  # fmt: skip


class Weighing(ctypes.Structure):
    """A table, and what becomes of it: of each row so many pieces, each with a loss."""

    _fields_ = [
        ("table", _POINTER), ("coefficients", _POINTER), ("losses", _POINTER), ("weights", _POINTER),
        ("alpha", _DOUBLE), ("beta", _DOUBLE), ("steps", _DOUBLE), ("bins", _INT), ("pieces", _INT),
    ]  # fmt: skip


class Applying(ctypes.Structure):
    """The weights of the bins, factors in device memory (null for 1), and the gradient that is filled."""

    _fields_ = [
        ("weights", _POINTER), ("grad", _POINTER), ("ce_grad", _POINTER), ("gradient", _POINTER),
        ("image_stride", _LONG), ("class_stride", _LONG), ("pixel_stride", _LONG),
    ]  # fmt: skip


class Interpolating(ctypes.Structure):
    """A strip of output indices from `first_z` to `last_z`, its axes, and strides of logits or of a gradient."""

    _fields_ = [
        ("logits", _POINTER), ("strip", _POINTER),
        ("lower_z", _POINTER), ("weight_z", _POINTER), ("lower_y", _POINTER), ("weight_y", _POINTER),
        ("lower_x", _POINTER), ("weight_x", _POINTER),
        ("first_z", _LONG), ("last_z", _LONG), ("tiles", _LONG), ("pixels", _LONG), ("height", _LONG),
        ("width", _LONG), ("classes", _LONG), ("image_stride", _LONG), ("class_stride", _LONG),
        ("z_stride", _LONG), ("y_stride", _LONG), ("x_stride", _LONG),
    ]  # fmt: skip


class Collecting(ctypes.Structure):
    """Of each source index of an axis its output indices, and the gradient that is added to."""

    _fields_ = [
        ("gradient", _POINTER), ("begin_z", _POINTER), ("end_z", _POINTER), ("begin_y", _POINTER),
        ("end_y", _POINTER), ("begin_x", _POINTER), ("end_x", _POINTER),
        ("first_source", _LONG), ("sources", _LONG), ("rows", _LONG), ("columns", _LONG),
    ]  # fmt: skip


STRUCTURES = (Pixels, States, Entropy, Counting, Merging, Weighing, Applying, Interpolating, Collecting)


def declarations() -> str:
    """Return the structures in C++, which do not compile where the two languages disagree about a size."""
    lines = []
    for structure in STRUCTURES:
        fields = " ".join(f"{_NAMES[kind]} {name};" for name, kind in structure._fields_)  # type: ignore[misc]
        lines.append(f"struct {structure.__name__} {{ {fields} }};")
        lines.append(f'static_assert(sizeof({structure.__name__}) == {ctypes.sizeof(structure)}, "as in Python");')
    return "\n".join(lines) + "\n"


class Launch(NamedTuple):
    """One launch.

    Attributes:
        file: the source, without its ending.
        kernel: the function in it.
        macros: the constants that it is compiled with.
        blocks: number of blocks.
        shared: bytes of shared memory that the size of the launch decides.
        arguments: the structures that the function takes.
    """

    file: str
    kernel: str
    macros: Mapping[str, str | int]
    blocks: int
    shared: int
    arguments: tuple[ctypes.Structure, ...]

    @property
    def threads(self) -> int:
        """Return the threads of a block."""
        return int(self.macros["BLOCK"])


class Limits(NamedTuple):
    """What a device has.

    Attributes:
        multiprocessors: number of them.
        shared: bytes of shared memory that one block may take.
    """

    multiprocessors: int
    shared: int


class Launcher(Protocol):
    """Compile a kernel, once, and launch it on a device, on the current stream."""

    def limits(self, device: torch.device) -> Limits:
        """Return what a device has."""

    def launch(self, launch: Launch, device: torch.device) -> None:
        """Launch a kernel."""
