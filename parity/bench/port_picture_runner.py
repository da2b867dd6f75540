"""The port's image processor."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parity.bench.preprocessing import prepare
from parity.bench.task import NO_PROFILE, Task, pictures_task
from parity.core.errors import ParityError


class PictureRunner:
    """``qwen2vl_ms.image_processing.Qwen2VLImageProcessor``."""

    def __init__(self, threads: int) -> None:
        """Nothing of it computes with more than one thread but what NumPy does with ``threads``."""
        self.process = prepare("port")

    def versions(self) -> dict[str, str]:
        """Of what it is made of."""
        return {name: version(name) for name in ("numpy", "pillow")}

    def prepare(self, task: str, folder: Path, size: Mapping[str, int]) -> Task:
        """Read the photograph."""
        return pictures_task(task, self.process, size)

    def profile(self, task: Task) -> dict[str, Any]:
        """Only the port's model is profiled."""
        raise ParityError(NO_PROFILE)
