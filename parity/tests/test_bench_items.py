"""What is measured: the items at their sizes, the contestants, checkpoints and inputs."""

import sys
from pathlib import Path

import numpy as np
import pytest

from parity.bench import checkpoints, inputs
from parity.bench.contestants import CONTESTANTS, able, mindnlp
from parity.bench.items import ITEMS, MEMORY, select
from parity.core.errors import ParityError


def test_the_issues_items_are_there_at_their_sizes():
    sizes = {item.name: dict(item.size) for item in ITEMS}
    assert sizes["vision-block"]["grid_height"] * sizes["vision-block"]["grid_width"] == 1024
    assert sizes["prefill"]["tokens"] == sizes["decode"]["tokens"] == 512
    assert sizes["memory"] == {"grid_height": 98, "grid_width": 146}  # of 1372x2044 pixels
    assert (sizes["photo"]["height"], sizes["photo"]["width"]) == (14 * 98, 14 * 146)
    assert {item.name: item.goal for item in ITEMS if item.goal} == {
        "vision-block": 1.5, "prefill": 1.5, "decode": 1.5, "photo": 1.0, "photo-resized": 1.0,
        "memory": 1.2,
    }  # fmt: skip


@pytest.mark.parametrize("quick", [False, True])
def test_titles_tell_the_sizes_that_are_taken(quick):
    titles = [item.title(quick) for item in ITEMS]
    assert not any("{" in title for title in titles)
    assert any("1024 patches" in title for title in titles) is not quick
    assert any("1372x2044 (14308 patches)" in title for title in titles) is not quick


def test_items_are_selected_in_their_own_order():
    assert [item.name for item in select(["memory", "prefill"])] == ["prefill", "memory"]
    assert select([]) == list(ITEMS)
    with pytest.raises(ParityError, match="no item 'prefil'"):
        select(["prefil"])


def test_the_baseline_of_every_item_is_the_reference():
    for item in ITEMS:
        names = [c.name for c in able(item, CONTESTANTS)]
        assert names[0] in ("eager", "sdpa", "torchvision")
        assert len(names) > 2
    memory = next(item for item in ITEMS if item.measure == MEMORY)
    assert "13 GB" in memory.absent["eager"]


def test_mindnlp_needs_an_interpreter(tmp_path):
    with pytest.raises(ParityError, match="bench-mindnlp"):
        mindnlp(tmp_path / "python")
    assert mindnlp(Path(sys.executable)).python == sys.executable


def test_the_checkpoints_have_the_published_widths():
    vision = checkpoints.parameters(checkpoints.SHAPES["vision"])
    assert vision["visual.blocks.1.attn.qkv.weight"] == (3840, 1280)
    assert vision["visual.blocks.0.mlp.fc1.weight"] == (5120, 1280)
    decoder = checkpoints.parameters(checkpoints.SHAPES["decoder"])
    assert decoder["model.layers.1.mlp.gate_proj.weight"] == (8960, 1536)
    assert decoder["model.layers.0.self_attn.k_proj.weight"] == (256, 1536)


def test_weights_follow_from_names_alone():
    first = checkpoints.weight("a.weight", (64, 32))
    assert np.array_equal(first, checkpoints.weight("a.weight", (64, 32)))
    assert not np.array_equal(first, checkpoints.weight("b.weight", (64, 32)))
    assert first.std() == pytest.approx(32**-0.5, rel=0.1)
    assert checkpoints.weight("n.weight", (500,)).mean() == pytest.approx(1.0, abs=0.02)
    assert checkpoints.weight("n.bias", (500,)).mean() == pytest.approx(0.0, abs=0.02)


def test_a_checkpoint_is_one_the_port_can_read(tmp_path):
    from safetensors import safe_open

    from qwen2vl_ms import Qwen2VLConfig

    folder = checkpoints.folder_of("toy", tmp_path)
    assert Qwen2VLConfig.from_pretrained(folder).text_config.hidden_size == 256
    with safe_open(folder / "model.safetensors", "np") as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert found == checkpoints.parameters(checkpoints.SHAPES["toy"])


def test_texts_hold_plain_tokens_and_begin_alike():
    assert inputs.tokens(600).min() >= inputs.FIRST_TOKEN
    assert inputs.tokens(600).max() < inputs.LAST_TOKEN
    assert np.array_equal(inputs.tokens(600)[:, :48], inputs.tokens(48))
