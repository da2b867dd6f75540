"""The reference's records on disk: where each belongs, how it is made, and how it is opened.

A record is a bundle in a folder whose name holds a hash of all that the reference's numbers depend
on. Where that changes, the name does, and the reference is captured again.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from parity.core.cases import Case
from parity.core.errors import BundleError, ParityError
from parity.core.files import file_hash, locked
from parity.core.numerics import precision
from parity.core.points import Point
from parity.core.sampling import Masks
from parity.core.store import FORMAT, MANIFEST, TENSORS, Bundle, json_hash, mark_used
from parity.provenance import version
from parity.settings import HERE, Settings
from parity.subjects import qwen2vl

CAPTURE_SOURCES = ("adapters/torch_execution.py", "adapters/torch_inputs.py",
                   "adapters/torch_proofs.py", "adapters/torch_recording.py",
                   "adapters/torch_reference.py", "adapters/torch_rounding.py",
                   "adapters/torch_truth.py", "adapters/torchvision_shim.py",
                   "subjects/qwen2vl.py", "core/narrow.py", "core/store.py")  # fmt: skip


@dataclass
class References:
    """The bundles of one run's settings."""

    settings: Settings
    say: Callable[[str], None] = lambda line: None
    """Called with a line for the user when something takes long."""
    opened: dict[str, str] = field(default_factory=dict)
    """Bundles used: folder name to the hash of the manifest, which holds those of all tensors."""
    made_with: dict[str, list[str]] = field(default_factory=dict)
    """What the reference ran on, as the bundles used say: name to every value that occurs."""

    @cached_property
    def declared(self) -> list[Point]:
        """Every point at module level; a bundle always has them all."""
        depths = qwen2vl.read_depths(self.settings.checkpoint)
        return qwen2vl.points(depths, "module")

    def open(self, case: Case, dtype: str) -> Bundle:
        """The bundle of ``dtype``'s reference, captured first if there is none that is sound.

        Raises:
            ParityError: there is none and it cannot be captured here.
            BundleError: the one there is damaged, and it cannot be captured here.
        """
        folder = self.folder(case, dtype)
        if not folder.exists():
            self.capture([(case, dtype)])
        try:
            bundle = self._sound(case, dtype)
        except BundleError as error:
            self._capture_again(case, dtype, error)
            bundle = self._sound(case, dtype)
        if folder.name not in self.opened:
            self.note(folder.name, self.hash(case, dtype), bundle)
        mark_used(folder)
        return bundle

    def _sound(self, case: Case, dtype: str) -> Bundle:
        """The bundle that is there; all of it is checked when it is opened first.

        Raises:
            BundleError: it is damaged, or is another one.
        """
        folder = self.folder(case, dtype)
        bundle = Bundle.open(folder)
        if bundle.key != self.key(case, dtype):
            raise BundleError(f"{folder} is not the bundle its name says; delete it and run again")
        if folder.name not in self.opened:
            bundle.check()
        return bundle

    def _capture_again(self, case: Case, dtype: str, damage: BundleError) -> None:
        """Capture a damaged bundle anew. The damaged one stays beside it until `prune` takes it.

        Raises:
            BundleError: it cannot be captured here; the damaged one is still in its place.
        """
        folder = self.folder(case, dtype)
        aside = folder.with_name(f"{folder.name}.damaged")
        self.say(f"{damage}\nit is captured again now, and the damaged one kept as {aside.name}")
        try:
            with locked(folder):
                with suppress(BundleError):
                    self._sound(case, dtype)
                    return  # another process was faster
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
            self.capture([(case, dtype)])
        except (ParityError, OSError) as error:
            with suppress(OSError):  # there is a new one: another process was faster
                aside.rename(folder)
            raise BundleError(f"{damage}; it could not be captured again: {error}") from error

    @property
    def origin(self) -> dict[str, object]:
        """Where the records come from, for the run's provenance; nothing if they are made here."""
        return {}

    @staticmethod
    def sampled(bundle: Bundle) -> Masks:
        """Of which rows a record has truths, where it has not those of all; see `Evidence`."""
        return {}

    def size(self, case: Case, dtype: str) -> int | None:
        """Bytes of a record's tensors; ``None`` if it is not captured."""
        tensors = self.folder(case, dtype) / TENSORS
        return tensors.stat().st_size if tensors.exists() else None

    def hash(self, case: Case, dtype: str) -> str:
        """The hash of a record that is there, which holds those of all its tensors."""
        return file_hash(self.folder(case, dtype) / MANIFEST)

    def note(self, name: str, hash_: str, bundle: Bundle) -> None:
        """Remember a bundle that is used, and what it was made with, for the run's provenance."""
        self.opened[name] = hash_
        facts = bundle.provenance.get("reference")
        for name, value in facts.items() if isinstance(facts, dict) else ():
            known = self.made_with.setdefault(str(name), [])
            if str(value) not in known:
                known.append(str(value))

    def capture(self, wanted: Sequence[tuple[Case, str]]) -> None:
        """Capture what is missing of ``wanted``, in a process of its own that may import PyTorch.

        Precisions that are held to one reference share its bundle.

        Raises:
            ParityError: the reference cannot be captured here.
        """
        references = {(case.name, precision(dtype).reference): case for case, dtype in wanted}
        missing = [
            (case, dtype)
            for (_, dtype), case in references.items()
            if not self.folder(case, dtype).exists()
        ]
        if not missing:
            return
        names = ", ".join(dict.fromkeys(case.name for case, _ in missing))
        self.say(f"capturing the reference for {names} (once; kept in {self.settings.bundles})")
        command = [sys.executable, "-m", "parity", "capture", *self._capture_options(missing)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            reason = next((ln for ln in reversed(lines) if ln.startswith("error:")), None)
            raise ParityError(
                "the reference could not be captured: "
                + (reason.removeprefix("error:").strip() if reason else "\n".join(lines[-5:]))
            )

    def _capture_options(self, missing: Sequence[tuple[Case, str]]) -> list[str]:
        settings = self.settings
        options = ["--checkpoint", str(settings.checkpoint), "--bundles", str(settings.bundles),
                   "--cases-file", str(settings.cases_file),
                   "--reference", settings.reference]  # fmt: skip
        for name in dict.fromkeys(case.name for case, _ in missing):
            options += ["--case", name]
        for dtype in dict.fromkeys(dtype for _, dtype in missing):
            options += ["--dtype", dtype]
        return options

    def folder(self, case: Case, dtype: str) -> Path:
        """Where the bundle for exactly these inputs, checkpoint and versions belongs."""
        return self.settings.bundles / (
            f"{case.name}-{precision(dtype).reference}-{json_hash(self.key(case, dtype))[:16]}"
        )

    def key(self, case: Case, dtype: str) -> dict[str, object]:
        """Everything the reference's numbers depend on."""
        return {
            "format": FORMAT,
            "case": case.name,
            "dtype": precision(dtype).reference,
            "inputs": json_hash(case.inputs),
            "files": [file_hash(path) for path in case.files],
            "points": json_hash([point.name for point in self.declared]),
            "reference": self.settings.reference,
            **self.shared_key,
        }

    @cached_property
    def shared_key(self) -> dict[str, object]:
        """What the reference's numbers depend on in every case: checkpoint, sources, versions."""
        folder = self.settings.checkpoint
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return {
            "checkpoint": {path.name: file_hash(path) for path in files},
            "capture": json_hash([file_hash(HERE / name) for name in CAPTURE_SOURCES]),
            "torch": version("torch"),
            "transformers": version("transformers"),
            # Pillow 13 resizes in another order than Pillow 12, and gives other pixels.
            "pillow": version("pillow"),
        }
