"""Loads the parity plugin for every pytest run in this repository."""

from functools import cache
from pathlib import Path

pytest_plugins = ["parity.plugin"]

PARITY = Path(__file__).parent / "parity"
OWN_TESTS = PARITY / "tests"


def pytest_ignore_collect(collection_path, config):
    """Leave the harness's own tests out of ``pytest parity/``, which is the porting loop.

    They import PyTorch, and take longer to be imported than a port to be compared. ``pytest`` alone
    and ``pytest parity/tests`` collect them.
    """
    started = config.invocation_params.dir
    named = [(started / argument.partition("::")[0]).resolve() for argument in config.args]
    loop = PARITY in named and not any(OWN_TESTS in (path, *path.parents) for path in named)
    return True if loop and collection_path == OWN_TESTS else None


def pytest_pycollect_makemodule(module_path):
    """Before the first module with properties is imported, say how they are tried."""
    if "tests" in module_path.parts:
        _patient()


@cache
def _patient():
    """Let Hypothesis take its time: on a busy machine slow is no finding.

    Not at import: the porting loop has no properties, and need not wait for Hypothesis.
    """
    import hypothesis

    hypothesis.settings.register_profile(
        "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("patient")
