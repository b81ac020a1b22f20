"""A prior with a tokenizer of its own: mapped ids against the model without, the bridge of texts against enumeration."""

import itertools
import json

import pytest
import torch
from datasets import DatasetDict
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor, PreTrainedTokenizerFast

from hf_lvm import LatentSummarizerConfig, LatentSummarizerModel
from hf_lvm.analysis.summary_report import report_summaries
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.data import LatentTextProcessor, encode_compressions, synthetic_grammar, train_word_tokenizer
from hf_lvm.generation.token_bridge import PriorBridge
from tests.generation.test_token_bridge import END_OF_TEXT, FEWER, bart_like, gpt2_like, read_by_prior
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import END, PAD, START, batch_of, perturb, row_generators, tiny_config

WORDS = "a b c d"
ROLES = ("bos_token", "eos_token", "pad_token", "unk_token", "mask_token")


def renumbered(tokenizer: PreTrainedTokenizerFast, order=reversed) -> PreTrainedTokenizerFast:
    """The same words and special tokens by other ids: `order` of a list of all ids says which."""
    state, ids = json.loads(tokenizer.backend_tokenizer.to_str()), list(order(range(len(tokenizer))))
    state["model"]["vocab"] = {token: ids[index] for token, index in state["model"]["vocab"].items()}
    for token in state["added_tokens"]:
        token["id"] = ids[token["id"]]
    state["post_processor"] = None
    roles = {role: getattr(tokenizer, role) for role in ROLES}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **roles)


@pytest.fixture(scope="module")
def processor():
    """Words, and a prior that numbers them the other way round."""
    words = train_word_tokenizer([WORDS])
    return LatentTextProcessor(words, words, renumbered(words))


@torch.no_grad()
def in_other_order(prior, ids: list[int]):
    """A copy of a tiny prior that knows its tokens by other ids."""
    config = type(prior.config)(**prior.config.to_dict())
    config.pad_token_id, config.bos_token_id, config.eos_token_id = ids[PAD], ids[START], ids[END]
    other = AutoModelForCausalLM.from_config(config).to(prior.dtype).eval()
    own = prior.state_dict()
    for name, value in other.state_dict().items():
        of_tokens = value.shape[:1] == (len(ids),)
        value[ids if of_tokens else ...] = own[name]
    return other


def mapped_pair(processor, prior: str, **options) -> tuple[LatentSummarizerModel, LatentSummarizerModel]:
    """A model whose prior knows the decoder's tokens, and the same with the tokens of the prior renumbered."""
    size = len(processor.tokenizer)
    if options.get("posterior_type") == "vocab":
        options |= {"compressor": tiny_config("gpt2", vocab_size=size), "max_summary_words": 3}
    plain = tiny_summarizer(prior=prior, vocab_size=size, **options).double()
    ids = processor.prior_tokenizer.convert_tokens_to_ids(processor.tokenizer.convert_ids_to_tokens(range(size)))
    other = in_other_order(plain.prior, ids)
    keys = {key: getattr(plain.config, key) for key in LatentSummarizerConfig.own_keys() if key not in ("prior", "compressor")}
    mapped = LatentSummarizerModel.from_encoder_decoder_pretrained(
        plain.encoder, plain.decoder, other, compressor=plain.config.compressor, processor=processor,
        **{key: value for key, value in keys.items() if not key.startswith(("prior_b", "prior_eos", "excluded"))},
    )  # fmt: skip
    mapped.posterior_head.load_state_dict(plain.posterior_head.state_dict())
    if plain.length_table is not None:
        mapped.length_table.load_state_dict(plain.length_table.state_dict())
    return plain, mapped.double().eval()


