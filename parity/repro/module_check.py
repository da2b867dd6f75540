"""One module of the port on one input of the reference's, and what has to come out.

Made by `python -m parity repro`; README.txt says what is in this folder. Run it with pytest from
the port's folder. It needs NumPy, safetensors, MindSpore and qwen2vl_ms; PyTorch is not used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray
from safetensors.numpy import load_file

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "repro.json").read_text(encoding="utf-8"))
Float = NDArray[np.float64]


def test_the_module_computes_what_the_reference_does() -> None:
    """The module's error on its exact input is within the gate."""
    truth = load_file(HERE / "reference.safetensors")
    with fault():
        got = output(build())
    assert got.shape == truth["truth"].shape, (
        f"{ABOUT['point']} has shape {got.shape}, the reference's is {truth['truth'].shape}"
    )
    problems = over_limits(got - truth["truth"], truth)
    assert not problems, "\n".join([f"{ABOUT['point']} is wrong on its exact input:", *problems])


def fault() -> AbstractContextManager[None]:
    """The fault that was planted when this folder was made, if one was."""
    if ABOUT["plant"] is None:
        return nullcontext()
    from parity.faults import planted

    return planted(ABOUT["plant"])


def build() -> nn.Cell:
    """The module with its weights, in a model cut off behind it, whose others are never filled."""
    ms.set_device(ABOUT["device"])
    from qwen2vl_ms import Qwen2VLForConditionalGeneration
    from qwen2vl_ms.precision import resolve_policy

    policy = resolve_policy(ABOUT["dtype"])
    model = Qwen2VLForConditionalGeneration(config(), policy)
    path = ABOUT["module"] if ABOUT["module"] == "lm_head" else f"model.{ABOUT['module']}"
    module = dict(model.cells_and_names())[path]
    weights = load_file(HERE / "weights.safetensors")
    parameters = dict(module.parameters_and_names())
    assert set(parameters) == set(weights), (
        f"the port's module has the parameters {sorted(parameters)}, stored are {sorted(weights)}"
    )
    for name, parameter in parameters.items():
        values = weights[name].reshape(parameter.shape)
        parameter.set_data(Tensor(values, dtype=parameter.dtype))
    return module.set_train(False)


def config() -> Any:
    """The checkpoint's configuration, with as many blocks as the module needs."""
    from qwen2vl_ms.config import Qwen2VLConfig

    whole = Qwen2VLConfig.from_pretrained(HERE)
    vision = dataclasses.replace(whole.vision_config, depth=ABOUT["vision_blocks"])
    text = dataclasses.replace(whole.text_config, num_hidden_layers=ABOUT["text_layers"])
    return dataclasses.replace(whole, vision_config=vision, text_config=text)


def output(module: nn.Cell) -> Float:
    """What the module makes of the last of its inputs, the earlier ones in its cache."""
    calls = [arguments(index) for index in range(len(ABOUT["calls"]))]
    if len(calls) > 1:
        cache = layer_cache(len(calls[0][1]["hidden_states"]))
        for _, named in calls:
            named["cache"] = cache
    results = [module(*first, **named) for first, named in calls]
    result = results[-1]
    if isinstance(result, tuple | list):
        result = result[ABOUT["member"]]
    return np.asarray(result.astype(ms.float32).asnumpy(), np.float64)


def layer_cache(rows: int) -> Any:
    """One layer's cache, as long as it was in the run."""
    from qwen2vl_ms.cache import KVCache
    from qwen2vl_ms.precision import resolve_policy

    policy = resolve_policy(ABOUT["dtype"])
    kernel = policy.kernel(policy.attention)
    return KVCache(config().text_config, rows, ABOUT["cache_length"], kernel).layers[0]


def arguments(index: int) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments of one call."""
    stored = load_file(HERE / "inputs.safetensors")
    first: list[Any] = []
    named: dict[str, Any] = {}
    tables: list[Any] = []
    for name, dtype in ABOUT["calls"][index].items():
        value = argument(name, stored[f"{index}.{name}"], dtype)
        if name == "*":
            first.append(value)
        elif name.startswith("position_embeddings."):
            tables.append(value)
        else:
            named[name] = value
    if tables:
        named["position_embeddings"] = tuple(tables)
    return first, named


def argument(name: str, value: NDArray[Any], dtype: str) -> Any:
    """A stored array as the port takes it: boundaries and positions stay on the host."""
    if name in ("cu_seqlens", "position_ids"):
        return value.astype(np.int32 if name == "cu_seqlens" else np.int64)
    return Tensor(value, dtype=ms.int32 if dtype.startswith("int") else getattr(ms, dtype))


def over_limits(error: Float, truth: Mapping[str, NDArray[Any]]) -> list[str]:
    """One line for each figure that is over its limit; a limit is a gate times a floor."""
    rows = error.reshape(-1, error.shape[-1])
    if "keep" in truth:
        rows = rows[truth["keep"].reshape(-1).astype(bool)]
    sizes = {
        "whole": np.linalg.norm(rows).reshape(1),
        "row": np.linalg.norm(rows, axis=1),
        "column": np.linalg.norm(rows, axis=0),
        "update": np.linalg.norm(rows).reshape(1),
    }
    labels = {"whole": "the tensor", "row": "token", "column": "channel", "update": "the update"}
    return [
        line for name in sizes if f"limit.{name}" in truth
        for line in _over(labels[name], sizes[name], truth[f"limit.{name}"])
    ]  # fmt: skip


def _over(label: str, sizes: Float, limit: Float) -> list[str]:
    """The slice that is most over its limit; NaN is over any."""
    wrong = ~(sizes <= limit)
    if not wrong.any():
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where(sizes == 0, 0.0, sizes / limit)
    worst = int(np.argmax(np.where(np.isnan(times), np.inf, times)))
    where = label if len(sizes) == 1 else f"{label} {worst} ({int(wrong.sum())} of {len(wrong)})"
    return [
        f"  the error of {where} is {sizes[worst]:.3g}, {times[worst]:.3g} times the limit of "
        f"{limit[worst]:.3g}"
    ]
