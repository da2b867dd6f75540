"""What the porting loop is measured against: ``python -m parity.bench.mindspore_bare CASE...``.

A script that does the same forward passes as ``pytest parity/ -k vision``, and nothing else: each
case is read by the processor once, and its images go through the vision tower twice.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mindspore import Tensor

from parity.adapters.mindspore_candidate import MindSporeCandidate
from parity.core.cases import load_cases, select_cases
from parity.core.numerics import precision
from parity.settings import FIXTURES

RUNS = 2
KINDS = (("pixel_values", "image_grid_thw"), ("pixel_values_videos", "video_grid_thw"))


def main(names: Sequence[str]) -> None:
    """Run the vision tower on the cases called ``names``, or on all of them."""
    candidate = MindSporeCandidate(FIXTURES / "qwen2vl-tiny", precision("fp32"), "CPU")
    tower = candidate.model.model.visual
    for case in select_cases(load_cases(FIXTURES / "cases.toml"), tuple(names)):
        for call in case.calls:
            inputs = candidate.preprocess(call)
            for pixels, grid in KINDS * RUNS:
                if pixels in inputs:
                    seen = Tensor(inputs[pixels])
                    tower(hidden_states=seen, grid_thw=inputs[grid]).asnumpy()


if __name__ == "__main__":
    main(sys.argv[1:])
