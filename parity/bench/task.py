"""What a runner makes of an item: something to be run and timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from parity.core.errors import ParityError
from parity.core.trace import Array

NO_PROFILE = "only the port's model says where its time goes"


def nothing() -> None:
    """No reset is needed."""


@dataclass(frozen=True)
class Task:
    """An item that is ready to run.

    Attributes:
        run: Computes it once and fetches the result, which waits for an asynchronous framework.
        reset: Brings it back to the start before each run; is not timed.
        parts: What one run is divided by: the steps of decoding.
    """

    run: Callable[[], Array]
    reset: Callable[[], None] = nothing
    parts: int = 1


class Runner(Protocol):
    """How a contestant computes; made once in its worker process, before anything else there.

    It is called with the number of threads and its options by name.
    """

    def versions(self) -> dict[str, str]:
        """The versions of what it is made of."""

    def prepare(self, task: str, folder: Path, size: Mapping[str, int]) -> Task:
        """Load what ``task`` needs.

        Raises:
            ParityError: it does not know the task.
        """

    def profile(self, task: Task) -> dict[str, Any]:
        """Where the time of ``task`` goes (see parity.bench.profiling).

        Raises:
            ParityError: it cannot say.
        """


def unknown(task: str, known: Mapping[str, Any]) -> str:
    """The message for a task that a runner does not know."""
    return f"no task {task!r} here; there are: {', '.join(known)}"


def pictures_task(task: str, process: Any, size: Mapping[str, int]) -> Task:
    """A processor on the photograph that the run made, open and in memory."""
    if task != "photo":
        raise ParityError(unknown(task, {"photo": None}))
    from PIL import Image

    with Image.open(str(size["inputs"])) as file:
        picture = file.convert("RGB")
    return Task(lambda: np.asarray(process(picture, size["budget"])["pixel_values"]))
