"""Positions, merged embeddings, the decoder and the head, on the prompt."""

import pytest


@pytest.mark.points("positions", r"language_model\.(position_ids|attention_mask)|rope_deltas")
def test_positions(parity_point):
    parity_point.check()


@pytest.mark.points("text", r"language_model\.(embed_tokens|inputs_embeds)")
def test_embeddings(parity_point):
    parity_point.check()


@pytest.mark.points("text", r"language_model\.rotary_emb\.(cos|sin)")
def test_rotary(parity_point):
    parity_point.check()


@pytest.mark.points("text", r"language_model\.layers\.\d+")
def test_layer(parity_point):
    parity_point.check()


@pytest.mark.points("text", r"language_model\.layers\.\d+\..+")
def test_layer_part(parity_point):
    parity_point.check()


@pytest.mark.points("text", r"language_model\.norm|lm_head")
def test_head(parity_point):
    parity_point.check()