POINTING = {"decoder": "hf_lvm_lstm_decoder", "estimator": "straight_through"}
MAPPED = {
    "summed": ("hf_lvm_bigram_decoder", {}),
    "summed, of known lengths": ("hf_lvm_bigram_decoder", {"length_model": "table"}),
    "marginal": ("hf_lvm_bigram_decoder", {"objective": "marginal", "allow_empty": True}),
    "sampled deletions": ("hf_lvm_lstm_decoder", {"estimator": "rloo"}),
    "pointers": ("hf_lvm_lstm_decoder", {"posterior_type": "pointer", **POINTING}),
    "mixtures": ("hf_lvm_bigram_decoder", {"posterior_type": "pointer_vocab", **POINTING}),
    "vocabulary": ("hf_lvm_lstm_decoder", {"posterior_type": "vocab", **POINTING, "estimator": "rloo"}),
    "soft mixtures": (
        "hf_lvm_bigram_decoder",
        {"posterior_type": "pointer_vocab", **POINTING, "estimator": "gumbel_softmax", "length_model": "table"},
    ),
    "points of a vocabulary": ("hf_lvm_lstm_decoder", {"posterior_type": "vocab", **POINTING}),
}


@pytest.mark.parametrize("case", MAPPED)
def test_renumbered_tokens_change_nothing(case, processor, tmp_path):
    prior, options = MAPPED[case]
    plain, mapped = mapped_pair(processor, prior, **options)
    assert mapped.config.prior_bridge == "permutation" and mapped.config.is_exact == plain.config.is_exact
    batch = batch_of([[5, 6, 5, END], [7, 6, END]])
    outputs, gradients = [], []
    for model in (plain, mapped):
        output = model.train()(**batch, generator=row_generators(2))
        model.eval()
        outputs.append(output)
        parameters = [*model.encoder.parameters(), *model.posterior_head.parameters(), *model.decoder.parameters()]
        found = torch.autograd.grad(output.loss, parameters, allow_unused=True, materialize_grads=True)
        gradients.append(torch.cat([each.flatten() for each in found]))
    for name in ("loss", "kl", "reconstruction"):
        torch.testing.assert_close(outputs[1][name], outputs[0][name], atol=1e-9, rtol=0)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-9, rtol=0)
    assert outputs[1].non_canonical is None and gradients[0].abs().max() > 1e-4
    likelihoods = [
        model.estimate_log_likelihood(**batch, num_samples=5, generator=row_generators(2)).log_likelihood
        for model in (plain, mapped)
    ]
    torch.testing.assert_close(likelihoods[1], likelihoods[0], atol=1e-9, rtol=0)
    # No tokenizer is needed to load it.
    mapped.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).double().eval()
    assert torch.equal(loaded.prior_ids, mapped.prior_ids) and (loaded.prior_ids >= 0).all()
    found = loaded.train()(**batch, generator=row_generators(2))
    torch.testing.assert_close(found.kl, outputs[1].kl, atol=1e-6, rtol=1e-6)
    # Where there is one, it is checked.
    assert loaded.connect_prior(processor) is loaded
    swapped = renumbered(processor.tokenizer, lambda ids: [*reversed(ids[5:]), *ids[:5]][::-1])
    with pytest.raises(ValueError, match="makes a prior_bridge of|number the tokens in another way"):
        loaded.connect_prior(LatentTextProcessor(processor.tokenizer, None, swapped))


def test_a_word_that_a_mapped_prior_does_not_have_is_named(processor):
    for prior, options in MAPPED.values():
        _, mapped = mapped_pair(processor, prior, **options)
        mapped.prior_ids[6] = -1
        if mapped.config.posterior_type in ("delete", "pointer"):
            with pytest.raises(ValueError, match=r"cannot score the token\(s\) \[6\]"):
                mapped(**batch_of([[5, 6, END]] * 30), generator=row_generators(30))


# ---- the bridge of texts -----------------------------------------------------------------------------------------------


