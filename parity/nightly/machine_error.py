"""What can be wrong with the machine rather than with the port: each has a name, and status 2."""

from __future__ import annotations

from parity.core.errors import ParityError

NO_MINDSPORE = "no-mindspore"
NO_DEVICE = "no-device"
NO_BUNDLE = "no-bundle"
DAMAGED_BUNDLE = "damaged-bundle"
NO_SPACE = "no-space"
NO_HISTORY = "no-history"
DEVICE_LOST = "device-lost"
TIME_LIMIT = "time-limit"
RUN_ENDED = "run-ended"
NO_RESULT = "no-result"
KNOWN = {
    NO_MINDSPORE: "MindSpore cannot be imported",
    NO_DEVICE: "the device is not there, or does not compute",
    NO_BUNDLE: "the reference's bundle is not there",
    DAMAGED_BUNDLE: "the bundle is damaged, or lacks what is asked for, or is of another model",
    NO_SPACE: "the disk is full, or cannot be written",
    NO_HISTORY: "the history cannot be reached, read or written",
    DEVICE_LOST: "the device computed before the run and does not any more",
    TIME_LIMIT: "the run took longer than it was given",
    RUN_ENDED: "the run ended without a verdict",
    NO_RESULT: "the job left nothing behind, as when its runner was lost",
}
"""Every name, and what it means."""
OF_EITHER = frozenset({TIME_LIMIT, RUN_ENDED})
"""What a port that does not load, or is too slow, may be the cause of as well."""


class MachineError(ParityError):
    """The night could not be judged, and the port is not to blame."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.message = name, message
