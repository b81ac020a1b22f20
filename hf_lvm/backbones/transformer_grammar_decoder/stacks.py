"""Derivations step by step: of every row the keys and values of the start and of what is on the stack, and of nothing else."""

from dataclasses import dataclass, replace

import torch
from torch.nn import functional
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import Cache

from hf_lvm.grammars.shift_reduce import Action


@dataclass(frozen=True)
class CachedStacks:
    """The stacks of B derivations. What a REDUCE closed is gone: memory follows the deepest stack, not the sentences.

    Attributes:
        memory: keys and values of each layer, (B, heads, L, head size) each.
        owner: (B, L), the constituent, counted from 1 at the bottom, that a slot of the memory belongs to; 0 for the start, -1
            for a slot that holds nothing, which stands behind those that do.
        size: (B,), constituents.
        hidden: (B, H), the state that predicts what comes next.
        is_open: (B,) bool, whether a word is on top that nothing has been done to yet.
        num_read: (B,), positions read so far.
    """

    memory: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    owner: torch.Tensor
    size: torch.Tensor
    hidden: torch.Tensor
    is_open: torch.Tensor
    num_read: torch.Tensor

    def select(self, rows: torch.Tensor) -> "CachedStacks":
        """These rows (R,), in this order."""
        rest = (self.size, self.hidden, self.is_open, self.num_read)
        owner, memory = self.owner[rows], tuple((keys[rows], values[rows]) for keys, values in self.memory)
        return CachedStacks(memory, owner, *(each[rows] for each in rest)).resized(_most_held(owner))

    def join(self, *others: "CachedStacks") -> "CachedStacks":
        """The rows of these stacks and then those of others."""
        length = max(each.owner.shape[1] for each in (self, *others))
        stacks = [each.resized(length) for each in (self, *others)]
        memories = zip(*(each.memory for each in stacks), strict=True)
        return CachedStacks(
            tuple(tuple(torch.cat(parts) for parts in zip(*layer, strict=True)) for layer in memories),
            torch.cat([each.owner for each in stacks]),
            torch.cat([each.size for each in stacks]),
            torch.cat([each.hidden for each in stacks]),
            torch.cat([each.is_open for each in stacks]),
            torch.cat([each.num_read for each in stacks]),
        )

    def resized(self, length: int) -> "CachedStacks":
        """The same with `length` slots: those behind, which hold nothing, are taken away or added."""
        memory = tuple((_resized(keys, length), _resized(values, length)) for keys, values in self.memory)
        change = length - self.owner.shape[1]
        return replace(self, memory=memory, owner=functional.pad(self.owner, (0, change), value=-1))

    def cache(self, config: PreTrainedConfig) -> DynamicCache:
        """The memory as a decoder takes it."""
        cache = DynamicCache(config=config)
        for layer, (keys, values) in enumerate(self.memory):
            cache.update(keys, values, layer)
        return cache

    def packed(self) -> "CachedStacks":
        """The same with the slots that hold something first in every row, and no more of them than in the fullest."""
        slots = (self.owner < 0).to(torch.uint8).argsort(dim=1, stable=True)[:, : _most_held(self.owner)]
        memory = tuple((_slots(keys, slots), _slots(values, slots)) for keys, values in self.memory)
        return replace(self, memory=memory, owner=self.owner.gather(1, slots))


@dataclass(frozen=True)
class NextReading:
    """What one step of each row reads, Q positions of it, and what they see of a memory of L slots.

    A REDUCE reads two positions. Where another row does, a row that reads one has a second, which nobody sees.

    Attributes:
        reduces: (B,) bool.
        visible: (B, Q, L + Q) bool.
        owner: (B, L + Q), of the slots after the step.
        depth, order: (B, Q), positions below, and positions read before.
        size, is_open, num_read: (B,), after the step.
    """

    reduces: torch.Tensor
    visible: torch.Tensor
    owner: torch.Tensor
    depth: torch.Tensor
    order: torch.Tensor
    size: torch.Tensor
    is_open: torch.Tensor
    num_read: torch.Tensor

    @classmethod
    def of(cls, stacks: CachedStacks, actions: torch.Tensor) -> "NextReading":
        """What actions (B,) read."""
        reduces, goes_on = actions == Action.REDUCE, actions == Action.CONTINUE
        # The constituent that is made, or that grows, is on top.
        size = stacks.size + torch.where(reduces, -1, torch.where(goes_on, 0, 1))
        top, owner = size.unsqueeze(1), stacks.owner
        holds, row_reduces = owner >= 0, reduces.unsqueeze(1)
        stays = holds & (~row_reduces | (owner < top))
        first_sees = holds & (~row_reduces | (owner >= top))
        num_queries = 2 if bool(reduces.any()) else 1
        queries = torch.arange(num_queries, device=actions.device)
        itself = torch.eye(num_queries, dtype=torch.bool, device=actions.device).repeat(len(actions), 1, 1)
        if num_queries == 2:
            itself[:, 1, 0] = reduces
        of_memory = torch.stack([first_sees, stays & row_reduces], dim=1)[:, :num_queries]
        kept = torch.where(stays, owner, -1)
        unseen = kept.new_full((len(kept), num_queries - 1), -1)
        return cls(
            reduces=reduces,
            visible=torch.cat([of_memory, itself], dim=2),
            owner=torch.cat([kept, top, unseen], dim=1),
            depth=stays.sum(1, keepdim=True).expand(-1, num_queries),
            # The second position of a row that reads one stands where the first does.
            order=stacks.num_read.unsqueeze(1) + queries * row_reduces,
            size=size,
            is_open=~reduces,
            num_read=stacks.num_read + torch.where(reduces, 2, 1),
        )

    def stacks_after(self, hidden: torch.Tensor, cache: Cache) -> CachedStacks:
        """The stacks after the step, of which the decoder has read the states hidden (B, Q, H) and filled the cache."""
        last = hidden[:, 0] if hidden.shape[1] == 1 else torch.where(self.reduces.unsqueeze(1), hidden[:, 1], hidden[:, 0])
        return CachedStacks(memory_of(cache), self.owner, self.size, last, self.is_open, self.num_read).packed()


def memory_of(cache: Cache) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Keys and values of each layer of a cache."""
    return tuple((layer.keys, layer.values) for layer in cache.layers)


def _slots(values: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """values (B, heads, L, D) at slots (B, M) of each row: (B, heads, M, D)."""
    return values.gather(2, slots[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[3]))


def _resized(values: torch.Tensor, length: int) -> torch.Tensor:
    """values (B, heads, L, D) as (B, heads, length, D)."""
    return functional.pad(values, (0, 0, 0, length - values.shape[2]))


def _most_held(owner: torch.Tensor) -> int:
    """The most slots that hold something in a row of `owner` (B, L)."""
    return int((owner >= 0).sum(1).max()) if len(owner) else 0
