"""Who takes part."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.bench.items import MODEL, PICTURE, Item
from parity.core.errors import ParityError

OURS = "ours"


@dataclass(frozen=True)
class Contestant:
    """One way to compute the items.

    Attributes:
        name: In the JSON and on the worker's command line.
        title: For a table.
        kind: The items it can do: `MODEL` or `PICTURE`.
        runner: ``package.module:Class`` of its runner.
        options: The runner's arguments.
        python: The interpreter of its environment.
        team: `OURS` for the port, whose ratios have goals.
    """

    name: str
    title: str
    kind: str
    runner: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    python: str = sys.executable
    team: str = ""


TORCH = "parity.bench.torch_runner:TorchRunner"
MINDNLP = "parity.bench.mindnlp_runner:MindNlpRunner"
PORT = "parity.bench.mindspore_runner:PortRunner"
REFERENCE_PICTURES = "parity.bench.torch_runner:PictureRunner"
PORT_PICTURES = "parity.bench.port_picture_runner:PictureRunner"

CONTESTANTS = (
    Contestant("eager", "Hugging Face eager", MODEL, TORCH, {"attention": "eager"}),
    Contestant("sdpa", "Hugging Face sdpa", MODEL, TORCH, {"attention": "sdpa"}),
    Contestant("port", "this port", MODEL, PORT, {"jit": False}, team=OURS),
    Contestant("port-jit", "this port, jit", MODEL, PORT, {"jit": True}, team=OURS),
    # torchvision is what the reference takes unless it is told otherwise.
    Contestant("torchvision", "Hugging Face on torchvision", PICTURE, REFERENCE_PICTURES,
               {"backend": "torchvision"}),
    Contestant("pillow", "Hugging Face on Pillow", PICTURE, REFERENCE_PICTURES,
               {"backend": "pillow"}),
    Contestant("port-pictures", "this port", PICTURE, PORT_PICTURES, team=OURS),
)  # fmt: skip


def mindnlp(python: Path) -> Contestant:
    """MindNLP, which runs the reference's own code, in the environment of ``python``.

    Raises:
        ParityError: there is no such interpreter.
    """
    if not python.is_file():
        raise ParityError(
            f"--mindnlp names {python}, which is not there; `make bench-mindnlp` makes an "
            "environment with MindNLP and says its path"
        )
    # The path is kept as given: what a link in an environment points to is outside of it.
    options = {"attention": "eager"}
    return Contestant("mindnlp", "MindNLP", MODEL, MINDNLP, options, python=str(python.absolute()))


def able(item: Item, contestants: Sequence[Contestant]) -> list[Contestant]:
    """Those of ``contestants`` that do ``item``; the first is what the others are compared with."""
    return [c for c in contestants if c.kind == item.kind and c.name not in item.absent]
