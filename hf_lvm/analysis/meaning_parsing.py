"""Encoded utterances parsed by a StructVAE, and how many of their meanings are right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from hf_lvm.analysis.corpus import WORD_COLUMNS, batches_by_length
from hf_lvm.data import LatentTextProcessor, MeaningCollator, canonical_meaning
from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import Language
from hf_lvm.grammars.transition_system import END
from hf_lvm.layers.decoder_interface import in_evaluation_mode


@dataclass(frozen=True)
class FoundMeaning:
    """A meaning of an utterance.

    Attributes:
        tree: of the grammar.
        actions: that spell it, END last.
        log_prob: log q(z|x), nats; nan of a greedy parse, which is not scored.
    """

    tree: Node
    actions: list[int]
    log_prob: float


def meaning_batches(
    dataset: Dataset,
    processor: LatentTextProcessor,
    batch_size: int,
    device: torch.device,
    description: str | None = None,
    rows: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Row numbers and batches of utterances of similar length, shortest first, with their words, without their meanings.

    Args:
        dataset: of `encode_meanings`.
        description: of a progress bar; None for none.
        rows: which ones; by default all.
    """
    columns = (*WORD_COLUMNS, "words")
    return batches_by_length(dataset, MeaningCollator(processor), columns, batch_size, device, description, rows=rows)


def parse_rows(
    model,
    dataset: Dataset,
    processor: LatentTextProcessor,
    num_beams: int = 1,
    *,
    rows: Sequence[int] | None = None,
    batch_size: int = 64,
    description: str | None = None,
) -> dict[int, list[FoundMeaning]]:
    """Row number -> the best meanings of the utterance under q(z|x), best first.

    Args:
        model: a `StructVAEModel`.
        dataset: of `encode_meanings`.
        num_beams: meanings that a beam keeps and gives; 1 for the greedy parse.
        rows, description: as of `meaning_batches`.
    """
    found: dict[int, list[FoundMeaning]] = {}
    for some, batch in meaning_batches(dataset, processor, batch_size, model.device, description, rows):
        with in_evaluation_mode(model):
            encoded = model.encoded(batch["input_ids"], batch["attention_mask"], batch["word_ids"], batch["words"])
            posterior = model.posterior_of(encoded)
            if num_beams == 1:
                sequences = posterior.mode.unsqueeze(0)
                scores = torch.full(sequences.shape[:2], torch.nan)
            else:
                sequences, scores = posterior.beam(num_beams)
        for place, row in enumerate(some):
            source = None if encoded.sources is None else encoded.sources[place]
            own = zip(sequences[:, place].tolist(), scores[:, place].tolist(), strict=True)
            found[row] = [
                FoundMeaning(model.grammar.tree(actions, source), [*model.grammar.spell(actions, source), END], score)
                for actions, score in own
                if score != -torch.inf
            ]
    return found


class ExactMatch:
    """Compares meanings by a rule of their language; each text is read once.

    Args:
        language: of the meanings.
        rule: `published` or `full`, see `Language.canonical`.
    """

    def __init__(self, language: Language, rule: str = "published"):
        self.language, self.rule = language, rule
        self._of_text = canonical_meaning(language, rule)

    def __call__(self, tree: Node, meaning: str) -> bool:
        """Whether a tree is the meaning of this text."""
        return self.language.canonical(tree, self.rule) == self._of_text(meaning)
