"""torchvision's operators, declared where its compiled ones cannot be loaded, so that timm can be imported.

torchvision is built for one PyTorch: beside another, as one for the CPU alone, it cannot be imported, and with it
neither timm nor segmentation_models_pytorch. None of the operators is called by a segmentation network.
"""

import functools
import importlib.util
from pathlib import Path

import torch

NAMES = ("nms", "qnms", "deform_conv2d", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")


@functools.cache
def declare() -> torch.library.Library | None:
    """Declares them unless they can be loaded; what is returned must be kept, and is."""
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
    return library
