"""The kernel as `contract.Kernel` states it: the functions of `plain`, without host synchronisation."""

import functools

from . import driver
from .apply import apply as _apply
from .count import count as _count
from .weigh import weigh as _weigh

count = functools.partial(_count, driver)
weigh = functools.partial(_weigh, driver)
apply = functools.partial(_apply, driver)