def reading_texts(estimator: str | None = "rloo", **options) -> tuple[LatentSummarizerModel, LatentTextProcessor]:
    """A vocabulary of a few bytes and pairs of them, and a prior that lacks some of the pairs."""
    tokenizer, prior_tokenizer = bart_like(), gpt2_like(*FEWER)
    processor = LatentTextProcessor(tokenizer, None, prior_tokenizer)
    sizes = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": END, "pad_token_id": 1}
    torch.manual_seed(0)
    prior = AutoModelForCausalLM.from_config(tiny_config("gpt2", vocab_size=len(prior_tokenizer)))
    model = tiny_summarizer(decoder="gpt2", estimator="rloo", vocab_size=len(tokenizer))
    ids = {key: sizes[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    own = {"posterior_type": "vocab", "compressor": tiny_config("gpt2", **sizes), "max_summary_words": 3, "num_samples": 4}
    model = LatentSummarizerModel.from_encoder_decoder_pretrained(
        model.encoder, model.decoder, prior, processor=processor, estimator=estimator, **own | ids | options
    )
    return perturb(model.double(), 0.3, seed=3).eval(), processor


def every_text(model, longest: int = 3) -> torch.Tensor:
    """All sequences that q(c|x) can write, the empty one first: (R, 1, T)."""
    excluded = {*model.config.excluded_ids, END}
    symbols = [index for index in range(model.config.decoder.vocab_size) if index not in excluded]
    rows = [row for length in range(longest + 1) for row in itertools.product(symbols, repeat=length)]
    return torch.tensor([[*row, *[END] * (longest + 1 - len(row))] for row in rows]).unsqueeze(1)


def log_prob_by_hand(model, row: tuple[int, ...]) -> torch.Tensor:
    begin, end = model.config.prior_start_and_end
    steps = model.prior(input_ids=torch.tensor([[begin, *row]])).logits[0].log_softmax(-1)
    return steps[torch.arange(len(row) + 1), torch.tensor([*row, end])].sum()


@torch.no_grad()
@pytest.mark.parametrize("epsilon", [0.01, 0.3])
@pytest.mark.parametrize("allow_empty", [False, True])
def test_the_divergence_is_an_upper_bound_of_that_of_the_strings(allow_empty, epsilon):
    model, processor = reading_texts(allow_empty=allow_empty, min_summary_words=1 - allow_empty, prior_epsilon=epsilon)
    assert model.config.prior_bridge == "text" and not model.config.is_exact
    batch = batch_of([[4, 5, 6, END]])
    source, values = model.source_of(batch["labels"], None), every_text(model)
    values = values if allow_empty else values[1:]
    score = model.score_prior(source, values)
    log_p, log_q = score.log_prob[:, 0], model.encode(**batch).log_prob(values)[:, 0]
    assert log_q.exp().sum().item() == pytest.approx(1.0, abs=1e-9)
    assert log_p.exp().sum() <= 1.0
    reported = (log_q.exp() * (log_q - log_p)).sum()
    # The strings that the prior tells apart; p is given that there is a word, unless there may be none.
    bridge = PriorBridge(processor.tokenizer, processor.prior_tokenizer)
    read = read_by_prior(bridge, values)
    kinds = {row: number for number, row in enumerate(dict.fromkeys(read))}
    which = torch.tensor([kinds[row] for row in read])
    q_strings = torch.zeros(len(kinds), dtype=torch.float64).index_add(0, which, log_q.exp())
    p_strings = torch.stack([log_prob_by_hand(model, row) for row in kinds])
    if not allow_empty:
        p_strings = p_strings - torch.log1p(-log_prob_by_hand(model, ()).exp())
    divergence = (q_strings * (q_strings.log() - p_strings)).sum()
    assert 0.0 < divergence <= reported
    uncharged = (log_q.exp() * (log_q - p_strings[which])).sum()
    assert uncharged < divergence - 0.01, "without the charge it is no bound"
    # Each of them as documented; the score of nothing is bridged, too.
    usual = [processor.tokenizer.encode(processor.prior_tokenizer.decode(row), add_special_tokens=False) for row in read]
    canonical = torch.tensor([own == row[: row.index(END)] for own, row in zip(usual, values[:, 0].tolist(), strict=True)])
    assert torch.equal(canonical, score.canonical[:, 0]) and 0 < canonical.sum() < len(canonical)
    p_strings = torch.stack([log_prob_by_hand(model, row) for row in kinds])
    wanted = p_strings[which] + torch.log1p(torch.tensor(-epsilon, dtype=torch.float64))
    if not allow_empty:
        wanted = wanted - torch.log1p(-(1 - epsilon) * log_prob_by_hand(model, ()).exp())
    torch.testing.assert_close(log_p[canonical], wanted[canonical], atol=1e-9, rtol=0)
    # What the model reports are means over samples of these.
    many = model(**{name: value.repeat(600, 1) for name, value in batch.items()}, generator=row_generators(600))
    assert abs(many.kl.mean() - reported) < 4 * many.kl.std() / 600**0.5
    share = (log_q.exp() * ~canonical).sum()
    assert share > 0.01 and abs(many.non_canonical.mean() - share) < 4 * many.non_canonical.std() / 600**0.5


@pytest.mark.parametrize(("estimator", "objective"), [("rloo", "elbo"), ("vimco", "iwae"), (None, "minimum_risk")])
def test_it_trains_with_and_without_summaries(estimator, objective):
    model, _ = reading_texts(estimator, objective=objective)
    batch = batch_of([[4, 5, 6, END], [6, 5, END]])
    model.train()(**batch, generator=row_generators(2)).loss.backward()
    for part in (model.encoder, model.posterior_head, model.decoder, model.prior):
        assert sum(float(each.grad.abs().sum()) for each in part.parameters() if each.grad is not None) > 0
    told = model(**batch, summary_ids=torch.tensor([[4, 5, END], [-100] * 3]), generator=row_generators(2))
    assert told.row_loss.isfinite().all() and told.non_canonical[0] in (0, 1) and 0 <= told.non_canonical[1] <= 1
    model.config.train_prior = False
    model.renew_estimator()
    model.zero_grad()
    model.train()(**batch, generator=row_generators(2)).loss.backward()
    assert all(each.grad is None for each in model.prior.parameters()) and not model.prior.training


@torch.no_grad()
def test_saved_and_loaded_it_asks_for_its_tokenizers(tmp_path):
    model, processor = reading_texts()
    batch = batch_of([[4, 5, 6, END], [6, 5, END]])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    wanted = model(**batch, generator=row_generators(2))
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    with pytest.raises(ValueError, match=r"prior_bridge 'text'\), and a model owns none: call model.connect_prior\(processor"):
        loaded(**batch)
    for connected in (
        loaded.connect_prior(AutoProcessor.from_pretrained(tmp_path)),
        load_trained(str(tmp_path), "summarize")[0],
    ):
        found = connected(**batch, generator=row_generators(2))
        torch.testing.assert_close(found.kl, wanted.kl, atol=1e-5, rtol=1e-5)
        assert torch.equal(found.non_canonical, wanted.non_canonical)
    fewer = gpt2_like(*FEWER, pad_token=END_OF_TEXT)
    with pytest.raises(ValueError, match="makes a prior_bridge of 'same'; this model was built with .*'text'"):
        loaded.connect_prior(LatentTextProcessor(fewer, None, fewer))


@torch.no_grad()
def test_words_are_read_by_a_prior_of_pieces(word_processor):
    """Summaries and the report: the compressor's words are texts to a prior that knows bytes."""
    texts = {split: rows.select(range(3)) for split, rows in synthetic_grammar.load("mixed", 80).items()}
    words = train_word_tokenizer([" ".join(rows["text"]) for rows in texts.values()])
    characters = sorted({*" ".join(text for rows in texts.values() for text in rows["text"])} - {" "})
    processor = LatentTextProcessor(words, None, gpt2_like([*characters, "Ġ"], []))
    model = tiny_summarizer(estimator="rloo", vocab_size=len(words))
    prior = AutoModelForCausalLM.from_config(
        tiny_config("gpt2", vocab_size=len(processor.prior_tokenizer), max_position_embeddings=200)
    )
    keys = {"estimator": "rloo", "bos_token_id": START, "eos_token_id": END, "pad_token_id": PAD}
    model = LatentSummarizerModel.from_encoder_decoder_pretrained(
        model.encoder, model.decoder, prior, processor=processor, **keys
    ).eval()
    (best,) = model.summarize_n_best("a b", 1, processor=processor)[0]
    expected = prior(input_ids=torch.tensor([[len(processor.prior_tokenizer) - 1]])).logits
    assert best.log_prior < expected.log_softmax(-1).max() and len(best.text.split()) == best.num_words
    rows = DatasetDict({split: each.add_column("summary", [""] * 3) for split, each in texts.items()})
    rows = DatasetDict({split: each.add_column("keep", [""] * 3) for split, each in rows.items()})
    encoded = encode_compressions(rows, processor)
    measured = report_summaries(model, encoded["test"], processor, num_importance_samples=2)
    assert measured.metrics["non_canonical_share"] == 0.0 and not measured.metrics["likelihood"]["exact"]
    assert measured.metrics["kl_nats_per_sentence"] > 0
    with pytest.raises(ValueError, match="the processor has no prior_tokenizer"):
        model.summarize("a b", processor=word_processor)


# ---- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"estimator": "gumbel_softmax"}, "points of simplices, and these have no text"),
        ({"estimator": "straight_through"}, "points of simplices, and these have no text"),
        ({"prior_epsilon": 0.7}, "epsilon"),
        ({"prior_type": "compressor"}, "leave prior out"),
    ],
)
def test_settings_that_a_prior_of_texts_cannot_have(options, said):
    with pytest.raises(ValueError, match=said):
        reading_texts(**options)


