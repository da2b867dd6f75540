"""Everything one self-test found out, and the file that keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from parity.core.errors import ParityError
from parity.faults import catalogue
from parity.faults.fault import Fault
from parity.selftest.records import trial_from
from parity.selftest.trial import HARNESS, Trial

FORMAT = 1
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Declared:
    """What a fault said of itself."""

    point: str
    about: str
    source: str
    hidden: Mapping[str, str]
    """The dtypes in which nobody can see it, and why."""


@dataclass(frozen=True)
class Seeds:
    """The faithful port on random inputs and weights, under gates that were not fitted on them."""

    dtype: str
    seeds: int
    runs: int
    alarms: int
    points: tuple[str, ...] = ()
    """Which points raised them, and where."""


@dataclass(frozen=True)
class SelfTest:
    """A finished self-test."""

    provenance: Mapping[str, str]
    dtypes: tuple[str, ...]
    faults: Mapping[str, Declared]
    """In the order of the catalogue."""
    trials: tuple[Trial, ...]
    seeds: tuple[Seeds, ...] = ()
    broken: tuple[str, ...] = ()
    """Trials that could not be run, each with its reason."""

    @property
    def planted(self) -> list[Trial]:
        """The trials of faults."""
        return [trial for trial in self.trials if trial.fault is not None]

    @property
    def faithful(self) -> list[Trial]:
        """The trials of the port as it is."""
        return [trial for trial in self.trials if trial.fault is None]

    @property
    def complete(self) -> bool:
        """Whether every fault that there is was planted."""
        return set(self.faults) == set(catalogue())

    def hidden(self, trial: Trial) -> str | None:
        """Why nobody can see a trial's fault in its dtype; ``None`` if one can."""
        return self.faults[str(trial.fault)].hidden.get(trial.dtype)

    def point(self, trial: Trial) -> str:
        """The point that is at fault in a trial."""
        return self.faults[str(trial.fault)].point

    def idle(self) -> Iterator[Trial]:
        """Trials whose fault ought to be seen and changes nothing at all: it is no fault."""
        same = {(trial.dtype, trial.case, trial.digest) for trial in self.faithful}
        for trial in self.planted:
            acts = trial.outcomes[HARNESS].detected or self.hidden(trial)
            if not acts and (trial.dtype, trial.case, trial.digest) in same:
                yield trial


def declared(faults: Sequence[Fault]) -> dict[str, Declared]:
    """What ``faults`` say of themselves."""
    return {f.name: Declared(f.point, f.about, f.source, dict(f.hidden)) for f in faults}


def to_json(result: SelfTest) -> str:
    """The file's text: one line for each fault and each trial, so that changes can be read."""
    head = {
        "format": FORMAT,
        "provenance": dict(result.provenance),
        "dtypes": result.dtypes,
        "seeds": [asdict(one) for one in result.seeds],
        "broken": result.broken,
    }
    parts = [json.dumps(head, indent=1)[1:-2]]
    faults = {name: asdict(one) for name, one in result.faults.items()}
    lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in faults.items()]
    parts.append('\n "faults": {\n' + ",\n".join(lines) + "\n }")
    parts.append('\n "trials": [\n' + ",\n".join(map(_line, result.trials)) + "\n ]")
    return "{" + ",".join(parts) + "\n}\n"


def _line(trial: Trial) -> str:
    return json.dumps(asdict(trial))


def from_json(text: str, where: Path) -> SelfTest:
    """The self-test in ``text``, which is what `to_json` made.

    Raises:
        ParityError: it is nothing of the kind.
    """
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ParityError(f"{where} has format {data['format']!r}, this version reads {FORMAT}")
        return SelfTest(
            provenance=data["provenance"],
            dtypes=tuple(data["dtypes"]),
            faults={name: Declared(**one) for name, one in data["faults"].items()},
            trials=tuple(trial_from(one) for one in data["trials"]),
            seeds=tuple(Seeds(**{**one, "points": tuple(one["points"])}) for one in data["seeds"]),
            broken=tuple(data["broken"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ParityError(
            f"{where} is not what the self-test writes ({type(error).__name__}: {error}); "
            "run `python -m parity selftest --readme` again"
        ) from error


def read(path: Path) -> SelfTest:
    """The self-test in the file ``path``.

    Raises:
        ParityError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ParityError(f"{path} is larger than a self-test can be")
        return from_json(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise ParityError(f"cannot read {path}: {error.strerror}") from error
