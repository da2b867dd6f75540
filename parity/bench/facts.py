"""What a table has to say about where its figures come from."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

CPU_FILE = Path("/proc/cpuinfo")


def machine() -> str:
    """The processor's name and count, the system, and how busy it is with other things."""
    name = platform.processor() or platform.machine()
    if CPU_FILE.is_file():
        lines = CPU_FILE.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((ln.partition(":")[2].strip() for ln in lines if ln.startswith("model name")),
                    name)  # fmt: skip
    return f"{name}, {os.cpu_count()} processors, {platform.system()}, {busyness()}"


def busyness() -> str:
    """The load average before the run, which is what other programs do."""
    if not hasattr(os, "getloadavg"):
        return "load unknown"
    load = os.getloadavg()[0]
    busy = "; OTHER PROGRAMS WERE RUNNING" if load > 0.5 * (os.cpu_count() or 1) else ""
    return f"load {load:.1f} at the start{busy}"


def told_versions(versions: Mapping[str, Mapping[str, str]]) -> str:
    """Every package and version once, packages of several versions with all of them."""
    pairs = {(name, number) for found in versions.values() for name, number in found.items()}
    return ", ".join(f"{name} {number}" for name, number in sorted(pairs))


def counted(count: int, thing: str) -> str:
    """``1 round``, ``2 rounds``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
