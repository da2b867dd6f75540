"""Run in a process of its own: how far a checkpoint's loading raises the resident memory.

    python -m qwen2vl_ms.tests.memory_of_loading FOLDER loaded|hoarded

`hoarded` reads every tensor before it sets the first, which is what the loader must not do: it
shows that the measurement sees it. Prints JSON in bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def resident(kind: str) -> int:
    """``VmRSS``, now, or ``VmHWM``, the highest so far, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{kind}:")[1].split()[0]) * 1024


def hoard(folder: str) -> list[object]:
    """Every tensor of a checkpoint, as float32."""
    import numpy as np

    from qwen2vl_ms.checkpoint import open_checkpoint

    stored = open_checkpoint(folder)
    return [np.concatenate(list(file.slices(name))) for name, file in stored.items()]


def main(folder: str, how: str) -> None:
    import mindspore as ms

    from qwen2vl_ms import Qwen2VLForConditionalGeneration

    ms.set_device("CPU")
    ms.ops.ones((8, 8)).asnumpy()  # the backend starts with the first operation
    before = resident("VmRSS")
    held = hoard(folder) if how == "hoarded" else []
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder)
    parameters = list(model.get_parameters())
    print(
        json.dumps(
            {
                "peak": resident("VmHWM") - before,
                "model": sum(p.size for p in parameters) * 4,
                "largest": max(p.size for p in parameters) * 4,
                "held": len(held),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
