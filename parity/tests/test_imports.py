"""Dependencies point one way: read from every source file, and seen in a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import parity

ROOT = Path(parity.__file__).parent.parent
OURS = {"parity", "qwen2vl_ms"}
REFERENCE = {"torch", "torchvision", "transformers"}
FRAMEWORKS = {*REFERENCE, "mindspore", "jax", "tensorflow"}
ABOVE_CORE = {"parity.session", "parity.settings", "parity.execution", "parity.explained",
              "parity.check_settings", "parity.plugin",
              "parity.plugin_options", "parity.plugin_state", "parity.point_check", "parity.job",
              "parity.calibrate", "parity.calibration_data", "parity.prune",
              "parity.kernel_ledger", "parity.__main__",
              "parity.suites"}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What the files that match ``glob`` may import: of third parties only ``third``, of ours
    only ``ours``; nothing of ``never``. A package stands for all of its modules."""

    glob: str
    third: frozenset[str] | None = None
    ours: frozenset[str] | None = None
    never: frozenset[str] = frozenset()

    def broken_by(self, name: str) -> bool:
        """Whether a file under this rule may not import ``name``."""
        if _within(name, self.never):
            return True
        if name.partition(".")[0] in OURS:
            return self.ours is not None and not _within(name, self.ours)
        known = self.third is None or _within(name, self.third)
        return not known and name.partition(".")[0] not in sys.stdlib_module_names


def allow(glob: str, third: str, ours: str) -> Rule:
    """Only these, separated by spaces."""
    return Rule(glob, frozenset(third.split()), frozenset(ours.split()))


def forbid(glob: str, names: set[str]) -> Rule:
    """Anything but these."""
    return Rule(glob, never=frozenset(names))


RULES = (
    allow(
        "qwen2vl_ms/**/*.py",
        "mindspore numpy ml_dtypes PIL av safetensors tokenizers jinja2 typer rich",
        "qwen2vl_ms",
    ),
    # Python 3.10 has no tomllib, so that it does not count as its standard library.
    allow("parity/core/*.py", "numpy safetensors filelock tomli tomllib", "parity.core"),
    allow("parity/subjects/*.py", "numpy", "parity.core parity.subjects"),
    allow("parity/kernels/*.py", "numpy", "parity.core parity.subjects parity.kernels"),
    allow("parity/hypotheses/*.py", "numpy PIL", "parity.core parity.subjects parity.hypotheses"),
    allow(
        "parity/repro/module_check.py", "mindspore numpy safetensors", "qwen2vl_ms parity.faults"
    ),
    forbid("parity/repro/[!m]*.py", FRAMEWORKS | {"parity.adapters", "qwen2vl_ms"}),
    allow("parity/report/*.py", "pandas pyarrow jinja2 markupsafe", "parity.core parity.report"),
    allow(
        "parity/history/*.py",
        "numpy ruptures sqlalchemy platformdirs typer rich markupsafe",
        "parity.core parity.report parity.history parity.options parity.runs",
    ),
    # What reads outcomes and writes the issue runs where nothing is installed.
    *(
        allow(
            f"parity/nightly/{name}.py",
            "",
            "parity.core.errors parity.nightly parity.report.markup parity.report.text",
        )
        for name in ("cells", "issue", "machine_error", "outcome", "tell")
    ),
    forbid("parity/nightly/*.py", FRAMEWORKS | {"parity.adapters", "parity.session", "qwen2vl_ms"}),
    allow("parity/baselines/*.py", "numpy", "parity.core parity.baselines"),
    forbid("parity/selftest/*.py", FRAMEWORKS | {"parity.adapters", "qwen2vl_ms", "parity.report"}),
    forbid("parity/reliability/*.py", FRAMEWORKS | {"parity.adapters"}),
    forbid("parity/adapters/torch*.py", {"mindspore", "qwen2vl_ms"}),
    forbid("parity/adapters/mindspore_*.py", REFERENCE),
    forbid("parity/adapters/*.py", ABOVE_CORE | {"parity.report", "parity.faults"}),
    allow(
        "parity/msprobe/[!m]*.py",
        "numpy typer rich tomli tomllib",
        "parity.core parity.subjects parity.msprobe parity.options parity.provenance "
        "parity.report parity.runs parity.session parity.settings parity.faults "
        "parity.portable.open",
    ),
    forbid("parity/msprobe/make_*.py", {"parity.session", "parity.job", "parity.report"}),
    forbid("parity/faults/*.py", REFERENCE | ABOVE_CORE | {"parity.adapters"}),
    forbid(
        "parity/numerics_models/*.py",
        REFERENCE | ABOVE_CORE | {"parity.adapters", "parity.faults", "parity.report"},
    ),
    *(
        forbid(f"{place}/*.py", FRAMEWORKS | {"parity.adapters", "qwen2vl_ms"})
        for place in ("parity", "parity/device", "parity/portable", "parity/workers")
    ),
    forbid("parity/bench/torch_*.py", {"mindspore", "qwen2vl_ms"}),
    forbid("parity/bench/mindnlp_*.py", {"qwen2vl_ms", "parity.adapters"}),
    forbid("parity/bench/mindspore_*.py", REFERENCE),
    forbid(
        "parity/bench/*.py",
        {
            "parity.session",
            "parity.plugin",
            "parity.job",
            "parity.suites",
            "parity.report",
            "parity.faults",
        },
    ),
    forbid("parity/suites/*.py", FRAMEWORKS | {"parity.adapters", "qwen2vl_ms"}),
)


