"""Candidates for the tests of the night: what becomes of a run when its machine fails."""

import os
import signal
from pathlib import Path

from parity.adapters.mindspore_candidate import MindSporeCandidate


class LosesItsDevice(MindSporeCandidate):
    """Throws in the middle of a block, as MindSpore does whose device is gone; the test says how
    the machine is afterwards by a file that ``PARITY_TEST_LOST`` names."""

    message = "aclrtSynchronizeStream failed, device is lost"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)

        def lost(*_, **__):
            Path(os.environ["PARITY_TEST_LOST"]).touch()
            raise RuntimeError(self.message)

        self.model.model.visual.blocks[2].mlp.construct = lost


class LosesItForAMoment(LosesItsDevice):
    """The same, in the words of CANN, by which a run recognises it."""

    message = "Sync stream failed: rtDeviceSynchronize, runtime result = 507010."


class EndsTheRun(MindSporeCandidate):
    """Ends its worker's parent, as a system that runs out of memory does."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        os.kill(os.getppid(), signal.SIGKILL)
