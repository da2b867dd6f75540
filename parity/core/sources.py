"""Where a point's numbers are made: the candidate's source line and the reference's class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Both implementations of one point; ``None`` for what is not known."""

    candidate_class: str | None = None
    """Such as ``VisionAttention``, or the function: ``vision_cu_seqlens``."""
    candidate_file: str | None = None
    """From the repository's root, parts joined by ``/``: ``qwen2vl_ms/vision.py``."""
    candidate_line: int | None = None
    """Where the method that computes it begins, counted from 1."""
    built_file: str | None = None
    """The file of the module around it, which chooses its sizes and options."""
    built_line: int | None = None
    """Where that one makes it."""
    reference_class: str | None = None
    """Such as ``Qwen2VLVisionBlock``."""
    reference_file: str | None = None
    """From the folder of installed packages: ``transformers/models/qwen2_vl/...``."""
    reference_package: str | None = None
    """That package and its version: ``transformers 5.23.0``."""
