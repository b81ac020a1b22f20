"""One network of pointers in all its duties: it points alone, it is a part of a mixture, it reads what it wrote."""

import pytest
import torch

from hf_lvm import LatentTrainer, LatentTrainingArguments
from tests import two_processes as double
from tests.models.latent_summarizer.test_pointers import SENTENCES, every_compression, summarizer
from tests.models.latent_summarizer.test_relaxed_bound import divergence_by_hand
from tests.tiny_parts import END, START, VOCABULARY, batch_of, row_generators
from tests.training_runs import BATCH, assert_same_run, collate, corpus, latent_run

BOTH = {"unlabelled_posterior": "pointer"}
READING = {"decoder": "gpt2", "prior": "gpt2", "injection": "cross_attention", "reader": "compressor"}


def exact_terms(model, batch: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log q, log p(c) and log p(x|c) of all compressions that q of the bound allows in some row, (R, B); -inf in log q."""
    source = model.source_of(batch["labels"], None)
    values, _ = every_compression(model, batch)
    log_q = model.encode(**batch).log_prob(values)
    some = (log_q > -torch.inf).any(1)
    return log_q[some], model.log_prior(source, values[some]), model.log_likelihood(source, values[some])


def mean_under(log_q: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.where(log_q > -torch.inf, log_q.exp() * values, 0.0).sum(0)


# ---- alone, and in a mixture -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_pointers_of_a_mixture_are_those_of_the_same_weights_alone():
    mixture, alone, batch = summarizer("pointer_vocab", 6, **BOTH), summarizer("pointer", 6), batch_of(SENTENCES)
    alone.load_state_dict(mixture.state_dict(), strict=False)
    assert set(alone.state_dict()) <= set(mixture.state_dict())
    source = mixture.source_of(batch["labels"], None)
    places, _ = every_compression(alone, batch)
    wanted = alone.encode(**batch).log_prob(places)
    tokens = alone.posterior_head.tokens_of(places, source).masked_fill(places == source.num_words, END)
    found = mixture.encode(**batch).log_prob(tokens)
    possible = wanted > -torch.inf
    torch.testing.assert_close(found[possible], wanted[possible])
    torch.testing.assert_close(mixture.encode(**batch, extractive=True).log_prob(tokens), found)
    assert possible.sum() == 2 + 4 + 8 + 2, "of 3 4 3 all over 3 4 up to three; of 4 4 one or two times 4"
    elsewhere = mixture.encode(**batch, extractive=False).log_prob(tokens)
    assert (elsewhere - found)[possible].abs().min() > 1e-3, "and the mixture is another distribution"


@torch.no_grad()
def test_pointers_alone_are_one_density_and_leave_no_other_words():
    model, batch = summarizer("pointer_vocab", 6, **BOTH), batch_of(SENTENCES)
    posterior = model.encode(**batch)
    values, _ = every_compression(model, batch)
    log_q = posterior.log_prob(values)
    torch.testing.assert_close(log_q.logsumexp(0), torch.zeros(2, dtype=torch.float64), atol=1e-10, rtol=0)
    drawn = posterior.draw((4000,), torch.Generator().manual_seed(1))
    torch.testing.assert_close(posterior.log_prob(drawn.sequences), drawn.log_prob)
    equal = (drawn.sequences.unsqueeze(1) == values.unsqueeze(0)).all(-1).double().mean(0)
    error = (log_q.exp() * (1 - log_q.exp()) / 4000).sqrt()
    assert ((equal - log_q.exp()).abs() < 4.5 * error + 1e-9).all()
    torch.testing.assert_close(posterior.beam(3, 60).log_prob, log_q.topk(3, 0).values)
    other = torch.tensor([[5, END], [3, END]])  # no word of the first sentence, nor of the second
    assert (posterior.log_prob(other) == -torch.inf).all()
    assert model.encode(**batch, extractive=False).log_prob(other).isfinite().all()


@torch.no_grad()
def test_the_bound_is_of_the_pointers_and_what_is_known_of_the_mixture():
    model = summarizer("pointer_vocab", 6, **BOTH, joint_weight=0.3, classification_weight=0.7)
    batch = batch_of(SENTENCES)
    log_q, log_p, log_x = exact_terms(model, batch)
    kl, reconstruction = mean_under(log_q, log_q - log_p), mean_under(log_q, -log_x)
    assert (kl > 0).all(), "although words stand twice"
    torch.manual_seed(2)
    many = model(**{name: value.repeat(3000, 1) for name, value in batch.items()})
    for found, wanted in ((many.kl, kl), (many.reconstruction, reconstruction)):
        found = found.view(3000, 2)
        assert ((found.mean(0) - wanted).abs() < 4 * found.std(0) / 3000**0.5).all()
    # The first sentence is told, by a word that it does not have.
    told = model(**batch, summary_ids=torch.tensor([[5, 4, END], [-100] * 3]), generator=row_generators(2))
    value, source = torch.tensor([[5, 4, END]] * 2), model.source_of(batch["labels"], None)
    log_mixture = model.encode(**batch, extractive=False).log_prob(value)[0]
    log_joint = (model.log_likelihood(source, value[None]) + model.log_prior(source, value[None]))[0, 0]
    torch.testing.assert_close(told.row_loss[0], -0.3 * log_joint - 0.7 * log_mixture)
    alone = model(**batch, generator=row_generators(2))
    torch.testing.assert_close(told.row_loss[1], alone.row_loss[1])
    estimate = model.estimate_log_likelihood(**batch, num_samples=2000, generator=torch.Generator().manual_seed(3))
    possible = log_q > -torch.inf
    exact = (log_p + log_x).masked_fill(~possible, -torch.inf).logsumexp(0)
    assert ((estimate.log_likelihood - exact).abs() < 4 * estimate.standard_error).all()


def test_what_a_batch_has_none_of_learns_nothing_from_it():
    model, batch = summarizer("pointer_vocab", 6, **BOTH).train(), batch_of(SENTENCES)
    network = model.posterior_head.network
    model(**batch, generator=row_generators(2)).loss.backward()
    assert network.query.weight.grad.any() and network.words.output.weight.grad is None
    model(**batch, summary_ids=torch.tensor([[3, END], [-100] * 2]), generator=row_generators(2)).loss.backward()
    assert network.words.output.weight.grad.any() and network.copies.weight.grad.any()


def semi_supervised():
    """Of which a process that is told no compression leaves the vocabulary without a gradient, and one told all, p(x, c)."""
    return summarizer("pointer_vocab", VOCABULARY, **BOTH, joint_weight=0.0).float()


double.register("semi-supervised pointers", semi_supervised)


def test_two_processes_train_like_one(two_processes, tmp_path):
    whole = latent_run(semi_supervised(), tmp_path, per_device=BATCH, accumulation=1)
    assert_same_run(whole, two_processes["semi-supervised pointers"])


def test_a_batch_that_counts_for_nothing_has_a_gradient_of_zero():
    model = summarizer("pointer_vocab", 6, unlabelled_weight=0.0).train()
    output = model(**batch_of(SENTENCES), summary_ids=torch.full((2, 3), -100))
    output.loss.backward()
    assert output.loss == 0 and all(not each.grad.any() for each in model.parameters() if each.grad is not None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"posterior_type": "pointer", **BOTH}, "unlabelled_posterior 'pointer' takes the pointers out"),
        ({"posterior_type": "pointer_vocab", "unlabelled_posterior": "asc"}, "Unknown unlabelled_posterior 'asc'"),
        ({"posterior_type": "vocab", **READING}, "The reader 'compressor' of the posterior_type 'vocab'"),
        ({"posterior_type": "pointer", "reader": "compressor"}, "A reader of c is for a decoder that attends to it"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    options = dict(options)
    with pytest.raises(ValueError, match=said):
        summarizer(options.pop("posterior_type"), **options)


@torch.no_grad()
def test_a_language_model_cannot_be_extractive():
    with pytest.raises(ValueError, match="has no pointers to write by"):
        summarizer("vocab").encode(**batch_of(SENTENCES), extractive=True)


# ---- reading ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_compressor_reads_without_its_source():
    model = summarizer("pointer", 6, **READING)
    network, words = model.posterior_head.network, torch.tensor([3, 4, END])
    state, states = None, []
    for embedded in (network.start, *network.embeddings(words)):
        output, state = network.lstm(embedded.view(1, 1, -1), state)
        states.append(output[0, 0])
    torch.testing.assert_close(network(words[None])[0], torch.stack(states[1:]))
    source = model.source_of(batch_of([[3, 5, 4, END]])["labels"], None)
    found = model.log_likelihood(source, torch.tensor([[[0, 2, 3]]]))[0, 0]
    text = torch.tensor([[START, 3, 5, 4]])
    logits = model.decoder(text, encoder_hidden_states=torch.stack(states[1:])[None]).logits[0].log_softmax(-1)
    torch.testing.assert_close(found, logits[torch.arange(4), torch.tensor([3, 5, 4, END])].sum())
    for parameter in (*model.encoder.parameters(), *network.begin.parameters(), *network.key.parameters()):
        parameter.normal_()
    assert model.log_likelihood(source, torch.tensor([[[0, 2, 3]]]))[0, 0] == found


@pytest.mark.parametrize("options", [{"posterior_type": "pointer"}, {"posterior_type": "pointer_vocab", **BOTH}])
def test_shared_weights_have_the_gradient_of_the_whole_bound(options):
    model = summarizer(vocab_size=6, num_samples=2, **READING, **options)
    batch, network = batch_of(SENTENCES[:1]), model.posterior_head.network
    parameters = [network.lstm.weight_hh_l0, network.embeddings.weight, network.query.weight]
    log_q, log_p, log_x = exact_terms(model, batch)
    exact = torch.autograd.grad(mean_under(log_q, log_q - log_p - log_x).sum(), parameters)
    many = {name: value.expand(300, -1) for name, value in batch.items()}
    torch.manual_seed(4)
    found = [torch.autograd.grad(model(**many).loss, parameters) for _ in range(12)]
    for place, wanted in enumerate(exact):
        own = torch.stack([gradients[place].flatten() for gradients in found])
        error = own.std(0) / 12**0.5
        deviation = (own.mean(0) - wanted.flatten()) / error.clamp(min=1e-9)
        assert deviation.square().mean() < 3
        assert error.norm() < 0.2 * wanted.norm(), "else the comparison says nothing"


def test_shared_weights_count_once(tmp_path):
    model = summarizer("pointer", 6, **READING)
    parts = [dict(each) for each in (model.inference_parameters(), model.generative_parameters())]
    assert not parts[0].keys() & parts[1].keys()
    assert parts[0].keys() | parts[1].keys() == dict(model.named_parameters()).keys()
    assert any(name.startswith("posterior_head.network.lstm") for name in parts[0])
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).double().eval()
    assert again.config.reader == "compressor"
    torch.testing.assert_close(
        *(each(**batch_of(SENTENCES), generator=row_generators(2)).row_loss.detach() for each in (model, again))
    )


@torch.no_grad()
def test_straight_through_compressions_are_read_by_the_compressor():
    options = {"estimator": "straight_through", "num_samples": 4}
    for posterior in ({"posterior_type": "pointer"}, {"posterior_type": "pointer_vocab", **BOTH}):
        model = summarizer(vocab_size=6, **options, **READING, **posterior).train()
        batch = batch_of(SENTENCES)
        output, source = model(**batch, generator=row_generators(2)), model.source_of(batch["labels"], None)
        wanted = -model.log_likelihood(source, output.latents).mean(0)
        torch.testing.assert_close(output.reconstruction, wanted, atol=1e-8, rtol=0)
        kl = divergence_by_hand(model, source, model.encode(**batch), output.latents).mean(0)
        torch.testing.assert_close(output.kl, kl, atol=1e-8, rtol=0)


# ---- word dropout ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_what_is_read_where_no_word_is_dropped():
    model, batch = summarizer("pointer", 6), batch_of(SENTENCES)
    read = model.shift_right(batch["labels"])
    assert read[:, 0].tolist() == [START, START] and read[0].tolist() == [START, *SENTENCES[0][:-1]]
    with_it, without = (
        model(**batch, generator=row_generators(2), **more).row_loss for more in ({"decoder_input_ids": read}, {})
    )
    torch.testing.assert_close(with_it, without)


def test_the_trainer_drops_words(tmp_path):
    losses = []
    for rate in (0.0, 0.9):
        arguments = LatentTrainingArguments(
            output_dir=str(tmp_path), max_steps=1, logging_steps=1, word_dropout=rate, report_to="none", use_cpu=True,
            disable_tqdm=True, save_strategy="no", eval_strategy="no",
        )  # fmt: skip
        model = summarizer("pointer", VOCABULARY).float()
        data = {"train_dataset": corpus(8), "data_collator": collate}
        trainer = LatentTrainer(model=model, args=arguments, **data, word_dropout_token_id=4)
        trainer.train()
        losses.append(trainer.state.log_history[0]["reconstruction"])
    assert abs(losses[0] - losses[1]) > 1e-3


def test_a_segment_decoder_reads_no_words():
    from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer

    batch = batch_of(SENTENCES)
    with pytest.raises(ValueError, match="a segment decoder fills the gaps"):
        tiny_summarizer()(**batch, decoder_input_ids=batch["labels"].clamp(min=0))
