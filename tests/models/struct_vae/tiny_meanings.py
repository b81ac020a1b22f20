"""StructVAEs small enough to be summed over: a grammar with a handful of trees, parts from scratch without dropout."""

import torch

from hf_lvm import StructVAEConfig, StructVAEModel
from hf_lvm.grammars.asdl import parse_asdl
from hf_lvm.grammars.transition_system import ActionVocabulary, ClosedLexicon, OpenLexicon
from tests.grammars.toy_trees import derivations_within
from tests.tiny_parts import END, PAD, START, VOCABULARY, perturb, tiny_config

GRAMMAR = """
word, sort
query = All(sort sort) | Named(word name) | Both(query first, query second)
"""
PIECES, SORTS = ["a", "b", "ab"], ["city", "river"]
# q has up to so many steps, p(z) twice as many: a copied word may be spelled in two.
LIMIT, SPELLED = 5, 10
WORDS = [["ab", "is", "b"], ["city", "a", "a"], ["x"]]


def vocabulary(copy_slots: int = 0) -> ActionVocabulary:
    lexicons = {"word": OpenLexicon(PIECES), "sort": ClosedLexicon(SORTS)}
    return ActionVocabulary(parse_asdl(GRAMMAR), lexicons, copy_slots, ["word"] if copy_slots else None)


def tiny_struct_vae(
    encoder: str = "bert",
    parser: str = "gpt2",
    reader: str = "bert",
    decoder: str = "gpt2",
    prior: str | None = "gpt2",
    language_model: str | None = None,
    *,
    copy_slots: int = 0,
    seed: int = 0,
    perturbation: float = 0.1,
    vocab_size: int = VOCABULARY,
    **options,
) -> StructVAEModel:
    """In evaluation mode, all weights with noise, so that trees differ; p(x|z) copies the pieces as the tokens from 3 on."""
    torch.manual_seed(seed)
    actions = vocabulary(copy_slots)
    ids = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}

    def part(family: str, size: int, **more):
        more |= {"bidirectional": True} if family == "hf_lvm_lstm_encoder" else {}
        if family == "hf_lvm_lstm_decoder" and "attends" in more:
            more |= {"add_cross_attention": True, "input_feeding": True}
        more.pop("attends", None)
        return tiny_config(family, vocab_size=size, **ids | more)

    words, size = vocab_size, actions.first_copy
    config = StructVAEConfig(
        encoder=part(encoder, words),
        parser=part(parser, size, attends=True),
        reader=part(reader, size),
        decoder=part(decoder, words, attends=True),
        prior=None if prior is None else part(prior, size),
        language_model=None if language_model is None else part(language_model, words),
        **{"actions": actions.to_dict(), "max_actions": LIMIT, "max_spelled_actions": SPELLED, "num_samples": 3, **options},
    )
    model = perturb(StructVAEModel(config), perturbation).eval()
    if config.copy_from_meaning and vocab_size > 6:
        model.copy_actions({actions.pieces[piece]: 3 + place for place, piece in enumerate(PIECES)})
    return model


def batch(model: StructVAEModel, rows: list[list[int]] | None = None) -> dict:
    """Three sentences of `WORDS`, with what may be copied where the model copies."""
    rows = [[5, 9, 4, END], [7, 3, 3, END], [8, END]] if rows is None else rows
    width = max(map(len, rows))
    labels = torch.tensor([[*row, *[-100] * (width - len(row))] for row in rows])
    given = {
        "input_ids": torch.where(labels == -100, PAD, labels)[:, :-1],
        "attention_mask": ((labels != -100) & (labels != END)).long()[:, :-1],
        "labels": labels,
    }
    return given | ({"words": WORDS[: len(rows)]} if model.grammar.copies else {})


def every_derivation(model: StructVAEModel, row: int) -> torch.Tensor:
    """All trees of q for a sentence of `WORDS`, as latents (S, T)."""
    grammar = model.grammar
    source = grammar.source(WORDS[row]) if grammar.copies else None
    derivations = derivations_within(grammar.automaton, grammar.max_actions, source)
    return torch.tensor([[*own, END, *[PAD] * (grammar.max_actions - len(own))] for own in derivations])
