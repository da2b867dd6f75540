"""Makes dumps with the real msprobe, for tests and to try ``import-msprobe``.

Runs in the environment that ``make msprobe-env`` makes, from the repository's root:

    .venv-msprobe/bin/python -m parity.msprobe.make_dumps mindspore toy -o /tmp/toy-ms
    .venv-msprobe/bin/python -m parity.msprobe.make_dumps pytorch qwen2vl --case single-image -o D

One framework a process, since msprobe replaces functions of the framework it dumps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from parity.core.cases import Case, load_cases, select_cases
from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.points import STAGES, Point
from parity.core.rows import Kind
from parity.msprobe.make_toys import Model, mindspore_toy, torch_toy
from parity.options import run_alone
from parity.settings import FIXTURES

CHECKPOINT = FIXTURES / "qwen2vl-tiny"
STEPS = "steps.json"
"""In the dump's folder: what the model was given in each step."""
ALL = "all"


@dataclass(frozen=True)
class Step:
    """One step of a dump of Qwen2-VL."""

    case: str
    fault: str | None = None


def make(
    framework: Annotated[str, typer.Argument(help="mindspore or pytorch.")],
    model: Annotated[str, typer.Argument(help="toy or qwen2vl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the dump.")],
    case: Annotated[
        list[str] | None,
        typer.Option(help="Case that Qwen2-VL runs on; repeat for a step each.", metavar="NAME"),
    ] = None,
    dtype: Annotated[str, typer.Option(help="fp32, fp16 or bf16.")] = "fp32",
    task: Annotated[str, typer.Option(help="tensor, or statistics for no files.")] = "tensor",
    plant: Annotated[
        list[str] | None,
        typer.Option(
            help="Fault to plant in the port, on the first of the cases (or its own) that shows "
            "it; repeat for a step each, or `all`.",
            metavar="FAULT",
        ),
    ] = None,
    scaled: Annotated[bool, typer.Option("--scaled", help="Make the toy's block 1 wrong.")] = False,
) -> None:
    """Dump forward passes, at level L0, with the real msprobe: a step each."""
    if framework not in ("mindspore", "pytorch") or model not in ("toy", "qwen2vl"):
        raise ParityError(f"cannot dump {model!r} in {framework!r}; see --help")
    output.mkdir(parents=True, exist_ok=True)
    # On CPU the MindSpore side takes `task` from the file alone.
    what = {"scope": [], "list": [], "data_mode": ["forward"]}
    place = {"dump_path": str(output.resolve()), "rank": [], "step": []}
    settings = {"task": task, "level": "L0", **place, task: what}
    config = output / "config.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    chosen = steps(case or [], plant or [], dtype)
    if framework == "mindspore":
        toy = (lambda: mindspore_toy(scaled)) if model == "toy" else None
        _dump_mindspore(str(config), toy or (lambda: _port(chosen, dtype)))
    else:
        _dump_pytorch(str(config), torch_toy if model == "toy" else lambda: _hub(chosen, dtype))
    if model != "toy":
        told = json.dumps({"steps": [asdict(step) for step in chosen]}, indent=1)
        (output / STEPS).write_text(told, encoding="utf-8")
    _forget_places(output)


def steps(cases: Sequence[str], plant: Sequence[str], dtype: str) -> list[Step]:
    """What to dump: every case, or every fault on a case that shows it."""
    from parity.faults import catalogue, find

    if not plant:
        return [Step(case) for case in cases or ["single-image"]]
    known = [one for one in catalogue().values() if dtype in one.dtypes]
    faults = known if list(plant) == [ALL] else [find(name) for name in plant]
    return [
        Step(next((case for case in cases if case in fault.cases), fault.cases[0]), fault.name)
        for fault in faults
    ]


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
    model, runs = load()
    for run in runs:
        debugger.start(model)
        run()
        debugger.stop()
        debugger.step()


def _dump_pytorch(config: str, load: Callable[[], Model]) -> None:
    import torch
    from msprobe.pytorch import PrecisionDebugger

    model, runs = load()
    debugger = PrecisionDebugger(config_path=config)
    with torch.no_grad():
        for run in runs:
            debugger.start(model=model)
            run()
            debugger.stop()
            debugger.step()


def _port(chosen: Sequence[Step], dtype: str) -> Model:
    """The port, and its runs, each with its fault planted."""
    from parity.adapters.mindspore_candidate import MindSporeCandidate
    from parity.faults import planted

    candidate = MindSporeCandidate(CHECKPOINT, precision(dtype), "CPU")
    fed = {step.case: _greedy(candidate, _case(step.case)) for step in chosen}

    def run(step: Step) -> None:
        case = _case(step.case)
        with planted(step.fault):
            for call, tokens in zip(case.calls, fed[step.case], strict=True):
                inputs = candidate.preprocess(call)
                trace = candidate.free(inputs, tokens, [], STAGES, case.chunks)
                if trace.stopped:
                    print(f"{step}: the port stopped with {trace.stopped}", file=sys.stderr)

    return candidate.model, [partial(run, step) for step in chosen]


def _greedy(candidate: Any, case: Case) -> list[list[list[int]]]:
    """The tokens to feed after each prompt of ``case``, for each row.

    As the reference's ``generate`` with as many new tokens at least: none ends the text.
    """
    config = json.loads((CHECKPOINT / "generation_config.json").read_text(encoding="utf-8"))
    head = Point("lm_head", "text", Kind.FLOAT, "lm_head")
    every = []
    for call in case.calls:
        inputs = candidate.preprocess(call)
        tokens: list[list[int]] = [[] for _ in inputs["input_ids"]]
        for _ in range(call.decode_steps):
            trace = candidate.free(inputs, tokens, [head], STAGES, case.chunks)
            logits = trace.taps["lm_head"][-1].value[:, -1]  # [B, V]
            logits[:, config["eos_token_id"]] = -np.inf
            likeliest = logits.argmax(axis=-1)
            tokens = [[*row, int(one)] for row, one in zip(tokens, likeliest, strict=True)]
        every.append(tokens)
    return every


def _hub(chosen: Sequence[Step], dtype: str) -> Model:
    """Hugging Face's model, and its runs."""
    from parity.adapters.torch_execution import run_reference
    from parity.adapters.torch_inputs import reference_inputs
    from parity.adapters.torch_reference import load

    model = load(CHECKPOINT, precision(dtype))

    def run(step: Step) -> None:
        case = _case(step.case)
        for call in case.calls:
            run_reference(model, reference_inputs(call, CHECKPOINT), call.decode_steps, case.chunks)

    return model, [partial(run, step) for step in chosen]


def _case(name: str) -> Case:
    return select_cases(load_cases(FIXTURES / "cases.toml"), [name])[0]


if __name__ == "__main__":
    run_alone(make)
