# SPDX-License-Identifier: GPL-2.0-only
"""Mutants of built functions: instructions of bound steps dropped, weakened, doubled, exchanged.

A binding that takes such a function for what the test says has not looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kvet.prove.bind import Binding, BoundStep
from kvet.prove.image import Image

NOP = 0xD503201F
BRANCH_LINK = 0x94000000
# dsb ish -> dsb ishst, dmb ish -> dmb ishld
WEAKER = {0xD5033B9F: 0xD5033A9F, 0xD5033BBF: 0xD50339BF}
# a load or store of 8 bytes with an offset, without an index
WIDE, WIDE_MASK = 0xF9000000, 0xFF000000
FOUR_BYTES = ~(1 << 30)
INTRUDER = "__rcu_read_unlock"


@dataclass(frozen=True, slots=True)
class BinaryMutant:
    """Instructions to put into a copy of the image, by address."""

    name: str
    patches: Mapping[int, bytes]


def binary_mutants(image: Image, binding: Binding) -> Iterator[BinaryMutant]:
    """All mutants of one thread's bound instructions."""
    steps = list({step.address: step for step in binding.steps}.values())
    for step in steps:
        word = _word(image, step.address)
        if step.address not in image.keys:
            yield _mutant(binding, f"drop {step.label}", {step.address: NOP})
        if word in WEAKER:
            yield _mutant(binding, f"weaken {step.label}", {step.address: WEAKER[word]})
        if word & WIDE_MASK == WIDE:
            narrow = word & FOUR_BYTES
            yield _mutant(binding, f"narrow {step.label}", {step.address: narrow})
        yield from _calls(image, binding, step, word)
    yield from _exchanged(image, binding, steps)


def _calls(image: Image, binding: Binding, step: BoundStep, word: int) -> Iterator[BinaryMutant]:
    """The call of a step goes somewhere else."""
    target = image.symbols.get(INTRUDER, ())
    if word & 0xFC000000 == BRANCH_LINK and target:
        call = BRANCH_LINK | (target[0][0] - step.address) // 4 & 0x03FFFFFF
        if call != word:
            yield _mutant(binding, f"{step.label} calls {INTRUDER}", {step.address: call})


def _exchanged(
    image: Image, binding: Binding, steps: Sequence[BoundStep]
) -> Iterator[BinaryMutant]:
    """Two neighbouring steps of one function change places, where neither is a jump."""
    for one, other in zip(steps, steps[1:], strict=False):
        words = [_word(image, step.address) for step in (one, other)]
        near = image.symbol_at(one.address) == image.symbol_at(other.address)
        jumps = any(w >> 26 in (0x05, 0x25) or w == NOP for w in words)
        if near and not jumps and words[0] != words[1]:
            patches = {one.address: words[1], other.address: words[0]}
            yield _mutant(binding, f"exchange {one.label} and {other.label}", patches)


def _word(image: Image, address: int) -> int:
    return int.from_bytes(image.content(address, 4), "little")


def _mutant(binding: Binding, name: str, words: Mapping[int, int]) -> BinaryMutant:
    patches = {address: word.to_bytes(4, "little") for address, word in words.items()}
    return BinaryMutant(f"{binding.thread} {binding.root}: {name}", patches)
