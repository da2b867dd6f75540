"""Writes what msprobe writes of a MindSpore model at level L0, where msprobe is not installed.

Held against a dump of the real one in ``test_msprobe_judge``.
"""

import json
from collections import Counter

import numpy as np
from mindspore import Tensor

from parity.adapters.mindspore_candidate import MindSporeCandidate, as_array
from parity.core.numerics import precision
from parity.core.points import STAGES
from parity.faults import planted
from parity.settings import FIXTURES


class Writing:
    """Hooks on every cell that save what goes in and comes out."""

    def __init__(self, model, folder):
        self.tensors = folder / "dump_tensor_data"
        self.tensors.mkdir(parents=True)
        self.folder, self.data, self.calls = folder, {}, Counter()
        self.handles = []
        for path, cell in model.cells_and_names():
            if path:
                name = f"Cell.{path}.{type(cell).__name__}.forward"
                before, after = self._before(name), self._after(name)
                self.handles += [
                    cell.register_forward_pre_hook(before, with_kwargs=True),
                    cell.register_forward_hook(after, with_kwargs=True),
                ]

    def close(self):
        for handle in self.handles:
            handle.remove()
        told = {"task": "tensor", "level": "L0", "framework": "mindspore",
                "dump_data_dir": "elsewhere", "data": self.data}  # fmt: skip
        (self.folder / "dump.json").write_text(json.dumps(told))

    def _before(self, name):
        def hook(cell, args, kwargs):
            call = f"{name}.{self.calls[name]}"
            self.data[call] = {
                "input_args": [self._entry(f"{call}.input.{n}", one) for n, one in enumerate(args)],
                "input_kwargs": {
                    key: self._entry(f"{call}.kwargs.{key}", one) for key, one in kwargs.items()
                },
            }

        return hook

    def _after(self, name):
        def hook(cell, args, kwargs, output):
            call = f"{name}.{self.calls[name]}"
            self.calls[name] += 1
            members = output if isinstance(output, tuple) else (output,)
            entries = [self._entry(f"{call}.output.{n}", one) for n, one in enumerate(members)]
            self.data[call] = {**self.data.pop(call), "output": entries}  # now it has finished

        return hook

    def _entry(self, name, value):
        if isinstance(value, tuple | list):
            return [self._entry(f"{name}.{n}", one) for n, one in enumerate(value)]
        if not isinstance(value, Tensor | np.ndarray):
            return None
        array = as_array(value)
        np.save(self.tensors / f"{name}.npy", array)
        return {"type": "mindspore.Tensor", "dtype": str(value.dtype), "shape": list(array.shape),
                "data_name": f"{name}.npy"}  # fmt: skip


def write_port(folder, case, dtype="fp32", fault=None):
    """Dump the port on ``case``, with a fault planted."""
    candidate = MindSporeCandidate(FIXTURES / "qwen2vl-tiny", precision(dtype), "CPU")
    writing = Writing(candidate.model, folder)
    with planted(fault):
        for call in case.calls:
            inputs = candidate.preprocess(call)
            trace = candidate.free(inputs, [[] for _ in inputs["input_ids"]], [], STAGES)
            assert trace.stopped is None
    writing.close()
