"""torchvision where its compiled operators cannot be loaded, so that the networks of timm can be imported.

torchvision is built for one PyTorch. Beside another, as one for the CPU alone, importing it fails, and so do timm
and segmentation_models_pytorch, and even torchmetrics, which imports it wherever it is installed. So `make` puts it
into a folder of its own, and whoever needs it calls `declare` first. No segmentation network calls an operator.
"""

import functools
import importlib.util
import sys
from pathlib import Path

import torch

FOLDER = Path(sys.prefix) / "torchvision"
NAMES = ("nms", "qnms", "deform_conv2d", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")


@functools.cache
def declare() -> torch.library.Library | None:
    """Makes torchvision importable, with its operators declared if they cannot be loaded."""
    if importlib.util.find_spec("torchvision") is None:
        sys.path.append(str(FOLDER))
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return None
    for compiled in Path(found.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(compiled)
        except OSError:
            continue
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in (*NAMES, *(f"_{name}_backward" for name in NAMES)):
        library.define(f"{name}(Tensor image) -> Tensor")
    return library  # kept by the cache: they are gone with it
