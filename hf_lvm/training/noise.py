"""Noise that depends on which sentence is drawn for, never on how the batch was cut into pieces.

One global generator ties the noise of a sentence to everything drawn before it: 4 accumulation steps of 2 sentences
train differently from one step of 8, two processes differently from one, and a resumed run only agrees with the
straight one when the state of the generator was saved at the right moment. Here each row of a batch has a generator of
its own, seeded by a counter hash of (seed, stream, step, row). Nothing has to be saved.
"""

from collections.abc import Iterable
from enum import IntEnum

import torch

_MASK = (1 << 64) - 1
_GOLDEN_RATIO = 0x9E3779B97F4A7C15


class NoiseStream(IntEnum):
    """What the noise is for. Streams with the same step and row are independent of each other."""

    LATENTS = 1
    WORD_DROPOUT = 2
    EVALUATION_LATENTS = 3
    INNER_STEP = 4
    INNER_BATCH = 5
    DECODER_RESET = 6


def derive_seed(*counters: int) -> int:
    """Hash integers to a seed of 64 well mixed bits.

    Each counter goes through the finaliser of SplitMix64 (Steele, Lea and Flood 2014, figure 16). The generator of
    torch for the CPU takes the low 32 bits of a seed, so consecutive counters must already differ in all of them.
    """
    state = 0
    for counter in counters:
        state = (state + counter + _GOLDEN_RATIO) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def row_generators(seed: int, stream: NoiseStream, step: int, rows: Iterable[int]) -> list[torch.Generator]:
    """One generator for each row of a batch.

    Args:
        seed: seed of the run.
        stream: what the noise is for.
        step: global step, or 0 where rows alone tell sentences apart (evaluation: the position in the data set).
        rows: numbers of the rows, as many as the batch is long.

    Returns:
        B generators on the CPU, whatever the device of the model: draw there and move, and the noise is the same on
        every device.
    """
    step_seed = derive_seed(seed, stream, step)
    generators = []
    for row in rows:
        generator = torch.Generator()
        generator.manual_seed(derive_seed(step_seed, row))
        generators.append(generator)
    return generators
