"""Candidates for the tests that end, or hang, in the middle of a block."""

import ctypes
import os
import resource
import time
from itertools import count

import numpy as np
from mindspore import Tensor

from parity.adapters.mindspore_candidate import MindSporeCandidate


class Sabotaged(MindSporeCandidate):
    """Ends in the middle of a block of the vision tower, which text alone does not reach."""

    CALLS = range(1, 2)
    """Which calls of the module end it: the first is in the free run, the second in the forced."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        cell, calls = self.model.model.visual.blocks[1].mlp, count(1)
        original = cell.construct

        def construct(x):
            if next(calls) in self.CALLS:
                self.end()
            return original(x)

        cell.construct = construct

    def end(self):
        """Nothing odd: the healthy twin."""


class Stuck(Sabotaged):
    def end(self):
        time.sleep(3600)


class Gone(Sabotaged):
    CALLS = range(2, 3)

    def end(self):
        os._exit(3)


class Crashing(Sabotaged):
    CALLS = range(2, 3)

    def end(self):
        ctypes.string_at(0)


class Throwing(Sabotaged):
    CALLS = range(1, 9)

    def end(self):
        raise ValueError("no such operator")


class Starving(Throwing):
    """Wants more memory than its process may have, from Python."""

    def end(self):
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, before[1]))
        try:
            np.ones(1 << 28)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


class StarvingInside(Throwing):
    """Wants it from MindSpore."""

    def end(self):
        Tensor(np.ones((1 << 15, 1 << 3), np.float32)).tile((1, 1 << 22)).asnumpy()


class StarvingTheRun(Sabotaged):
    """Leaves no memory for the comparison either."""

    def end(self):
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
