"""Where a run's numbers come from: enough to make the same run again, and to tell two apart."""

from __future__ import annotations

import os
import platform
import resource
import shlex
import sys
from datetime import datetime, timezone
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from parity.commit import commit_of
from parity.core.files import file_hash
from parity.core.store import json_hash
from parity.device.cann import ascend_versions
from parity.device.chips import resolved
from parity.environment import recorded, without_passwords
from parity.settings import CANDIDATES, target

if TYPE_CHECKING:
    from parity.session import Session
    from parity.settings import Settings

PACKAGES = ("mindspore", "numpy", "torch", "transformers", "safetensors", "tokenizers", "pillow")
NONE = "none"
MEMORY = "peak memory (MB)"
DEVICE = ("soc", "cann", "driver", "firmware")
PRECISION = ("hf32 matmul", "hf32 convolution", "precision mode", "deterministic", "overflow mode")
SHORT = 16
"""Digits of a hash that a report shows."""


def provenance(session: Session, seconds: float) -> dict[str, object]:
    """The facts about a run, as text, numbers and tables of them; what is not there is ``none``.

    Args:
        session: After the run.
        seconds: How long it took.
    """
    settings = session.settings
    code = commit_of(candidate_file(settings))
    return {
        "command": command(),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        MEMORY: peak_memory(),
        "commit": code.hash,
        "working tree": code.state,
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        **device(session),
        **choices(settings),
        **gates_used(session),
        "checkpoint": f"{settings.checkpoint.name} {_short(_checkpoint_hash(session))}",
        "cases file": named(settings.cases_file),
        "bundles": [f"{name} {_short(hash_)}"
                    for name, hash_ in sorted(session.references.opened.items())] or NONE,
        "reference": {"name": settings.reference,
                      **{k: ", ".join(v) for k, v in session.references.made_with.items()}},
        **session.references.origin,
        "environment": recorded(os.environ) or NONE,
    }  # fmt: skip


def choices(settings: Settings) -> dict[str, object]:
    """What the run was asked for."""
    overrides = settings.overrides
    return {
        "candidate": settings.candidate,
        "cases": ", ".join(settings.cases) or "all",
        "dtypes": ", ".join(settings.dtypes),
        "mode": ", ".join(settings.modes),
        "level": ", ".join(dict.fromkeys(map(settings.level_in, settings.modes))),
        "left out": ", ".join(settings.without) or NONE,
        "planted fault": settings.plant or NONE,
        "numerics model": settings.numerics or NONE,
        "overrides": NONE if overrides is None else f"{overrides} {_short(file_hash(overrides))}",
    }


def command() -> str:
    """The command line as it can be typed again, without passwords."""
    program = Path(sys.argv[0])
    module = program.name == "__main__.py"
    words = ["python", "-m", program.parent.name] if module else [program.name]
    return shlex.join(map(without_passwords, [*words, *sys.argv[1:]]))


def versions() -> dict[str, str]:
    """Of Python and every package that numbers depend on, as installed here."""
    return {
        "python": platform.python_version(),
        **{name: version(name) or NONE for name in PACKAGES},
    }


def device(session: Session) -> dict[str, object]:
    """The device with its software, and the switches that change its arithmetic."""
    name = session.settings.device
    facts = resolved(session.device_facts())
    if name.startswith("Ascend"):
        facts |= ascend_versions(os.environ)
    return {
        "device": {"name": name, **{one: facts.get(one, NONE) for one in DEVICE}},
        "precision": {one: facts.get(one, NONE) for one in PRECISION},
    }


def peak_memory() -> int:
    """The most memory that was resident at once in this process or one it started, in MB."""
    unit = 1 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss, in bytes
    most = max(resource.getrusage(who).ru_maxrss
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))  # fmt: skip
    return most * unit >> 20


def gates_used(session: Session) -> dict[str, object]:
    """The gates files with their hashes, and what a reader has to know about them."""
    gates = [session.gates_for(dtype, case="") for dtype in session.settings.dtypes]
    files = [(one.source, Path(one.source)) for one in gates]
    names = [named(path) if path.is_file() else source for source, path in files]
    notes = dict.fromkeys(one.note for one in gates if one.note)
    return {"gates": ", ".join(names), **({"gates note": "; ".join(notes)} if notes else {})}


def combined(facts: dict[str, object], more: dict[str, object]) -> dict[str, object]:
    """The facts of a run that two processes shared: all bundles, the most memory, else the last."""
    if not facts:
        return more
    bundles = {name for part in (facts, more) for name in _listed(part.get("bundles"))}
    most = max(int(str(part.get(MEMORY, 0))) for part in (facts, more))
    return {**facts, **more, "bundles": sorted(bundles) or NONE, MEMORY: most}


def candidate_file(settings: Settings) -> Path:
    """A file of the candidate's code: its commit is the run's. Nothing is imported for it."""
    module, _ = target(settings.candidate, CANDIDATES, "candidate")
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    found = (Path(place) for place in places if place)
    return next((path for path in found if path.exists()), Path(__file__))


def named(path: Path) -> str:
    """A file's name and the beginning of its hash."""
    return f"{path.name} {_short(file_hash(path))}"


def _short(hash_: str) -> str:
    """The beginning of a hash."""
    return hash_[:SHORT]


def _listed(value: object) -> list[str]:
    """A list's texts; none for what is no list."""
    return [str(one) for one in value] if isinstance(value, list) else []


def _checkpoint_hash(session: Session) -> str:
    """One hash over those of all of the checkpoint's files."""
    return json_hash(session.references.shared_key["checkpoint"])


def version(package: str) -> str | None:
    """Version of an installed package, without importing it; ``None`` if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
