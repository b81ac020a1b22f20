"""Compressions inside simplices: the loss is a mean over ends, the gradient that of the value, the limit the discrete one."""

import pytest
import torch

from hf_lvm.generation.relaxed_sequences import relaxed_sequences
from tests.models.latent_summarizer.test_lengths import TABLE
from tests.models.latent_summarizer.test_pointers import SENTENCES, summarizer
from tests.models.latent_summarizer.test_relaxed_bound import POSTERIORS, READERS
from tests.tiny_parts import END, START, batch_of, row_generators

SOFT = {"estimator": "gumbel_softmax"}
READS = {"decoder": "gpt2", "injection": "cross_attention", "reader": "compressor"}


@torch.no_grad()
@pytest.mark.parametrize("posterior_type", POSTERIORS)
def test_the_loss_is_a_mean_over_ends(posterior_type):
    """Each end by itself: its points, an end, the start token and the sentence, through the decoder."""
    model = summarizer(posterior_type, **SOFT, num_samples=1).train()
    batch = batch_of(SENTENCES[:1])
    output = model(**batch, generator=row_generators(1), temperature=0.7)
    source, posterior = model.source_of(batch["labels"], None), model.encode(**batch)
    relaxed = relaxed_sequences(posterior, 0.7, (1,), row_generators(1))
    table = model.decoder.get_input_embeddings().weight
    ids = model.posterior_head.token_ids(source)
    rows = relaxed.points[0, 0] @ (table[: relaxed.points.shape[-1]] if ids is None else table[ids[0]])
    text, total = torch.tensor(SENTENCES[0]), 0.0
    for place, weight in enumerate(relaxed.end_weights[0, 0]):
        read = torch.cat([rows[:place], table[[END, START]], table[text[:-1]]])
        logits = model.decoder(inputs_embeds=read[None]).logits[0, -len(text) :].log_softmax(-1)
        total -= weight * logits[torch.arange(len(text)), text].sum()
    assert relaxed.end_weights[0, 0].max() < 0.99
    torch.testing.assert_close(output.reconstruction[0], total)
    torch.testing.assert_close(output.row_loss, output.reconstruction + output.kl)


@torch.no_grad()
@pytest.mark.parametrize("parts", [*READERS, READS], ids=lambda parts: "-".join(parts.values()) or "default")
def test_towards_temperature_zero_it_is_the_discrete_objective(parts):
    parts = {"decoder": "hf_lvm_lstm_decoder"} | parts
    for posterior_type in ("pointer", "pointer_vocab"):
        soft, hard = (
            summarizer(posterior_type, **TABLE if "prior" not in parts else {}, **parts, estimator=estimator).train()
            for estimator in ("gumbel_softmax", "straight_through")
        )
        batch = batch_of(SENTENCES)
        found, wanted = (
            model(**batch, generator=row_generators(2), temperature=1e-4, kl_weight=0.7) for model in (soft, hard)
        )
        assert found.latents.equal(wanted.latents)
        for field in ("reconstruction", "kl", "row_loss"):
            torch.testing.assert_close(found[field], wanted[field], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, TABLE, READS])
def test_the_gradient_is_that_of_the_value(options):
    model = summarizer("pointer", **SOFT, **options, num_samples=2).train()
    batch, parameter = batch_of(SENTENCES), model.posterior_head.network.query.weight

    def loss() -> torch.Tensor:
        return model(**batch, generator=row_generators(2), temperature=0.8).loss

    (gradient,) = torch.autograd.grad(loss(), parameter)
    direction, step = torch.randn_like(parameter), 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            parameter.add_(sign * step * direction)
            values.append(loss())
            parameter.sub_(sign * step * direction)
    slope = (values[0] - values[1]) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-7)


@torch.no_grad()
def test_outside_training_it_is_of_samples():
    model, batch = summarizer("pointer", **SOFT), batch_of(SENTENCES)
    output, source = model(**batch, generator=row_generators(2)), model.source_of(batch["labels"], None)
    assert output.latents.dtype == torch.long
    wanted = -model.log_likelihood(source, output.latents).mean(0)
    torch.testing.assert_close(output.reconstruction, wanted)
    kl = model.encode(**batch).log_prob(output.latents) - model.log_prior(source, output.latents)
    torch.testing.assert_close(output.kl, kl.mean(0))


def test_a_given_number_of_words_has_one_end():
    model = summarizer("pointer", **SOFT, target_ratio=0.7, learned_temperature=True).train()
    asked, own = [], model.decoder.register_forward_hook(lambda *_: asked.append(1))
    model(**batch_of([[3, 4, 3, END]])).loss.backward()
    own.remove()
    assert len(asked) == 2, "the prompt and the sentence, once"
    assert model.estimator.inverse_temperature.weight.grad.any()


def test_a_few_steps_lower_the_loss():
    model = summarizer("pointer", vocab_size=9, num_samples=4, **SOFT).float().train()
    batch = batch_of([[3, 4, 3, 5, END], [6, 7, END], [8, 3, END]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for step in range(12):
        optimizer.zero_grad()
        loss = model(**batch, generator=row_generators(3, seed=3 * step), temperature=0.7).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])
