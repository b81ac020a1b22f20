"""q and p as two sets of parameters, and a decoder that begins anew beside a trained encoder (Li et al. 2019)."""

import pytest
import torch

from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_vae


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("prior", ["standard_normal", "vamp"])
def test_every_parameter_is_of_q_or_of_p(prior):
    model = tiny_vae(pooling="attention", prior_type=prior)
    inference, generative = dict(model.inference_parameters()), dict(model.generative_parameters())
    injections = dict(model.injection_parameters())
    assert injections and injections.keys() == {name for name in generative if not name.startswith("decoder")}
    assert not inference.keys() & generative.keys()
    assert inference | generative == dict(model.named_parameters())
    assert any("pooling" in name for name in inference) and any("conditioning" in name for name in generative)
    assert ("prior.pseudo_inputs" in generative) == (prior == "vamp")


def test_shared_embeddings_are_of_q():
    model = tiny_vae(tie_encoder_decoder_embeddings=True)
    shared = {id(parameter) for _, parameter in model.inference_parameters()}
    assert id(model.decoder.get_input_embeddings().weight) in shared
    assert not shared & {id(parameter) for _, parameter in model.generative_parameters()}


def test_a_new_decoder_beside_the_old_encoder():
    fresh = tiny_vae(injection=["prefix", "embedding"], token_embedding_stddev=0.7, decoder_tie_word_embeddings=False)
    model = perturb(
        tiny_vae(injection=["prefix", "embedding"], token_embedding_stddev=0.7, decoder_tie_word_embeddings=False), 0.3
    )
    before, parameters = state_of(model), {name: id(parameter) for name, parameter in model.named_parameters()}
    model.reset_decoder(seed=5)
    after = state_of(model)
    kept = {name for name in before if torch.equal(before[name], after[name])}
    generative = {name for name, _ in model.generative_parameters()}
    assert {name for name, _ in model.inference_parameters()} <= kept
    assert not kept & {name for name in generative if "bias" not in name}
    # The tensors are the same objects, so that an optimizer goes on with them.
    assert parameters == {name: id(parameter) for name, parameter in model.named_parameters()}
    # As loud as a decoder that was never trained, not a copy of it.
    table = model.decoder.get_input_embeddings().weight
    assert table.std().item() == pytest.approx(0.7, rel=0.1)
    assert not torch.equal(table, fresh.decoder.get_input_embeddings().weight)
    output = model(**batch_of(random_rows(3)), generator=row_generators(3))
    assert output.loss.isfinite()


def test_the_new_weights_depend_on_the_seed_alone():
    states = []
    for seed in (1, 1, 2):
        model = tiny_vae()
        torch.manual_seed(len(states))
        model.reset_decoder(seed=seed)
        states.append(state_of(model))
    same = [torch.equal(states[0][name], states[1][name]) for name in states[0]]
    assert all(same)
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_a_decoder_that_shares_with_the_encoder_stays():
    with pytest.raises(ValueError, match="shares its token embeddings"):
        tiny_vae(tie_encoder_decoder_embeddings=True).reset_decoder()
