"""Contestants with something wrong about them, for the tests of the benchmark."""

import os
import signal
import time
from dataclasses import replace

from parity.bench.port_picture_runner import PictureRunner


class Wrong(PictureRunner):
    """Computes something else: every pixel a hundredth too large."""

    def prepare(self, task, folder, size):
        made = super().prepare(task, folder, size)
        return replace(made, run=lambda: made.run() * 1.01)


class Loud(PictureRunner):
    """Writes to the standard output, as frameworks do, from Python and from below it."""

    def prepare(self, task, folder, size):
        print("a line that is no answer")
        os.write(1, b"another\n")
        return super().prepare(task, folder, size)


class Killed(PictureRunner):
    """Is ended while it works, as the system does when memory runs out."""

    def prepare(self, task, folder, size):
        os.kill(os.getpid(), signal.SIGKILL)


class Leaving(PictureRunner):
    """Ends by itself, with a word on its standard error."""

    def prepare(self, task, folder, size):
        os.write(2, b"the allocator is out of luck\n")
        os._exit(7)


class Slow(PictureRunner):
    """Does not come to an end."""

    def prepare(self, task, folder, size):
        time.sleep(600)


class Unable(PictureRunner):
    """Cannot be made."""

    def __init__(self, threads):
        raise ValueError("no such\n  processor")
