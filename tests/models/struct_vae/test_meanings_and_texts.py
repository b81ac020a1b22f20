"""Text in, meaning out, and back: beams, ranks, batches, surfaces, and what is copied from z to x."""

import pytest
import torch

from hf_lvm import StructVAEConfig, StructVAEModel
from hf_lvm.grammars.abstract_syntax import Node
from hf_lvm.grammars.languages import build_language
from hf_lvm.grammars.transition_system import ActionVocabulary
from tests.models.struct_vae.tiny_meanings import tiny_struct_vae
from tests.tiny_parts import END, PAD, START, VOCABULARY, perturb, tiny_config

TEXTS = ["a b c b d", "e", "f g h a", "b a"]
LANGUAGE = build_language("s_expressions")
MEANINGS = ["( a b )", "( c ( a b ) )"]


@pytest.fixture(scope="module")
def model():
    """q copies words of x as atoms, p(x|z) atoms as words; LSTMs."""
    torch.manual_seed(0)
    trees = [LANGUAGE.parse(text) for text in MEANINGS]
    actions = ActionVocabulary(LANGUAGE.grammar, LANGUAGE.lexicons(trees), 3, LANGUAGE.copied)
    ids = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END}

    def part(family: str, size: int, **more):
        return tiny_config(family, vocab_size=size, **ids, **more)

    size, attends = actions.first_copy, {"add_cross_attention": True}
    config = StructVAEConfig(
        encoder=part("hf_lvm_lstm_encoder", VOCABULARY, bidirectional=True),
        parser=part("hf_lvm_lstm_decoder", size, **attends),
        reader=part("hf_lvm_lstm_encoder", size, bidirectional=True),
        decoder=part("hf_lvm_lstm_decoder", VOCABULARY, **attends),
        prior=part("hf_lvm_lstm_decoder", size),
        actions=actions.to_dict(),
        language=LANGUAGE.to_dict(),
        max_actions=9,
    )
    return perturb(StructVAEModel(config), 0.4).eval()


def test_the_best_meanings_of_sentences(model, word_processor):
    found = model.parse_n_best(TEXTS, 3, processor=word_processor, num_beams=5, batch_size=2)
    assert len(found) == len(TEXTS)
    for text, own in zip(TEXTS, found, strict=True):
        scores = [each.log_prob for each in own]
        assert scores == sorted(scores, reverse=True) and len({each.tree for each in own}) == 3
        (alone,) = model.parse_n_best(text, 3, processor=word_processor)
        assert [each.tree for each in alone] == [each.tree for each in own]
        for each, other in zip(alone, own, strict=True):
            assert each.log_prob == pytest.approx(other.log_prob, abs=1e-4)
            assert each.text is None or LANGUAGE.parse(each.text) == each.tree
    best = model.parse(TEXTS, processor=word_processor, batch_size=3)
    assert [each.tree for each in best] == [own[0].tree for own in found]
    assert model.parse([], processor=word_processor) == []
    assert any(each.text for own in found for each in own)


def test_meanings_ranked_by_the_joint_probability(model, word_processor):
    found = model.parse_n_best(TEXTS[:2], 2, processor=word_processor, scored_by="joint", num_beams=6)
    columns = word_processor.tokenize_words([text.split() for text in TEXTS[:2]])
    for row, own in enumerate(found):
        spelled = model.grammar.ids_of_trees([each.tree for each in own]).unsqueeze(1)
        with torch.no_grad():
            labels = torch.tensor([columns["labels"][row]])
            joint = model.log_likelihood(labels, spelled) + model.log_prior(spelled)
        assert [each.log_prob for each in own] == pytest.approx(joint[:, 0].tolist(), abs=1e-4)
        assert own[0].log_prob >= own[1].log_prob


def test_sentences_of_meanings(model, word_processor):
    trees = [LANGUAGE.parse(text) for text in MEANINGS]
    told = model.verbalize(MEANINGS, processor=word_processor, max_new_tokens=5)
    assert told == model.verbalize(trees, processor=word_processor, max_new_tokens=5, batch_size=1)
    assert model.verbalize(trees[0], processor=word_processor, max_new_tokens=5) == told[:1]
    assert model.verbalize([], processor=word_processor) == []
    with pytest.raises(ValueError, match="meaning 1"):
        model.verbalize(["( a b )", "( a"], processor=word_processor)


def test_atoms_that_are_words_are_copied(model, word_processor):
    model.connect(word_processor)
    table, pieces = model.token_of_action, model.grammar.vocabulary.pieces
    tokens = word_processor.decoder_tokenizer.get_vocab()
    assert {piece: int(table[action]) for piece, action in pieces.items()} == {piece: tokens[piece] for piece in "abc"}
    assert (table >= 0).sum() == 3
    # Where the model only copies, nothing but the atoms is said.
    spelled = model.grammar.ids_of_trees([LANGUAGE.parse("( a b )")])
    bias = model.pointer.gate.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(-1e4)
        log_probs = model.teller(spelled).begin().logits.log_softmax(-1)[0]
        bias.copy_(before)
    assert log_probs[[tokens["a"], tokens["b"]]].exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_read(model, word_processor):
    with pytest.raises(ValueError, match="sentence 1"):
        model.parse(["a b", ""], processor=word_processor)
    with pytest.raises(ValueError, match="Unknown scored_by 'prior'"):
        model.parse_n_best("a", processor=word_processor, scored_by="prior")
    with pytest.raises(ValueError, match="both are at least 1"):
        model.parse_n_best("a", 0, processor=word_processor)
    other = tiny_struct_vae()
    with pytest.raises(ValueError, match="sentence 0 has 42 tokens"):
        other.parse(" ".join(["a"] * 40), processor=word_processor)
    with pytest.raises(ValueError, match="the config has no language"):
        other.verbalize("( a )", processor=word_processor)
    with pytest.raises(ValueError, match="meaning 0"):
        other.verbalize(Node("Nothing"), processor=word_processor)
    (found,) = other.parse("a b", processor=word_processor)
    assert found.text is None and found.tree.constructor in ("All", "Named", "Both")
    uniform = tiny_struct_vae(prior=None, prior_type="uniform")
    with pytest.raises(ValueError, match="there is no joint probability"):
        uniform.parse_n_best("a", processor=word_processor, scored_by="joint")
