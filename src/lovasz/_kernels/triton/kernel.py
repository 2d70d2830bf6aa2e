"""The kernel as `contract.Kernel` states it: the functions of `plain`, without waiting for the device."""

from .apply import apply
from .count import count
from .weigh import weigh

__all__ = ["apply", "count", "weigh"]
