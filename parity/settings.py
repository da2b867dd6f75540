"""What a run is asked for: its settings, and what their names stand for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.core.errors import ParityError
from parity.core.rows import GRAPH, PYNATIVE
from parity.core.tolerance import DEFAULT_GATES

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
CANDIDATES = {"mindspore": "parity.adapters.mindspore_candidate:MindSporeCandidate"}
REFERENCES = {"transformers": "parity.adapters.torch_reference:TorchReference"}


def default_bundles() -> Path:
    """The user's cache folder for bundles."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("parity")) / "bundles"


@dataclass(frozen=True)
class Settings:
    """What to compare with what; every field has the command line option of its name."""

    checkpoint: Path = FIXTURES / "qwen2vl-tiny"
    cases_file: Path = FIXTURES / "cases.toml"
    cases: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("fp32",)
    level: str = "module"
    modes: tuple[str, ...] = (PYNATIVE,)
    """How the candidate executes, of `parity.core.rows.MODES`; each mode is a run of its own."""
    device: str = "CPU"
    hf32: tuple[str, ...] = ()
    """What may compute in HF32 on Ascend: ``matmul``, ``conv``."""
    candidate: str = "mindspore"
    reference: str = "transformers"
    bundles: Path = field(default_factory=default_bundles)
    bundle: Path | None = None
    """Folder of a portable bundle to run on, instead of captured references."""
    plant: str | None = None
    numerics: str | None = None
    """The numerics model that the port's operations follow, instead of the CPU's own."""
    without: tuple[str, ...] = ()
    """Patterns of modules to leave out, as if they were not ported yet."""
    gates: Path = DEFAULT_GATES
    """Folder of the gates files."""
    overrides: Path | None = None
    """File of overrides."""

    @property
    def mode(self) -> str:
        """The first mode: of whatever runs in one alone."""
        return self.modes[0]

    def level_in(self, mode: str) -> str:
        """The level of the points that are declared: in graph mode blocks and what is outside."""
        return "block" if mode == GRAPH else self.level


def target(name: str, known: dict[str, str], what: str) -> tuple[str, str]:
    """Module and attribute that ``name`` stands for: one of ``known``, or ``module:attribute``.

    Raises:
        ParityError: it is neither.
    """
    module, _, attribute = known.get(name, name).partition(":")
    if not attribute:
        raise ParityError(
            f"unknown {what} {name!r}; there are: {', '.join(known)}, or your own as "
            "package.module:attribute"
        )
    return module, attribute


def load_by_name(name: str, known: dict[str, str], what: str) -> Any:
    """The class or function called ``name``.

    Raises:
        ParityError: there is no such thing, or a package it needs is missing.
    """
    module, attribute = target(name, known, what)
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise ParityError(
            f"the {what} {name!r} needs a package that is not here: {error}; "
            "`pip install '.[reference]'` installs the reference's"
        ) from error
    except AttributeError as error:
        raise ParityError(f"the {what} {name!r} is not there: {error}") from error
