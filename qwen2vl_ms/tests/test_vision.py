"""Every module of the vision tower on the reference's inputs, against float64."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.tests import tiny

# Two images of different shapes that are not square, and a video of three frames.
GRID = np.array([[1, 4, 8], [1, 6, 4], [3, 4, 6]])
LIMIT = 3.0  # of PyTorch's own error; measured: at most 1.5


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """The tower of the candidate, of the reference and of the reference in float64."""
    reference = tiny.reference_model()
    candidate = tiny.candidate_model(reference, tmp_path_factory.mktemp("vision"))
    truth = tiny.truth_model(reference)
    return candidate.model.visual, reference.model.visual, truth.model.visual


def patches(seed: int = 0) -> np.ndarray:
    shape = (int(GRID.prod(1).sum()), 1176)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def calls(tower: Any, pixels: torch.Tensor) -> dict[str, tuple[Any, Any, Any]]:
    """Positional arguments, named arguments and the output of every module in a run."""
    seen: dict[str, tuple[Any, Any, Any]] = {}
    hooks = [
        module.register_forward_hook(
            lambda _, args, kwargs, output, name=name: seen.update({name: (args, kwargs, output)}),
            with_kwargs=True,
        )
        for name, module in tower.named_modules()
        if name and not name.startswith("rotary")
    ]
    with torch.no_grad():
        tower(pixels, grid_thw=torch.from_numpy(GRID))
    for hook in hooks:
        hook.remove()
    return seen


def local_ratios(towers: tuple[Any, Any, Any]) -> dict[str, float]:
    """The error of every module on the reference's own inputs."""
    candidate, reference, truth = towers
    cells, modules = dict(candidate.cells_and_names()), dict(truth.named_modules())
    names = ("hidden_states", "cu_seqlens", "position_embeddings")
    ratios = {}
    for name, (args, kwargs, output) in calls(reference, torch.from_numpy(patches())).items():
        if name not in cells or name == "patch_embed.proj":  # a Conv3d there
            continue
        with torch.no_grad(), tiny.Widened():
            exact = modules[name](
                *tiny.to_truth(args), **{k: tiny.to_truth(v) for k, v in kwargs.items()}
            )
        if re.fullmatch(r"blocks\.\d+(\.attn)?", name):  # the port's take named arguments
            args, kwargs = (), {**dict(zip(names, args, strict=False)), **kwargs}
        named = {k: tiny.to_candidate(v) for k, v in kwargs.items() if k in names}
        ours = cells[name](*tiny.to_candidate(args), **named).asnumpy()
        ratios[name] = tiny.ratio(ours, output, exact)
    return ratios


def test_every_module_is_as_good_as_pytorchs(towers: tuple[Any, Any, Any]) -> None:
    ratios = local_ratios(towers)
    assert {"patch_embed", "blocks.0", "blocks.1.attn", "blocks.1.mlp.fc2", "merger"} <= set(ratios)
    assert {name: r for name, r in ratios.items() if not r <= LIMIT} == {}


def run(tower: Any, pixels: np.ndarray, grid: np.ndarray = GRID) -> np.ndarray:
    return tower(hidden_states=ms.Tensor(pixels), grid_thw=grid).asnumpy()


@pytest.fixture(scope="module")
def expected(towers: tuple[Any, Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The merger's output of the reference in float32 and in float64."""
    _, reference, truth = towers
    pixels, grid = torch.from_numpy(patches()), torch.from_numpy(GRID)
    with torch.no_grad(), tiny.Widened():
        exact = truth(pixels.double(), grid_thw=grid).pooler_output
        return reference(pixels, grid_thw=grid).pooler_output.numpy(), exact.numpy()


def test_the_whole_tower(towers: tuple[Any, Any, Any], expected: Any) -> None:
    assert tiny.ratio(run(towers[0], patches()), *expected) <= LIMIT


def segments_merged(tower: Any) -> None:
    """Let images and frames see each other."""
    for block in tower.blocks:
        attend = block.attn.construct
        block.attn.construct = lambda hidden_states, cu_seqlens, position_embeddings, f=attend: f(
            hidden_states, cu_seqlens[[0, -1]], position_embeddings
        )


def sides_swapped(tower: Any) -> None:
    """Rotate by (w, h) for (h, w)."""
    tables = tower.rotary_pos_emb.construct
    tower.rotary_pos_emb.construct = lambda position_ids: tables(position_ids[:, ::-1])


@pytest.mark.parametrize("plant", [segments_merged, sides_swapped])
def test_a_fault_is_far_over_the_limit(plant: Any, expected: Any, tmp_path: Path) -> None:
    candidate = tiny.candidate_model(tiny.reference_model(), tmp_path)
    plant(candidate.model.visual)
    assert tiny.ratio(run(candidate.model.visual, patches()), *expected) > 1000 * LIMIT


def test_an_image_does_not_depend_on_the_others(towers: tuple[Any, Any, Any]) -> None:
    first = int(GRID[0].prod())
    alone = run(towers[0], patches()[:first], GRID[:1])
    together = run(towers[0], patches())[: first // 4]
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("pixels", "grid", "message"),
    [
        (
            np.zeros((8, 1176), np.float32),
            [[1, 4, 4]],
            "shape (8, 1176), and the grids [[1, 4, 4]]",
        ),
        (np.zeros((16, 588), np.float32), [[1, 4, 4]], "give (16, 1176)"),
        (np.zeros((16, 1176), np.float32), [[1, 3, 4]], "grid_thw[0] is [1, 3, 4]"),
    ],
)
def test_pixels_that_do_not_fit(
    towers: tuple[Any, Any, Any], pixels: np.ndarray, grid: Any, message: str
) -> None:
    with pytest.raises(Qwen2VLError, match=re.escape(message)):
        run(towers[0], pixels, np.array(grid))
