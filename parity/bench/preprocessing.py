"""The image processors that are measured: the port's, and the reference's two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def prepare(subject: str) -> Callable[[Any, int], Any]:
    """The function from a picture and a pixel budget to patches.

    Args:
        subject: ``port``, or the reference's ``pillow`` or ``torchvision``, its default, which has
            to be imported before transformers.
    """
    if subject == "port":
        from qwen2vl_ms.image_processing import Qwen2VLImageProcessor

        port = Qwen2VLImageProcessor()
        return lambda picture, budget: port([picture], max_pixels=budget)
    if subject == "pillow":
        from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as pillow

        processor: Any = pillow.Qwen2VLImageProcessorPil()
    else:
        from parity.adapters.torchvision_shim import import_torchvision

        import_torchvision()
        from transformers.models.qwen2_vl import image_processing_qwen2_vl as torchvision

        processor = torchvision.Qwen2VLImageProcessor()
    kind = "np" if subject == "pillow" else "pt"
    least = processor.size["shortest_edge"]
    return lambda picture, budget: processor(
        [picture], size={"shortest_edge": least, "longest_edge": budget}, return_tensors=kind
    )
