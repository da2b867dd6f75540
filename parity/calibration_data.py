"""What calibrating measures, one small JSON file for each seed, case and dtype, and for each fault.

A file holds one :class:`Record`::

    {"seed": 3, "case": "odd-video", "dtype": "bf16", "device": "CPU", "weights": "trained",
     "fault": null, "wrong": [],
     "ratios": {"visual.blocks.0.norm1": {"local": {"whole": [0.98], "row": [1.7], ...},
                                          "end_to_end": {...}}, ...}}

``ratios`` has every ratio that a run judges, by point, scope and figure: one for each firing, at
block and at module level, and one for each value that reaches a module inside the point's. A row of
a run fails exactly if one of its point's ratios is over the gate of the point's role, or if it is
``wrong`` otherwise: a wrong integer, shape or dtype, no number. Seed 0 is the cases as they are.

Files are in the user's cache, in a folder named after a hash of all that they depend on, so a
change of the port, of the reference or of the judging measures again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from parity.core.cases import Case
from parity.core.errors import ParityError
from parity.core.files import file_hash, temporary_beside
from parity.core.points import Point
from parity.core.store import json_hash
from parity.core.tolerance import Gates
from parity.provenance import version
from parity.session import Session
from parity.settings import HERE, Settings
from parity.subjects.roles import role

MAX_BYTES = 64 << 20
Ratios = dict[str, dict[str, dict[str, list[float]]]]
"""By point, scope and figure."""
NOT_MEASURING = {"errors.py", "files.py", "gates_file.py", "overrides.py", "tolerance.py",
                 "toml_text.py", "__init__.py"}  # fmt: skip
"""Sources in core on which no ratio depends."""


@dataclass(frozen=True)
class Record:
    """One measurement."""

    seed: int
    case: str
    dtype: str
    device: str
    weights: str
    """``trained`` or ``random``."""
    ratios: Ratios
    wrong: list[str] = field(default_factory=list)
    """What is wrong beside ratios, as ``point: message``."""
    fault: str | None = None

    def over(self, gates: Gates, points: Mapping[str, Point]) -> list[str]:
        """The points that would not pass under ``gates``: a false alarm each, without a fault."""
        found = [line.partition(":")[0] for line in self.wrong]
        for name, scopes in self.ratios.items():
            for scope, figures in scopes.items():
                gate = gates.at(scope, points[name])
                # Written so that NaN fails.
                if any(not ratio <= getattr(gate, figure)
                       for figure, ratios in figures.items() for ratio in ratios):  # fmt: skip
                    found.append(name)
        return list(dict.fromkeys(found))


def samples(records: Sequence[Record]) -> Iterator[tuple[str, str, str, float, str]]:
    """Every ratio of ``records``: scope, role, figure, ratio and where it is from."""
    for record in records:
        where = f"{record.case}, seed {record.seed}"
        for point, scopes in record.ratios.items():
            for scope, figures in scopes.items():
                for figure, ratios in figures.items():
                    for ratio in ratios:
                        yield scope, role(point), figure, ratio, f"{point}, {where}"


def default_place() -> Path:
    """The user's cache folder for measurements."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("parity")) / "calibration"


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and where it is kept."""

    settings: Settings
    """Its cases and dtypes are the ones to measure."""
    seeds: int
    """Seeds 1 to this one have random inputs, seed 0 the cases' own."""
    place: Path = field(default_factory=default_place)

    @cached_property
    def session(self) -> Session:
        """Of the cases as they are."""
        return Session(self.settings)

    @cached_property
    def points(self) -> dict[str, Point]:
        """Every declared point, by name."""
        return {point.name: point for point in self.session.declared}

    def folder(self, case: Case, dtype: str, faults: bool = False) -> Path:
        """Where the measurements of one case and dtype are."""
        if (case.name, dtype, faults) not in self._folders:
            key = json_hash([self.session.references.key(case, dtype), self._sources,
                             self._fault_sources if faults else "", self.settings.device,
                             self.settings.candidate])  # fmt: skip
            name = f"{'faults-' if faults else ''}{case.name}-{dtype}-{key[:16]}"
            self._folders[(case.name, dtype, faults)] = self.place / name
        return self._folders[(case.name, dtype, faults)]

    def seed_path(self, case: Case, dtype: str, seed: int) -> Path:
        """The file of one seed."""
        return self.folder(case, dtype) / f"seed-{seed:03d}.json"

    def fault_path(self, case: Case, dtype: str, fault: str) -> Path:
        """The file of one planted fault."""
        return self.folder(case, dtype, faults=True) / f"{fault}.json"

    def missing(self, seed: int) -> list[tuple[Case, str]]:
        """The cases and dtypes that are not measured on ``seed`` yet, a dtype at a time."""
        return [(case, dtype) for dtype in self.settings.dtypes for case in self.session.cases
                if not self.seed_path(case, dtype, seed).exists()]  # fmt: skip

    @cached_property
    def faults(self) -> dict[str, Case]:
        """The faults that have a ratio at their own point, and the case to plant each in."""
        from parity.faults import catalogue

        found = {}
        for fault in catalogue().values():
            case = next((c for c in self.session.cases if c.name in fault.cases), None)
            if case is not None and role(fault.point) != "other":
                found[fault.name] = case
        return found

    @cached_property
    def _folders(self) -> dict[tuple[str, str, bool], Path]:
        """Those that were asked for, since files are hashed for each."""
        return {}

    @cached_property
    def _sources(self) -> dict[str, object]:
        port = HERE.parent / "qwen2vl_ms"
        files = [
            *(path for path in port.rglob("*.py") if "tests" not in path.parts),
            *(path for path in (HERE / "core").glob("*.py") if path.name not in NOT_MEASURING),
            HERE / "subjects" / "qwen2vl.py",
            *HERE.glob("seed*.py"),
            HERE / "adapters" / "mindspore_candidate.py",
            HERE / "calibrate_measure.py",
        ]
        versions = {name: version(name) for name in ("mindspore", "numpy", "tokenizers")}
        return {"files": [file_hash(path) for path in sorted(files)], "versions": versions}

    @cached_property
    def _fault_sources(self) -> list[str]:
        return [file_hash(path) for path in sorted((HERE / "faults").glob("*.py"))]


def load(plan: Plan) -> list[Record]:
    """The measurements of the faithful port that are there, by seed, dtype and case."""
    return [
        read(path)
        for seed in range(plan.seeds + 1)
        for dtype in plan.settings.dtypes
        for case in plan.session.cases
        if (path := plan.seed_path(case, dtype, seed)).exists()
    ]


def load_faults(plan: Plan) -> list[Record]:
    """The measurements of planted faults that are there."""
    return [
        read(path)
        for dtype in plan.settings.dtypes
        for fault, case in plan.faults.items()
        if (path := plan.fault_path(case, dtype, fault)).exists()
    ]


def write(path: Path, record: Record) -> None:
    """Keep ``record``, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(path) as temporary:
        temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")


def read(path: Path) -> Record:
    """Read a measurement.

    Raises:
        ParityError: the file is damaged.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise ParityError(f"the measurement {path} is damaged: {error}; delete it") from error
