"""The vision tower, from patches to merged features."""

import pytest


@pytest.mark.points("vision", r"visual\.(position_ids|cu_seqlens)")
def test_positions(parity_point):
    parity_point.check()


@pytest.mark.points("vision", r"visual\.patch_embed")
def test_patch_embed(parity_point):
    parity_point.check()


@pytest.mark.points("vision", r"visual\.rotary_pos_emb\.(cos|sin)")
def test_rotary(parity_point):
    parity_point.check()


@pytest.mark.points("vision", r"visual\.blocks\.\d+")
def test_block(parity_point):
    parity_point.check()


@pytest.mark.points("vision", r"visual\.blocks\.\d+\..+")
def test_block_part(parity_point):
    parity_point.check()


@pytest.mark.points("vision", r"visual\.merger(\..+)?")
def test_merger(parity_point):
    parity_point.check()
