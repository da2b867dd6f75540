"""Decoding steps after the prompt: every step of a point is one test."""

import pytest


@pytest.mark.points("decoding", r"language_model\.(position_ids|attention_mask)")
def test_positions(parity_point):
    parity_point.check()


@pytest.mark.points("decoding", r"language_model\.(embed_tokens|inputs_embeds|rotary_emb\..+)")
def test_inputs(parity_point):
    parity_point.check()


@pytest.mark.points("decoding", r"language_model\.layers\.\d+(\..+)?")
def test_layer(parity_point):
    parity_point.check()


@pytest.mark.points("decoding", r"language_model\.norm|lm_head")
def test_head(parity_point):
    parity_point.check()
