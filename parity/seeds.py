"""A seed's own inputs and weights, for measuring what is normal on more than the default ones.

Seed 0 is the cases and the checkpoint as they are. Every other seed has random inputs in the
cases' own shapes, and every second one random weights too, with a massive channel in the text
decoder. Everything is written as a cases file and a checkpoint folder like any other, so that the
ordinary machinery runs on them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from parity.seeds_inputs import write_inputs
from parity.seeds_weights import write_checkpoint
from parity.settings import Settings

TRAINED, RANDOM = "trained", "random"


def weights_of(seed: int) -> str:
    """``random`` for every second seed, ``trained`` for the others and for seed 0."""
    return RANDOM if seed and seed % 2 == 0 else TRAINED


def seeded(settings: Settings, seed: int, folder: Path) -> Settings:
    """``settings`` on the inputs and weights of ``seed``, which are written below ``folder``.

    The same seed gives the same files, byte for byte. Captures go below ``folder`` too, so that
    they go with it.

    Raises:
        ParityError: a file cannot be read or written.
    """
    if seed == 0:
        return settings
    cases = folder / "cases.toml"
    write_inputs(settings.cases_file, settings.checkpoint, seed, cases)
    checkpoint = settings.checkpoint
    if weights_of(seed) == RANDOM:
        checkpoint = folder / "checkpoint"
        write_checkpoint(settings.checkpoint, seed, checkpoint)
    return replace(settings, cases_file=cases, checkpoint=checkpoint, bundles=folder / "bundles")
