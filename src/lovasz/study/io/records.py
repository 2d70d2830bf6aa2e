"""Records as JSON text."""

import json
import math
from typing import Any


def json_text(record: Any) -> str:
    """Return a record as JSON, with null in the place of what is no finite number, which JSON has no word for."""
    return json.dumps(_finite(record), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
