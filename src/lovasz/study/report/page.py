"""Pages of results: templates of this folder on one base, ``page.html.j2``, made into one file each."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def render(template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        template: Its file name in this folder; it extends ``page.html.j2``.
        values: What it shows; all text is escaped.

    Returns:
        A page that loads nothing from anywhere else.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent)
    return environment.get_template(template).render(**values)


def data_uri(picture: Any, kind: str, **options: Any) -> str:
    """Return a Pillow picture as ``png`` or ``jpeg`` inside the page."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def indexed(indices: NDArray[np.int64], colours: NDArray[np.uint8]) -> str:
    """Return a picture of indices (H, W) in their colours, red, green, blue and perhaps opacity, as PNG."""
    from PIL import Image

    if len(colours) > 256:
        return data_uri(Image.fromarray(colours[indices]), "png", optimize=True)
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette(colours[:, :3].tobytes())
    options = {"transparency": colours[:, 3].tobytes()} if colours.shape[1] == 4 else {}
    return data_uri(picture, "png", optimize=True, **options)


def photo(levels: NDArray[np.uint8], side: int) -> str:
    """Return a photo (H, W, 1 or 3) as JPEG of at most this longer side."""
    from PIL import Image

    picture = Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0])
    picture.thumbnail((side, side))
    return data_uri(picture, "jpeg", quality=80)


def percent(share: float, digits: int = 2) -> str:
    """Return a share from 0 to 1 in percent; a dash for NaN, which is no share."""
    return "–" if share != share else f"{100 * share:.{digits}f}"
