"""The compressor without its adapter as the prior: the model that q(c|x) was made of, neither trained nor saved twice."""

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from hf_lvm import LatentSummarizerModel
from hf_lvm.backbones.decoders import as_decoder_config
from tests.models.latent_summarizer.test_pointers import every_compression
from tests.models.latent_summarizer.test_relaxed_bound import divergence_by_hand
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import END, START, batch_of, perturb, row_generators, tiny_config

peft = pytest.importorskip("peft")
TARGETS = {"gpt2": ["c_attn"], "bart": ["q_proj", "v_proj"], "t5": ["q", "v"]}
VOCABULARY = 5


def base_model(family: str):
    torch.manual_seed(1)
    config = as_decoder_config(tiny_config(family, vocab_size=VOCABULARY), cross_attention=True)
    return perturb(AutoModelForCausalLM.from_config(config), 0.2).eval()


def summarizer(family: str = "gpt2", lora: dict | None = None, **options) -> LatentSummarizerModel:
    """With a compressor that peft has given an adapter, which changes what it writes."""
    parts = tiny_summarizer(decoder="hf_lvm_lstm_decoder", estimator="rloo", vocab_size=VOCABULARY)
    adapter = peft.LoraConfig(r=2, target_modules=TARGETS[family], fan_in_fan_out=family == "gpt2", **lora or {})
    keys = {
        "posterior_type": "vocab",
        "max_summary_words": 3,
        "prior_type": "compressor",
        "estimator": "rloo",
        "num_samples": 4,
    }
    model = LatentSummarizerModel.from_encoder_decoder_pretrained(
        parts.encoder, parts.decoder, compressor=peft.get_peft_model(base_model(family), adapter), **keys | options
    )
    with torch.no_grad():
        for name, parameter in model.posterior_head.decoder.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(2))
    return model.double().eval()


def scored_by_base(base, values: torch.Tensor) -> torch.Tensor:
    """log p of sequences (R, B, T) given that they have a word, by the bare model: (R, B)."""
    log_probs = torch.zeros(values.shape[:2], dtype=torch.float64)
    for place, row in enumerate(values.flatten(0, 1).tolist()):
        row = row[: row.index(END) + 1]
        steps = base(input_ids=torch.tensor([[START, *row[:-1]]])).logits[0].log_softmax(-1)
        first = torch.log1p(-steps[0, END].exp())
        log_probs.view(-1)[place] = steps[torch.arange(len(row)), torch.tensor(row)].sum() - first
    return log_probs


@torch.no_grad()
@pytest.mark.parametrize("family", TARGETS)
def test_the_prior_is_the_model_without_adapter_and_source(family):
    model, base = summarizer(family), base_model(family).double()
    batch = batch_of([[3, 4, 3, END], [4, 4, END]])
    source, (values, _) = model.source_of(batch["labels"], None), every_compression(model, batch)
    values = values[1:]
    log_p = model.log_prior(source, values)
    torch.testing.assert_close(log_p, scored_by_base(base, values), atol=1e-9, rtol=0)
    log_q = model.encode(**batch).log_prob(values)
    divergence = (log_q.exp() * (log_q - log_p)).sum(0)
    assert (divergence > 0.01).all()
    many = model(**{name: value.repeat(500, 1) for name, value in batch.items()}).kl.view(500, 2)
    assert ((many.mean(0) - divergence).abs() < 4 * many.std(0) / 500**0.5).all()


@pytest.mark.parametrize("family", TARGETS)
@pytest.mark.parametrize("estimator", ["rloo", "straight_through"])
def test_training_leaves_it_as_it_was(family, estimator, tmp_path):
    lora = {"lora_dropout": 0.2}
    model, base = summarizer(family, lora, estimator=estimator), base_model(family).double()
    batch = batch_of([[3, 4, 3, END], [4, 4, END]])
    source, (values, _) = model.source_of(batch["labels"], None), every_compression(model, batch)
    values, before = values[1:], {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
    model.train()
    for step in range(2):
        optimizer.zero_grad()
        model(**batch, generator=row_generators(2, seed=step)).loss.backward()
        optimizer.step()
        assert model.posterior_head.decoder.training
        # The prior has no dropout, though q has.
        with torch.no_grad():
            torch.testing.assert_close(model.log_prior(source, values), scored_by_base(base, values), atol=1e-9, rtol=0)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    inside = {name for name in moved if name.startswith("posterior_head.decoder.")}
    assert any("lora_" in name for name in inside) and any(name.startswith("encoder.") for name in moved)
    others = {name for name in inside if "lora_" not in name}
    assert others and all("cross" in name or "encoder_attn" in name or ".layer.1." in name for name in others)
    # Saved once, and as much of it learns afterwards.
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).double().eval()
    assert loaded.prior is None and not any(name.startswith("prior.") for name in loaded.state_dict())
    learns = [{name for name, each in m.named_parameters() if each.requires_grad} for m in (model, loaded)]
    assert learns[0] == learns[1]
    with torch.no_grad():
        torch.testing.assert_close(loaded.log_prior(source, values), model.log_prior(source, values), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(
            loaded.encode(**batch).log_prob(values), model.encode(**batch).log_prob(values), atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
def test_points_are_read_without_the_adapter():
    model, batch = summarizer(estimator="straight_through"), batch_of([[3, 4, 3, END], [4, 4, END]])
    output, source = model(**batch, generator=row_generators(2)), model.source_of(batch["labels"], None)
    posterior = model.encode(**batch)
    # The steps of p by hand, from the bare model in the place of a prior.
    model.prior = base_model("gpt2").double()
    wanted = divergence_by_hand(model, source, posterior, output.latents).mean(0)
    torch.testing.assert_close(output.kl, wanted, atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lora": {"bias": "all"}}, "bias of this adapter changes the weights beside it"),
        ({"lora": {"init_lora_weights": "pissa"}}, "init_lora_weights of this adapter changes"),
        ({"posterior_type": "pointer"}, "'compressor' is for the posterior_type 'vocab'"),
        ({"prior": base_model("gpt2")}, "leave prior out"),
        ({"prior_bridge": "same"}, "knows its tokens by their ids: leave prior_bridge out"),
    ],
)
def test_what_would_not_be_the_model_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        summarizer(**options)


def test_a_compressor_needs_an_adapter_and_attention_to_the_source():
    parts = tiny_summarizer(decoder="hf_lvm_lstm_decoder", estimator="rloo", vocab_size=VOCABULARY)
    keys = {"posterior_type": "vocab", "max_summary_words": 3, "estimator": "rloo"}
    build = LatentSummarizerModel.from_encoder_decoder_pretrained
    with pytest.raises(ValueError, match="is the compressor without its adapter, and it has none"):
        build(parts.encoder, parts.decoder, compressor=base_model("gpt2"), prior_type="compressor", **keys)
    blind = AutoModelForCausalLM.from_config(tiny_config("gpt2", vocab_size=VOCABULARY))
    with pytest.raises(ValueError, match="does not attend to the states of x: load it with add_cross_attention=True"):
        build(parts.encoder, parts.decoder, compressor=blind, **keys)