def test_sums_over_pairs_of_words_are_refused():
    with pytest.raises(ValueError, match="does not take the estimator 'exact'"):
        tiny_summarizer(prior_bridge="text", prior_bos_token_id=1, prior_eos_token_id=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prior_bridge": "words"}, "Unknown prior_bridge 'words': choose one of 'same', 'permutation', 'text'"),
        ({"prior_bridge": "same"}, "prior_bos_token_id is None, and the prior has the ids 0 to 22"),
        ({"prior_bridge": "same", "prior_bos_token_id": 1, "prior_eos_token_id": 23}, "prior_eos_token_id is 23"),
        ({"prior_type": "none"}, "Unknown prior_type 'none': choose one of 'model', 'compressor'"),
        ({"prior_type": "compressor"}, "'compressor' is for the posterior_type 'vocab', and this one is 'delete'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        tiny_summarizer(**options)


def test_a_table_that_nobody_filled_is_no_table():
    model = tiny_summarizer(prior_bridge="same", prior_bos_token_id=1, prior_eos_token_id=2)
    with pytest.raises(ValueError, match=r"call model.connect_prior\(processor\) first"):
        model(**batch_of([[5, 6, END]]))


def test_a_prior_that_cannot_score_the_vocabulary_is_one_clear_error(processor):
    model = tiny_summarizer(estimator="rloo", vocab_size=len(processor.tokenizer))
    parts = {"encoder": model.encoder, "decoder": model.decoder, "estimator": "rloo"}
    small = AutoModelForCausalLM.from_config(tiny_config("gpt2", vocab_size=5))
    build = LatentSummarizerModel.from_encoder_decoder_pretrained
    with pytest.raises(ValueError, match=r"ids up to \d+, and the prior has 5 tokens, so it cannot score"):
        build(**parts, prior=small, processor=processor)
    with pytest.raises(ValueError, match="The prior knows 5 tokens and the decoder.*or a tokenizer of its own"):
        build(**parts, prior=small)
    with pytest.raises(ValueError, match="there is no prior that it is for"):
        build(**parts, processor=processor)
    with pytest.raises(ValueError, match="knows the decoder's tokens by their ids: leave it out"):
        model.connect_prior(processor)
