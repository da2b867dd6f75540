"""Where a point's numbers are made: the candidate's source line and the reference's class."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """Both implementations of one point's module; ``None`` for what is not known."""

    candidate_class: str | None = None
    """Such as ``VisionBlock``."""
    candidate_file: str | None = None
    """From the repository's root, parts joined by ``/``: ``qwen2vl_ms/vision.py``."""
    candidate_line: int | None = None
    """Where the method that computes it begins, counted from 1."""
    reference_class: str | None = None
    """Such as ``Qwen2VLVisionBlock``."""
    reference_file: str | None = None
    """From the folder of installed packages: ``transformers/models/qwen2_vl/...``."""
    reference_package: str | None = None
    """That package and its version: ``transformers 5.14.1``."""
