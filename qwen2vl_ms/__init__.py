"""Qwen2-VL for MindSpore.

Importing the package imports no framework: the names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qwen2vl_ms.errors import Qwen2VLError

if TYPE_CHECKING:
    from qwen2vl_ms.config import Qwen2VLConfig
    from qwen2vl_ms.generation_config import GenerationConfig
    from qwen2vl_ms.model import Qwen2VLForConditionalGeneration
    from qwen2vl_ms.processing import Qwen2VLProcessor
    from qwen2vl_ms.streaming import TextStreamer
    from qwen2vl_ms.vision_info import process_vision_info

__version__ = "0.1.0"

__all__ = [
    "GenerationConfig",
    "Qwen2VLConfig",
    "Qwen2VLError",
    "Qwen2VLForConditionalGeneration",
    "Qwen2VLProcessor",
    "TextStreamer",
    "__version__",
    "process_vision_info",
]

_LAZY = {
    "GenerationConfig": "qwen2vl_ms.generation_config",
    "Qwen2VLConfig": "qwen2vl_ms.config",
    "Qwen2VLForConditionalGeneration": "qwen2vl_ms.model",
    "Qwen2VLProcessor": "qwen2vl_ms.processing",
    "TextStreamer": "qwen2vl_ms.streaming",
    "process_vision_info": "qwen2vl_ms.vision_info",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *__all__})
