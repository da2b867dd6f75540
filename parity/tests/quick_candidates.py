"""Candidates without a framework, for the tests of worker processes: each ends in its own way.

All are healthy on ``text-only`` in that they only throw, which a run reports as rows.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from parity.core.trace import Trace

ODD = "single-image"


class Quick:
    """Throws in its processor, and shows where."""

    def __init__(self, checkpoint, precision, device, *, jit=False):
        self.precision = precision

    def holes(self):
        return []

    def preprocess(self, case):
        if case.name == ODD:
            self.misbehave()
        raise ValueError("nothing is computed here")

    def misbehave(self):
        """Nothing odd."""

    def forced(self, bundle, points, stages):
        fed = {name.removeprefix("processor."): [firing.value for firing in firings]
               for name, firings in bundle.points.items()
               if name.startswith("processor.")}  # fmt: skip
        return Trace(stopped="ValueError: nothing is computed here", fed=fed)

    def pieces(self, ids):
        return ["?" for _ in ids]

    def sources(self, points):
        return {}


class Hanging(Quick):
    def misbehave(self):
        time.sleep(3600)


class HangingInForeignCode(Quick):
    """Holds Python's lock for ever, so that no thread of this process can do anything."""

    def misbehave(self):
        ctypes.PyDLL(None).pause()


class Exiting(Quick):
    def misbehave(self):
        os._exit(0)


class Leaving(Quick):
    def misbehave(self):
        sys.exit("I have had enough")


class Crashing(Quick):
    def misbehave(self):
        ctypes.string_at(0)


class Killed(Quick):
    """As by the system when memory runs out."""

    def misbehave(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Hungry(Quick):
    """Uses more memory than there is, outside of what a run catches."""

    def forced(self, bundle, points, stages):
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        if "processor.pixel_values" in bundle.points:
            np.ones(1 << 33)
        return super().forced(bundle, points, stages)


class Unloadable(Quick):
    def __init__(self, *arguments, **options):
        os._exit(7)


class Parent(Quick):
    """Hangs, and has started a process that would outlive it."""

    def misbehave(self):
        child = subprocess.Popen(["sleep", "3600"])
        print(f"child {child.pid}", flush=True)
        time.sleep(3600)


class Talking(Quick):
    def misbehave(self):
        print("on standard output", flush=True)
        print("on standard error", file=sys.stderr, flush=True)


class Waiting(Quick):
    """Is at ``text-only`` for as long as a file is there."""

    def preprocess(self, case):
        while case.name == "text-only" and Path(os.environ["QUICK_WAITS"]).exists():
            time.sleep(0.05)
        return super().preprocess(case)


class LosingItsDevice(Quick):
    """Throws what MindSpore throws when CANN has lost the device."""

    def misbehave(self):
        raise RuntimeError("Sync stream failed: rtDeviceSynchronize, runtime result = 507010.")


class DyingOfItsDevice(Quick):
    """Says so on its way out."""

    def misbehave(self):
        print("[ERROR] RUNTIME: Device[1] lost heartbeat.[FUNC:SyncTask]", flush=True)
        os.abort()
