"""Telling a device that was lost from a candidate that is wrong: by what CANN says of it.

The codes and phrases are those of CANN's documentation of its return codes and of logs that users
have published. None of it has been seen on a device by this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CODES = {
    "507010": "the task scheduler's heartbeat was lost",
    "507033": "the device did not start",
    "507053": "its memory had an uncorrectable error",
    "507054": "its memory had an error of several bits",
    "507899": "its driver failed",
    "507901": "the connection between host and device was closed",
    "EL0001": "the device is absent or abnormal",
}
"""CANN's codes that say that the device is at fault, whatever ran on it."""
RECOVER = "Reset or replace it (npu-smi shows its health), then go on with --resume"
_CODE = re.compile(rf"(?<![0-9A-Za-z])({'|'.join(CODES)})(?![0-9A-Za-z])")
_PHRASE = re.compile(
    r"Device\[\d+\] lost heartbeat|Device_Absent/Abnormal|driver error:no valid device"
)


def lost_device(texts: Iterable[str | None]) -> str | None:
    """Why a device was lost, if one of ``texts``, errors and printed lines, says that it was."""
    for text in texts:
        if text and (found := _CODE.search(text)):
            return f"{CODES[found[1]]} (CANN's error {found[1]})"
        if text and (found := _PHRASE.search(text)):
            return f"CANN said {found[0]!r}"
    return None
