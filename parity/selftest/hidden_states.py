"""The last hidden states that MindONE's test compares: the reference's, kept, and a candidate's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from parity.baselines import mindone
from parity.baselines.seen import Hidden
from parity.core.errors import ParityError
from parity.core.files import file_hash, locked
from parity.core.numerics import precision
from parity.core.store import Bundle, BundleWriter, ReferenceFiring, json_hash, mark_used
from parity.core.trace import Array
from parity.options import Bundles, Checkpoint, run_alone
from parity.session import Session
from parity.settings import HERE, Settings, default_bundles, load_by_name

REFERENCES = {"transformers": "parity.adapters.torch_last_hidden:last_hidden_state"}
SOURCES = ("adapters/torch_last_hidden.py", "adapters/torch_reference.py", "baselines/mindone.py")


class HiddenStates:
    """Runs the seven tokens on both sides."""

    def __init__(self, session: Session) -> None:
        self.session, self.settings = session, session.settings

    def compare(self, dtype: str) -> Hidden:
        """Both sides' last hidden state; the candidate is the session's, as it is now.

        Raises:
            ParityError: the reference cannot be run here.
        """
        reference = self.reference(mindone.REFERENCES[dtype])
        try:
            own: Array | None = self.session.candidate(dtype).last_hidden_state(*mindone.inputs())
        except Exception:
            own = None  # a finding about the candidate
        return Hidden(reference, own)

    def reference(self, name: str) -> Array:
        """The reference's in the precision ``name``, float32 ``[1, 7, H]``; computed once.

        Raises:
            ParityError: there is none and it cannot be computed here.
            BundleError: the one there is damaged.
        """
        folder = self.folder(name)
        if not folder.exists():
            self._start(name)
        bundle = Bundle.open(folder)
        mark_used(folder)
        return bundle.tensor(bundle.points[mindone.POINT][0].value)

    def folder(self, name: str) -> Path:
        """Where it is kept."""
        return self.settings.bundles / f"seven-tokens-{name}-{json_hash(self.key(name))[:16]}"

    def key(self, name: str) -> dict[str, object]:
        """Everything it depends on."""
        own = {"precision": name, "ids": mindone.IDS,
               "sources": [file_hash(HERE / path) for path in SOURCES]}  # fmt: skip
        return {**self.session.references.shared_key, **own}

    def _start(self, name: str) -> None:
        """Compute it in a process of its own, which may import PyTorch."""
        command = [sys.executable, "-m", "parity.selftest.hidden_states", name]
        command += ["--bundles", str(self.settings.bundles)]
        command += ["--checkpoint", str(self.settings.checkpoint)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ParityError(f"the reference's last hidden state: {reason[0]}")


def _capture(
    name: Annotated[str, typer.Argument(help="Precision of the reference.")],
    checkpoint: Checkpoint = Settings.checkpoint,
    bundles: Bundles = None,
) -> None:
    """Compute the reference's last hidden state and keep it."""
    states = HiddenStates(
        Session(Settings(checkpoint=checkpoint, bundles=bundles or default_bundles()))
    )
    run_reference = load_by_name("transformers", REFERENCES, "reference")
    folder = states.folder(name)
    with locked(folder):
        if not folder.exists():
            value = run_reference(checkpoint, precision(name), *mindone.inputs())
            writer = BundleWriter(states.key(name))
            writer.points[mindone.POINT] = [ReferenceFiring(writer.add(value), "float32")]
            writer.write(folder)


if __name__ == "__main__":
    run_alone(_capture)
