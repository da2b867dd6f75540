"""The reference's video processor, which needs torchvision, without torchvision in the way.

torchvision's wheels beside a CPU build of torch break ``import transformers`` itself (``operator
torchvision::nms does not exist``): at import they register shape rules for compiled operators
that could not be loaded. The video processor uses none of those operators, only transforms
written in Python. So torchvision stays out of the main environment, in a folder of its own, and
a process that wants the reference's video processor adds that folder and leaves the registration
out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.core.errors import ParityError

FOLDER_VARIABLE = "PARITY_TORCHVISION"
REGISTRATIONS = "torchvision._meta_registrations"


def torchvision_folder() -> Path:
    """The folder torchvision was installed into: ``$PARITY_TORCHVISION`` or beside the packages."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(sys.prefix) / "torchvision-only"


def reference_video_processor(folder: str | Path) -> Any:
    """Load ``transformers.Qwen2VLVideoProcessor`` from a checkpoint folder.

    transformers decides once, when it is imported, whether torchvision is there; so this has to
    come before the first import of transformers. Call it at the start of a process of its own,
    or of one that goes on with the whole reference: transformers and torch work as usual after.

    Args:
        folder: Checkpoint folder with ``video_preprocessor_config.json`` or one of the files
            that the reference reads instead.

    Returns:
        The processor object of transformers.

    Raises:
        ParityError: torchvision is not installed where it belongs or cannot be imported, or
            transformers was imported first. The process is then as it was before the call.
    """
    import_torchvision()
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    return Qwen2VLVideoProcessor.from_pretrained(folder)


def import_torchvision() -> None:
    """Import torchvision from its own folder, without its compiled operators.

    Raises:
        ParityError: as `reference_video_processor`.
    """
    if "torchvision" in sys.modules:
        return
    if "transformers" in sys.modules:
        raise ParityError(
            "transformers was imported before torchvision, and has decided to do without it: "
            "ask for the reference's video processor first, or in a process of its own"
        )
    folder = torchvision_folder()
    if not (folder / "torchvision" / "__init__.py").is_file():
        raise ParityError(f"no torchvision in {folder}, {_how_to_install(folder)}")
    with _undone_on_failure(folder):
        sys.path.append(str(folder))  # last: it must not shadow anything of the environment
        sys.modules[REGISTRATIONS] = ModuleType(REGISTRATIONS)
        import torchvision  # noqa: F401


@contextmanager
def _undone_on_failure(folder: Path) -> Iterator[None]:
    path = list(sys.path)
    try:
        yield
    except Exception as error:
        sys.path[:] = path
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        raise ParityError(
            f"torchvision in {folder} cannot be imported ({error}); it has to fit the torch of "
            f"this environment: {_how_to_install(folder)}"
        ) from error


def _how_to_install(folder: Path) -> str:
    return (
        f"which the reference's video processor is made of: run `pip install --no-deps --target "
        f"{folder} 'torchvision==0.28.*'` (0.28 goes with torch 2.13), or set "
        f"{FOLDER_VARIABLE} to a folder that has it"
    )
