"""Candidates for the tests, each odd in one way that a run has to notice."""

import numpy as np

from parity.adapters.mindspore_candidate import MindSporeCandidate


class Unsteady(MindSporeCandidate):
    """Gives other bits each time it runs."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        rng = np.random.default_rng(0)
        head = self.model.lm_head
        original = head.construct
        head.construct = lambda x: original(x) * float(1 + 1e-3 * rng.random())
