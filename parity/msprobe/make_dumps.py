"""Makes dumps with the real msprobe, for tests and to try ``import-msprobe``.

Runs in the environment that ``make msprobe-env`` makes, from the repository's root:

    .venv-msprobe/bin/python -m parity.msprobe.make_dumps mindspore toy -o /tmp/toy-ms
    .venv-msprobe/bin/python -m parity.msprobe.make_dumps pytorch qwen2vl --case single-image -o D

One framework a process, since msprobe replaces functions of the framework it dumps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from parity.core.cases import Case, load_cases, select_cases
from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.points import STAGES
from parity.msprobe.make_toys import Model, mindspore_toy, torch_toy
from parity.options import run_alone
from parity.settings import FIXTURES


def make(
    framework: Annotated[str, typer.Argument(help="mindspore or pytorch.")],
    model: Annotated[str, typer.Argument(help="toy or qwen2vl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the dump.")],
    case: Annotated[str, typer.Option(help="Case that Qwen2-VL runs on.")] = "single-image",
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    task: Annotated[str, typer.Option(help="tensor, or statistics for no files.")] = "tensor",
    plant: Annotated[str | None, typer.Option(help="Fault to plant in the port.")] = None,
    scaled: Annotated[bool, typer.Option("--scaled", help="Make the toy's block 1 wrong.")] = False,
) -> None:
    """Dump one forward pass, at level L0, with the real msprobe."""
    output.mkdir(parents=True, exist_ok=True)
    # On CPU the MindSpore side takes `task` from the file alone.
    what = {"scope": [], "list": [], "data_mode": ["forward"]}
    place = {"dump_path": str(output.resolve()), "rank": [], "step": []}
    settings = {"task": task, "level": "L0", **place, task: what}
    config = output / "config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    chosen = select_cases(load_cases(FIXTURES / "cases.toml"), [case])[0]
    if framework not in ("mindspore", "pytorch") or model not in ("toy", "qwen2vl"):
        raise ParityError(f"cannot dump {model!r} in {framework!r}; see --help")
    if framework == "mindspore":
        toy = (lambda: mindspore_toy(scaled)) if model == "toy" else None
        _dump_mindspore(str(config), toy or (lambda: _port(chosen, dtype, plant)))
    else:
        _dump_pytorch(str(config), torch_toy if model == "toy" else lambda: _hub(chosen, dtype))
    _forget_places(output)


def _forget_places(output: Path) -> None:
    """Take this machine's folders out of what msprobe wrote."""
    places = {str(output.resolve()): ".", str(FIXTURES.parent): ".", sys.prefix: "PYTHON",
              sys.base_prefix: "PYTHON"}  # fmt: skip
    for path in output.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        for place, name in places.items():
            text = text.replace(place, name)
        path.write_text(text, encoding="utf-8")


def _dump_mindspore(config: str, load: Callable[[], Model]) -> None:
    import mindspore as ms
    from mindspore import Tensor, mint

    def on_host(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda tensor: Tensor(function(tensor.float().asnumpy()).astype(np.float32))

    # The CPU lacks the norm, and all four in bfloat16; msprobe takes them when it is imported.
    mint.norm, mint.max = on_host(np.linalg.norm), on_host(np.max)
    mint.min, mint.mean = on_host(np.min), on_host(np.mean)
    from msprobe.mindspore import PrecisionDebugger

    ms.set_device("CPU")
    debugger = PrecisionDebugger(config_path=config)
    model, run = load()
    debugger.start(model)
    run()
    debugger.stop()
    debugger.step()


def _dump_pytorch(config: str, load: Callable[[], Model]) -> None:
    import torch
    from msprobe.pytorch import PrecisionDebugger

    model, run = load()
    debugger = PrecisionDebugger(config_path=config)
    with torch.no_grad():
        debugger.start(model=model)
        run()
        debugger.stop()
        debugger.step()


def _port(case: Case, dtype: str, plant: str | None) -> Model:
    """The port, and its run on ``case``, with a fault planted in both."""
    from parity.adapters.mindspore_candidate import MindSporeCandidate
    from parity.faults import planted

    with planted(plant):
        candidate = MindSporeCandidate(FIXTURES / "qwen2vl-tiny", precision(dtype), "CPU")

    def run() -> None:
        with planted(plant) if plant else nullcontext():
            for call in case.calls:
                rows: list[list[int]] = [[] for _ in call.prompts]
                trace = candidate.free(candidate.preprocess(call), rows, [], STAGES, call.chunks)
                if trace.stopped:
                    raise ParityError(f"the port stopped: {trace.stopped}")

    return candidate.model, run


def _hub(case: Case, dtype: str) -> Model:
    """Hugging Face's model, and its run on ``case``."""
    from parity.adapters.torch_execution import run_reference
    from parity.adapters.torch_inputs import reference_inputs
    from parity.adapters.torch_reference import load

    folder = FIXTURES / "qwen2vl-tiny"
    model = load(folder, precision(dtype))
    inputs = [reference_inputs(call, folder) for call in case.calls]
    return model, lambda: [run_reference(model, one, 0, case.chunks) for one in inputs]


if __name__ == "__main__":
    run_alone(make)
