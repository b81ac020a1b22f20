"""What a StructVAE refuses, each with one clear error, and what a saved one comes back as."""

import copy
import pickle

import pytest
import torch

from hf_lvm import StructVAEConfig, StructVAEModel
from hf_lvm.grammars.abstract_syntax import Node
from tests.models.struct_vae.tiny_meanings import LIMIT, batch, tiny_struct_vae, vocabulary
from tests.tiny_parts import row_generators, tiny_config


@pytest.fixture(scope="module")
def model():
    return tiny_struct_vae(copy_slots=3, frontier_embedding=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "vimco"}, "does not take the estimator 'vimco'"),
        ({"estimator": "gumbel_softmax"}, "is not for structured latents"),
        ({"prior_type": "learned"}, "Unknown prior_type 'learned'"),
        ({"prior_type": "uniform"}, "has no model and nothing to learn"),
        ({"unlabelled_candidates": "best"}, "Unknown unlabelled_candidates 'best'"),
        ({"unlabelled_candidates": "beam"}, "an estimator that judges a tree by itself"),
        ({"language_model": "gpt2"}, "is the baseline of the estimator 'reinforce_learned'"),
        ({"max_actions": 1, "max_spelled_actions": 1}, "the smallest tree of the grammar takes 2 steps"),
        ({"max_spelled_actions": LIMIT - 1}, "p\\(z\\) has to admit every tree of q"),
        ({"max_spelled_actions": 99}, "have positions for 31 steps"),
        ({"max_actions": 33, "max_spelled_actions": None}, "Spelled trees have 31 steps at most"),
        ({"objective": "iwae", "estimator": "vimco", "signal_clip": -1.0}, "clips the signal of the objective 'elbo'"),
        ({"prior_weight": -1.0}, "prior_weight must be 0 or more"),
        ({"parser": "llama"}, "would ignore them"),
        ({"parser_initial_state": True}, "needs a recurrent decoder"),
        ({"actions": None}, "A StructVAE needs a grammar"),
    ],
)
def test_combinations_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        tiny_struct_vae(**options)


def test_parts_over_other_actions():
    size = vocabulary().first_copy
    with pytest.raises(ValueError, match=f"The parser has a vocabulary of 9, and the grammar {size} actions"):
        StructVAEModel(
            StructVAEConfig(
                encoder=tiny_config("bert"),
                decoder=tiny_config("gpt2"),
                parser=tiny_config("gpt2", vocab_size=9),
                reader={"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1},
                prior={"model_type": "gpt2", "n_embd": 16, "n_head": 2, "n_layer": 1},
                actions=vocabulary().to_dict(),
            )
        )


def test_sentences_and_meanings_that_do_not_fit(model):
    given = batch(model)
    ids = model.grammar.ids_of_trees([Node("All", ("city",))] * 3)
    for changed, message in (
        ({"words": None}, "pass words"),
        ({"words": [["ab"], ["city"], ["x"]]}, "The rows have \\[1, 1, 1\\] words"),
        ({"labels": None}, "Pass labels"),
        ({"labels": given["labels"][:, :2]}, "do not end with the token 2"),
        ({"input_ids": None}, "Pass input_ids"),
        ({"attention_mask": given["attention_mask"] * torch.tensor([[1], [0], [1]])}, "Row\\(s\\) \\[1\\] have no word"),
        ({"meaning_ids": ids[:, :2]}, "meaning_ids of row 0 have no END"),
        ({"meaning_ids": ids.flip(1)}, "before the tree is whole|where query is expected"),
        ({"free_bits_mode": "total"}, "no part that free bits could hold up|has no KL term"),
    ):
        with pytest.raises(ValueError, match=message):
            model(**given | changed)
    deep = Node("Both", (Node("All", ("city",)), Node("Both", (Node("All", ("city",)), Node("All", ("city",))))))
    with pytest.raises(ValueError, match="meaning_ids of row 0 takes 8 steps, and the limit is 5"):
        model(**given | {"meaning_ids": model.grammar.ids_of_trees([deep] * 3)})
    deeper = Node("Both", (deep, deep))
    with pytest.raises(ValueError, match="meaning 1 takes 17 steps without copies, and the limit is 10"):
        model.grammar.ids_of_trees([Node("All", ("city",)), deeper])
    with pytest.raises(ValueError, match="meaning 0"):
        model.grammar.ids_of_trees([Node("All", ("lake",))])
    with pytest.raises(ValueError, match="Action 5 cannot be the token 99"):
        model.copy_actions({5: 99})
    long = torch.full((1, 40), 5)
    long[0, -1] = 2
    with pytest.raises(ValueError, match="A sentence has 40 tokens with its end"):
        model(labels=long, latents=torch.tensor([[5, 8, 2]]), words=[["ab"]])


@torch.no_grad()
def test_a_saved_model_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = StructVAEModel.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert (loaded.token_of_action >= 0).sum() == 3
    given = batch(model)
    outputs = [each(**given, generator=row_generators(3)) for each in (model, loaded, copy.deepcopy(model))]
    for output in outputs[1:]:
        torch.testing.assert_close(output.row_loss, outputs[0].row_loss)
    again = pickle.loads(pickle.dumps(model.grammar))
    assert len(again.vocabulary) == len(model.grammar.vocabulary) and again.max_spelled == model.grammar.max_spelled
    assert not any(parameter.requires_grad for parameter in loaded.prior.parameters())


def test_parts_that_are_there_already(tmp_path):
    from hf_lvm.backbones.decoders import build_decoder
    from hf_lvm.backbones.encoders import build_encoder

    size = vocabulary().first_copy
    encoder, decoder = build_encoder(tiny_config("bert")), build_decoder(tiny_config("gpt2", add_cross_attention=True))
    prior = build_decoder(tiny_config("gpt2", vocab_size=size))
    text_model = build_decoder(tiny_config("gpt2"))
    text_model.save_pretrained(tmp_path)
    model = StructVAEModel.from_encoder_decoder_pretrained(
        encoder,
        decoder,
        parser=str(tmp_path),
        reader=tiny_config("bert", vocab_size=size),
        prior=prior,
        language_model=text_model,
        actions=vocabulary().to_dict(),
        estimator="reinforce_learned",
        max_actions=LIMIT,
    )
    assert model.prior is prior and model.encoder is encoder and model.decoder is decoder
    assert model.language_model is text_model and not text_model.lm_head.weight.requires_grad
    # The layers of a pretrained parser, with embeddings of actions.
    assert model.parser.config.vocab_size == size
    taken, own = text_model.state_dict(), model.parser.state_dict()
    assert torch.equal(own["transformer.h.0.mlp.c_fc.weight"], taken["transformer.h.0.mlp.c_fc.weight"])
    assert model(**batch(model)).loss.isfinite()