def _within(name: str, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def imported(path: Path, root: Path) -> Iterator[str]:
    """Every module that a file imports, at the top or inside a function, relative names resolved.

    ``from a import b`` counts as ``a.b`` where that is a module of ours, and as ``a`` elsewhere.
    """
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield base
            if base.partition(".")[0] in OURS:
                yield from (f"{base}.{a.name}" for a in node.names if _is_module(root, base, a))
        elif isinstance(node, ast.Call) and (name := _named(node)):
            yield name


def _is_module(root: Path, base: str, alias: ast.alias) -> bool:
    place = root.joinpath(*base.split("."), alias.name)
    return place.is_dir() or place.with_suffix(".py").is_file()


def _named(call: ast.Call) -> str | None:
    """The module of ``import_module("...")`` or ``__import__("...")``."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else None
    function = call.func.id if isinstance(call.func, ast.Name) else function
    if function not in ("import_module", "__import__") or not call.args:
        return None
    argument = call.args[0]
    return str(argument.value) if isinstance(argument, ast.Constant) else None


def sources(rule: Rule, root: Path) -> list[Path]:
    return [p for p in sorted(root.glob(rule.glob)) if "tests" not in p.relative_to(root).parts]


def violations(rule: Rule, root: Path) -> list[str]:
    """``file imports module`` for each import that breaks the rule."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for path in sources(rule, root)
        for name in imported(path, root)
        if rule.broken_by(name)
    ]


@pytest.mark.parametrize("rule", RULES, ids=[rule.glob for rule in RULES])
def test_every_file_keeps_to_its_rule(rule: Rule) -> None:
    assert sources(rule, ROOT), f"{rule.glob} matches nothing"
    assert violations(rule, ROOT) == []


def test_every_file_has_a_rule() -> None:
    files = {p for package in OURS for p in (ROOT / package).rglob("*.py")}
    covered = {path for rule in RULES for path in sources(rule, ROOT)}
    left_out = {path for path in files - covered if "tests" not in path.parts}
    assert left_out == set()


