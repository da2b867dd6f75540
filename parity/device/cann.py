"""Versions of what an Ascend device runs on, from the files that Huawei's installers leave.

Nothing is executed (``npu-smi`` takes seconds, and containers often lack it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

UNKNOWN = "unknown"
_SIZE = 1 << 16
_VERSION = re.compile(r"^\s*version\s*=\s*([\w.+-]{1,60})\s*$", re.IGNORECASE | re.MULTILINE)
_DRIVER_PLACE = re.compile(r"^\s*Driver_Install_Path_Param\s*=\s*(\S{1,500})\s*$", re.MULTILINE)


def ascend_versions(environment: Mapping[str, str], root: Path = Path("/")) -> dict[str, str]:
    """Versions of ``cann``, ``driver`` and ``firmware``; ``unknown`` where no file tells.

    Args:
        environment: the process's variables; CANN's ``set_env.sh`` says there where it is.
        root: the file system's root, under which absolute paths are looked for.
    """
    place = _driver_place(root)
    return {
        "cann": _first(_cann_files(environment, root)),
        "driver": _first([place / "driver" / "version.info"]),
        "firmware": _first([place / "firmware" / "version.info"]),
    }


def _cann_files(environment: Mapping[str, str], root: Path) -> Iterator[Path]:
    """Files that hold CANN's version, the one in use first."""
    named = [environment.get(name) for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")]
    homes = [root / "usr/local/Ascend"]
    if environment.get("HOME"):
        homes.append(_under(root, environment["HOME"]) / "Ascend")
    folders = [_under(root, name) for name in named if name]
    # CANN 8.5 and later; before; and the runtime alone, without the toolkit.
    parts = ("cann", "ascend-toolkit/latest", "nnae/latest")
    folders += [home / part for home in homes for part in parts]
    for folder in folders:
        yield from sorted(folder.glob("*-linux/ascend_toolkit_install.info"))
        yield folder / "ascend_toolkit_install.info"
        yield folder / "ascend_nnae_install.info"


def _driver_place(root: Path) -> Path:
    """The folder of driver and firmware."""
    found = _DRIVER_PLACE.search(_text(root / "etc" / "ascend_install.info"))
    return _under(root, found[1] if found else "/usr/local/Ascend")


def _under(root: Path, path: str) -> Path:
    """An absolute path below ``root``."""
    return root / path.lstrip("/")


def _first(files: Iterator[Path] | list[Path]) -> str:
    """The version in the first file that has one."""
    found = (_VERSION.search(_text(file)) for file in files)
    return next((one[1] for one in found if one), UNKNOWN)


def _text(file: Path) -> str:
    """The beginning of a file; nothing if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(_SIZE).decode("utf-8", "replace")
    except OSError:
        return ""
