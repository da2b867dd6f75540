"""Where a run's numbers come from: enough to make the same run again."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from parity.core.files import file_hash

if TYPE_CHECKING:
    from parity.session import Session

PACKAGES = ("mindspore", "numpy", "torch", "transformers", "safetensors", "tokenizers", "pillow")
VARIABLES = ("OMP_NUM_THREADS", "MS_ENABLE_NUMA", "MS_ASCEND_CHECK_OVERFLOW_MODE",
             "ASCEND_LAUNCH_BLOCKING", "HCCL_DETERMINISTIC")  # fmt: skip


def provenance(session: Session, seconds: float) -> dict[str, object]:
    """A flat table of facts about a run."""
    settings, overrides = session.settings, session.settings.overrides
    facts: dict[str, object] = {
        "command": shlex.join(["python", "-m", "parity", *sys.argv[1:]])
        if sys.argv[0].endswith("__main__.py")
        else shlex.join(["pytest", *sys.argv[1:]]),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: version(name) or "not installed" for name in PACKAGES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "device": settings.device,
        "candidate": settings.candidate,
        "reference": settings.reference,
        "dtypes": ", ".join(settings.dtypes),
        "mode": settings.mode,
        "level": settings.seen_level,
        "planted fault": settings.plant or "none",
        "checkpoint": settings.checkpoint.name,
        **gates_used(session),
        "overrides": "none" if overrides is None else f"{overrides} {file_hash(overrides)[:16]}",
        "bundles": ", ".join(sorted(session.references.opened)) or "none",
        "seconds": round(seconds, 1),
        "peak memory (MB)": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    facts.update({name: os.environ[name] for name in VARIABLES if name in os.environ})
    return facts


def gates_used(session: Session) -> dict[str, object]:
    """The gates files with their hashes, and what a reader has to know about them."""
    gates = [session.gates_for(dtype, case="") for dtype in session.settings.dtypes]
    files = [(one.source, Path(one.source)) for one in gates]
    names = [f"{path.name} {file_hash(path)[:16]}" if path.is_file() else source
             for source, path in files]  # fmt: skip
    notes = dict.fromkeys(one.note for one in gates if one.note)
    return {"gates": ", ".join(names), **({"gates note": "; ".join(notes)} if notes else {})}


def commit() -> str:
    """The commit of the working tree, marked if it is changed; ``unknown`` outside of git."""
    where = str(Path(__file__).parent)
    try:
        done = subprocess.run(
            ["git", "-C", where, "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def version(package: str) -> str | None:
    """Version of an installed package, without importing it; ``None`` if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