PLANTED = [
    ("qwen2vl_ms/deep/er/bad.py", "import torch", "torch"),
    ("qwen2vl_ms/bad.py", "def f():\n    from transformers.utils import x", "transformers.utils"),
    ("qwen2vl_ms/bad.py", "import torchvision.io as io", "torchvision.io"),
    ("qwen2vl_ms/bad.py", "from parity.core import stats", "parity.core"),
    ("qwen2vl_ms/bad.py", "import scipy", "scipy"),
    ("parity/core/bad.py", "class A:\n    import pandas", "pandas"),
    ("parity/core/bad.py", "import os, mindspore", "mindspore"),
    ("parity/core/bad.py", "from parity.session import Session", "parity.session"),
    ("parity/core/bad.py", "from parity import session", "parity"),
    ("parity/core/bad.py", "from .. import session", "parity"),
    ("parity/core/bad.py", "from ..report import html", "parity.report"),
    ("parity/core/bad.py", "import parity.core_extra", "parity.core_extra"),
    ("parity/core/bad.py", "if TYPE_CHECKING:\n    import torch", "torch"),
    ("parity/core/bad.py", "importlib.import_module('torch.nn')", "torch.nn"),
    ("parity/core/bad.py", "torch = __import__('torch')", "torch"),
    ("parity/subjects/bad.py", "import mindspore", "mindspore"),
    ("parity/kernels/bad.py", "import mindspore.ops", "mindspore.ops"),
    ("parity/kernels/bad.py", "from parity.adapters import torch_inputs", "parity.adapters"),
    ("parity/report/bad.py", "import numpy", "numpy"),
    ("parity/report/bad.py", "from parity.adapters import torch_inputs", "parity.adapters"),
    ("parity/nightly/tell.py", "import numpy", "numpy"),
    ("parity/nightly/issue.py", "from parity.core import rows", "parity.core"),
    ("parity/nightly/night.py", "import mindspore", "mindspore"),
    ("parity/baselines/bad.py", "from parity import session", "parity"),
    ("parity/selftest/bad.py", "from parity.adapters import mindspore_watched", "parity.adapters"),
    ("parity/reliability/bad.py", "import torch", "torch"),
    ("parity/adapters/torch_bad.py", "try:\n    import mindspore\nexcept E: ...", "mindspore"),
    ("parity/adapters/torchvision_bad.py", "from qwen2vl_ms import ops", "qwen2vl_ms"),
    ("parity/adapters/mindspore_bad.py", "lambda: __import__('torch')", "torch"),
    ("parity/adapters/mindspore_bad.py", "import parity.session", "parity.session"),
    ("parity/faults/bad.py", "from torch import nn", "torch"),
    ("parity/faults/bad.py", "from parity import plugin", "parity.plugin"),
    ("parity/bad.py", "import parity.adapters.torch_inputs", "parity.adapters.torch_inputs"),
    ("parity/suites/bad.py", "import mindspore as ms", "mindspore"),
]


@pytest.mark.parametrize(
    ("name", "source", "found"), PLANTED, ids=[str(index) for index in range(len(PLANTED))]
)
def test_a_planted_import_is_found(tmp_path: Path, name: str, source: str, found: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    for module in ("session", "plugin"):
        (tmp_path / "parity").mkdir(exist_ok=True)
        (tmp_path / "parity" / f"{module}.py").touch()
    path.write_text(source, encoding="utf-8")
    assert f"{name} imports {found}" in [v for rule in RULES for v in violations(rule, tmp_path)]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "qwen2vl_ms/good.py",
            "import mindspore as ms\nfrom PIL import Image\nimport numpy.typing",
        ),
        ("qwen2vl_ms/tests/test_good.py", "import torch, parity"),
        ("parity/core/good.py", "import tomllib, tomli\nfrom safetensors.numpy import save_file"),
        ("parity/core/good.py", "from parity.core.errors import ParityError\nfrom . import rows"),
        ("parity/core/good.py", "text = 'import torch'  # import torch\nimport_module(name)"),
        ("parity/adapters/torch_good.py", "import torch\nfrom parity.core import store"),
        ("parity/faults/good.py", "import mindspore, qwen2vl_ms.ops"),
    ],
)
def test_a_permitted_import_is_not(tmp_path: Path, name: str, source: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    assert [v for rule in RULES for v in violations(rule, tmp_path)] == []


def loaded_after(statement: str) -> set[str]:
    """Frameworks, and what is slow to import, in memory after a statement."""
    heavy = FRAMEWORKS | {"pandas", "PIL", "matplotlib", "scipy", "sqlalchemy", "ruptures"}
    code = f"import sys\n{statement}\nprint(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_the_harness_loads_no_framework_until_it_runs() -> None:
    assert loaded_after("import parity, parity.plugin, parity.session, parity.__main__") == set()


def test_the_reports_writer_loads_no_framework() -> None:
    """Reports are written again where neither framework is installed."""
    assert not loaded_after("import parity.report.write, parity.report.html") & FRAMEWORKS


def test_what_is_loaded_is_seen() -> None:
    assert loaded_after("import sys; sys.modules['torch'] = sys.modules['pandas'] = sys") == {
        "torch",
        "pandas",
    }
