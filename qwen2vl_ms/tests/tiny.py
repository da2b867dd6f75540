"""Tiny random models of both frameworks, and how far one is from the other.

Weights have a standard deviation at which attention matters: with the usual 0.02 a wrong mask or
rotation would change next to nothing.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import torch
import transformers
from torch.overrides import TorchFunctionMode

IMAGE, VIDEO, VOCABULARY = 90, 91, 96


@functools.cache
def start() -> None:
    """Prepare both frameworks; tests that compute call it first."""
    ms.set_device("CPU")
    ms.runtime.launch_blocking()  # errors where they happen, and small models are faster
    torch.set_num_threads(2)
    transformers.utils.logging.disable_progress_bar()


def reference_config(tied: bool = False, **text: Any) -> transformers.Qwen2VLConfig:
    """Two layers a tower, four query heads on two key heads, every width different."""
    return transformers.Qwen2VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 64,
            "intermediate_size": 112,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [2, 3, 3],
                "rope_theta": 1e6,
            },
            "bos_token_id": 0,
            "eos_token_id": 1,
            **text,
        },
        vision_config={"depth": 2, "embed_dim": 80, "hidden_size": 64, "num_heads": 4},
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=92,
        vision_end_token_id=93,
        tie_word_embeddings=tied,
    )


def reference_model(seed: int = 0, tied: bool = False) -> Any:
    """The reference with random weights, in float32, eager attention, eval."""
    torch.manual_seed(seed)
    model = transformers.Qwen2VLForConditionalGeneration._from_config(
        reference_config(tied), attn_implementation="eager"
    ).eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(False)
        parameter.normal_(0.0, 0.15)
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "ln_q.weight")):
            parameter.add_(1.0)
    return model


def saved(model: Any, folder: Path) -> Path:
    """Write a reference model as a checkpoint folder."""
    model.save_pretrained(folder)
    return folder


def candidate_model(reference: Any, folder: Path, **options: Any) -> Any:
    """The port with the reference's weights, by way of a checkpoint in `folder`."""
    from qwen2vl_ms import Qwen2VLForConditionalGeneration

    start()
    return Qwen2VLForConditionalGeneration.from_pretrained(saved(reference, folder), **options)


class Widened(TorchFunctionMode):
    """Keeps float64 where the reference casts to float32 inside, so that a truth is one."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        wide = isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64
        if wide and func is torch.Tensor.float:
            return args[0]
        if wide and func is torch.Tensor.to and torch.float32 in (*args, kwargs.get("dtype")):
            return args[0]
        if wide and kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def truth_model(reference: Any) -> Any:
    """The reference in float64, with the float32 rotary tables that both sides multiply with."""
    model = copy.deepcopy(reference).double()
    narrow = dict(reference.named_modules())
    for name, module in model.named_modules():
        if name.endswith(("rotary_emb", "rotary_pos_emb")):
            module.forward = _tables_of(narrow[name])
    return model


def _tables_of(narrow: Any) -> Callable[..., Any]:
    def forward(x: torch.Tensor, position_ids: torch.Tensor) -> Any:
        return tuple(table.double() for table in narrow(x.float(), position_ids))

    return forward


def to_candidate(value: Any) -> Any:
    """The reference's argument for the port: MindSpore floats, NumPy integers."""
    if isinstance(value, torch.Tensor):
        return ms.Tensor(value.numpy()) if value.is_floating_point() else value.numpy()
    return tuple(map(to_candidate, value))


def to_truth(value: Any) -> Any:
    """The reference's argument in float64."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    return tuple(map(to_truth, value)) if isinstance(value, tuple) else value


def error(values: Any, truth: Any) -> float:
    """Relative error ||values - truth|| / ||truth|| over the whole tensor, in float64."""
    values, truth = (np.asarray(v, np.float64) for v in (values, truth))
    assert values.shape == truth.shape
    return float(np.linalg.norm(values - truth) / np.linalg.norm(truth))


def ratio(candidate: Any, reference: Any, truth: Any) -> float:
    """The candidate's error as a multiple of the reference's own (1: as good as PyTorch)."""
    return error(candidate, truth) / error(reference, truth)


def tensors(inputs: dict[str, Any]) -> dict[str, Any]:
    """NumPy inputs for the reference."""
    return {key: torch.from_numpy(np.ascontiguousarray(v)) for key, v in inputs.items()}


def batch(
    *rows: list[tuple[str, Any]], seed: int = 0, merge: int = 2, patch: int = 1176
) -> dict[str, np.ndarray]:
    """Model inputs of prompts made of ("text", tokens), ("image", thw) and ("video", thw).

    Rows are padded on the left to one length.
    """
    rng = np.random.default_rng(seed)
    grids: dict[str, list[Any]] = {"image": [], "video": []}
    pieces: list[list[np.ndarray]] = []
    for row in rows:
        pieces.append([])
        for kind, what in row:
            if kind == "text":
                pieces[-1].append(rng.integers(2, IMAGE, what))
            else:
                grids[kind].append(what)
                token = IMAGE if kind == "image" else VIDEO
                pieces[-1].append(np.full(int(np.prod(what)) // merge**2, token))
    ids = [np.concatenate(row) for row in pieces]
    length = max(map(len, ids))
    out = {name: np.zeros((len(ids), length), np.int64) for name in ("input_ids", "attention_mask")}
    for index, row_ids in enumerate(ids):
        out["input_ids"][index, length - len(row_ids) :] = row_ids
        out["attention_mask"][index, length - len(row_ids) :] = 1
    ids_all = out["input_ids"]
    out["mm_token_type_ids"] = (ids_all == IMAGE) + 2 * (ids_all == VIDEO).astype(np.int64)
    for kind, pixels, grid in (
        ("image", "pixel_values", "image_grid_thw"),
        ("video", "pixel_values_videos", "video_grid_thw"),
    ):
        if grids[kind]:
            out[grid] = np.array(grids[kind], np.int64)
            patches = int(out[grid].prod(1).sum())
            out[pixels] = rng.standard_normal((patches, patch)).astype(np.float32)
    return out
