"""Trees that need no parser, to print beside the F1 of one: branching baselines, random trees, and the best there can be."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np
from scipy.optimize import linear_sum_assignment

Spans = list[tuple[int, int]]


def left_branching(count: int) -> Spans:
    """Spans of (((a b) c) d): (first, last) word, inclusive, children first, for at least 2 words."""
    return [(0, last) for last in range(1, count)]


def right_branching(count: int) -> Spans:
    """Spans of (a (b (c d)))."""
    return [(first, count - 1) for first in range(count - 2, -1, -1)]


def right_branching_last_on_top(count: int) -> Spans:
    """Spans of ((a (b c)) d).

    Where punctuation is kept, nearly every sentence ends with a full stop that belongs to the whole of it. Plain
    right-branching draws it into each constituent and so gets nearly none of them right; attached at the top it does no harm.
    """
    return [*right_branching(count - 1), (0, count - 1)]


def balanced(count: int) -> Spans:
    """Spans of a tree that is halved again and again; of an odd number of words the right half gets one more."""
    return _split_tree(count, lambda first, last: first + (last - first + 1) // 2)


def random_tree(count: int, generator: random.Random) -> Spans:
    """Spans of a tree that is split again and again at a place drawn uniformly.

    Not uniform over trees: those would be less balanced.
    """
    return _split_tree(count, lambda first, last: generator.randint(first + 1, last))


def _split_tree(count: int, first_of_right_part: Callable[[int, int], int]) -> Spans:
    spans, agenda = [], [(0, count - 1)]
    while agenda:
        first, last = agenda.pop()
        if first < last:
            spans.append((first, last))
            middle = first_of_right_part(first, last)
            agenda += [(first, middle - 1), (middle, last)]
    return spans[::-1]


def best_binary(gold: Counter[tuple[int, int]], kept: Sequence[bool], counts_all: bool) -> tuple[int, int]:
    """Matched and predicted brackets of the binary tree with the highest F1, sentence and corpus F1 alike.

    Any set of nested spans is part of some binary tree, so where each span counts once and the whole sentence does not,
    every gold span is matched, of n - 2 that the tree has.

    With `counts_all` (evalb) a binary tree over the m words that stay matches each different gold span of 2 words or more
    once. Beyond these, gold has repeated spans and spans of one word. Each removed word adds a bracket that repeats a span
    next to it, and the tree can choose which of them, so that the rest is a bipartite matching between the places of removed
    words and the spans that want one more bracket. Where none of the words removed at one place is matched, they cost one
    bracket together: those inside it hold no word and are not counted. A further match costs at most one further bracket,
    which raises F1 = 2 matched / (predicted + gold), as that is at most 1; so the largest matching is the best, and of those
    the one that uses the most places.

    Args:
        gold: how often each span counts, as [`Protocol.count`] gives it.
        kept: whether each word stays; all True where the tree is built over the words that stay.
        counts_all: see [`Protocol`].
    """
    words = sum(kept)
    whole = (0, words - 1)
    if not counts_all:
        return sum(span != whole for span in gold), words - 2
    places = accumulate(kept, initial=0)  # how many words stay before each word
    removed = Counter(place for place, stays in zip(places, kept, strict=False) if not stays)
    wanted = [span for span, times in gold.items() for _ in range(times - (span[0] < span[1]))]
    used: set[int] = set()
    more = 0
    if removed and wanted:
        supplies = [*removed, *(removed - Counter(set(removed))).elements()]  # one word of each place, then the others
        fits = np.array([[place in (first, last + 1) for first, last in wanted] for place in supplies])
        # A match counts 1. That of the first word of a place counts a little more, all of them together less than one match.
        weights = fits * np.where(np.arange(len(supplies)) < len(removed), 1 + 1 / (len(supplies) + 1), 1)[:, None]
        pairs = [pair for pair in zip(*linear_sum_assignment(weights, maximize=True), strict=True) if fits[pair]]
        used = {supplies[supply] for supply, _ in pairs}
        more = len(pairs)
    matched = sum(first < last for first, last in gold) + more
    return matched, words - 1 + more + len(set(removed) - used)
