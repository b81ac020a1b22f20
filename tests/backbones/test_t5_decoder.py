import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, T5ForConditionalGeneration

from hf_lvm import T5DecoderConfig, T5DecoderForCausalLM
from hf_lvm.backbones.decoders import decoder_part, load_decoder
from tests.tiny_parts import perturb, tiny_config

TOKENS = torch.tensor([[0, 5, 6, 7], [0, 8, 9, 10]])


def whole(**options) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    return perturb(T5ForConditionalGeneration(tiny_config("t5", num_layers=2, num_decoder_layers=3, **options)).eval(), 0.1)


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{}, {"tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}], ids=["v1.0", "v1.1"]
)
def test_it_is_the_decoder_of_a_whole_t5(options):
    t5 = whole(**options)
    states, mask = (
        t5.get_encoder()(torch.tensor([[5, 6, 7], [8, 9, 0]])).last_hidden_state,
        torch.tensor([[1, 1, 1], [1, 1, 0]]),
    )
    decoder = T5DecoderForCausalLM.from_t5(t5)
    assert decoder.config.num_layers == decoder.config.num_hidden_layers == 3
    expected = t5(encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=TOKENS).logits
    logits = decoder(TOKENS, encoder_hidden_states=states, encoder_attention_mask=mask).logits
    torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(decoder(TOKENS).logits, expected)
    tied = decoder.lm_head.weight is decoder.get_input_embeddings().weight
    assert tied == t5.config.tie_word_embeddings


@torch.no_grad()
def test_it_generates_with_and_without_cache_and_as_it_scores():
    decoder = T5DecoderForCausalLM.from_t5(whole())
    start, mask = torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)
    options = {"attention_mask": mask, "max_new_tokens": 5, "eos_token_id": None, "do_sample": False}
    written = decoder.generate(start, output_logits=True, return_dict_in_generate=True, **options)
    torch.testing.assert_close(torch.stack(written.logits, 1), decoder(written.sequences[:, :-1]).logits, rtol=1e-5, atol=1e-5)
    assert torch.equal(decoder.generate(start, use_cache=False, **options), written.sequences)


def test_its_loss_is_that_of_the_shifted_tokens():
    decoder = T5DecoderForCausalLM.from_t5(whole())
    logits = decoder(TOKENS).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())
    torch.testing.assert_close(decoder(TOKENS, labels=TOKENS).loss, expected)


def test_round_trip_through_the_auto_classes(tmp_path):
    decoder = T5DecoderForCausalLM.from_t5(whole())
    decoder.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is T5DecoderConfig
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is T5DecoderForCausalLM
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in decoder.state_dict().items())


def test_a_whole_t5_is_taken_apart_from_a_folder_or_an_object(tmp_path):
    t5 = whole()
    t5.save_pretrained(tmp_path)
    for decoder in (load_decoder(str(tmp_path)), decoder_part(t5)):
        assert type(decoder) is T5DecoderForCausalLM
        weight = t5.decoder.block[2].layer[0].SelfAttention.q.weight
        assert torch.equal(decoder.decoder.block[2].layer[0].SelfAttention.q.weight, weight)
