"""Real files to try things on: a captured bundle, the report and the history of two runs, gates."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.store import MANIFEST, TENSORS, Bundle
from parity.reliability.damage import Kept
from parity.settings import HERE, Settings

CASE, DTYPE, FAULT = "text-only", "fp32", "rms-eps"
"""The smallest case, and a fault that it shows: a report of a failing run says more."""
GATES = "CPU-fp32.toml"


def command(arguments: Sequence[str]) -> list[str]:
    """``python -m parity`` with arguments, as the harness calls itself."""
    return [sys.executable, "-m", "parity", *arguments]


def environment() -> dict[str, str]:
    """The environment of such a process: it finds this very harness, wherever it is started."""
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def make(folder: Path) -> list[Kept]:
    """Fill a folder with real files, one of each kind.

    Raises:
        ParityError: a run could not be made here.
    """
    bundles, report, history = folder / "bundles", folder / "report", folder / "history.sqlite"
    run_once(bundles, report, history)
    run_once(bundles, report, history, "--plant", FAULT)
    (folder / GATES).write_bytes((Settings().gates / GATES).read_bytes())
    bundle = next(path for path in bundles.iterdir() if path.is_dir())
    return [*of_bundle(bundle), of_rows(report / "rows.json"), of_history(history),
            of_gates(folder / GATES)]  # fmt: skip


def run_once(bundles: Path, report: Path, history: Path, *options: str) -> None:
    """Make one run of the smallest case, with the user's own bundle if there is one.

    Raises:
        ParityError: it could not be made.
    """
    borrow_bundle(bundles)
    done = subprocess.run(
        command(["run", "--case", CASE, "--dtype", DTYPE, "--bundles", str(bundles), "--report",
                 str(report), "--history", str(history), *options]),
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise ParityError(f"there is no run to try this on: {done.stderr.strip()[-500:]}")


def borrow_bundle(bundles: Path) -> None:
    """Copy the bundle of the smallest case from the user's cache, where it is there."""
    from parity.session import Session

    session = Session(Settings(cases=(CASE,), dtypes=(DTYPE,)))
    source = session.references.folder(session.cases[0], DTYPE)
    if source.is_dir() and not (bundles / source.name).exists():
        shutil.copytree(source, bundles / source.name)


def of_bundle(folder: Path) -> list[Kept]:
    """The two files of a bundle."""

    def read() -> object:
        bundle = Bundle.open(folder)
        bundle.check()
        tensors = {name: zlib.crc32(bundle.tensor(name).tobytes()) for name in bundle.used}
        return repr((bundle.key, bundle.provenance, bundle.proofs, bundle.tokens, bundle.chunks,
                     bundle.points, sorted(tensors.items())))  # fmt: skip

    return [Kept(name, folder / name, read) for name in (MANIFEST, TENSORS)]


def of_rows(path: Path) -> Kept:
    """The rows of a report."""
    from parity.report.rows_io import read_json

    return Kept("rows.json", path, lambda: repr(read_json(path)))


def of_history(path: Path) -> Kept:
    """A history of runs of one environment."""
    from parity.history.database import History
    from parity.history.measured import load
    from parity.history.place import as_url

    def read() -> object:
        history = History(as_url(path))
        runs = history.runs()
        found = load(history, runs)
        arrays = [array.tobytes() for array in (found.verdicts, found.local, found.end)]
        return repr((runs, found.keys, arrays))

    return Kept("history.sqlite", path, read)


def of_gates(path: Path) -> Kept:
    """A gates file."""
    from parity.core.gates_file import read_gates_file

    return Kept("gates (TOML)", path, lambda: repr(read_gates_file(path)))
