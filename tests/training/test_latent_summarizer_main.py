"""A latent summarizer trained by its recipe: without compressions, with some, and with nothing else."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor, GPT2Tokenizer

from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.cli.main import main as command
from hf_lvm.data import synthetic_grammar, train_word_tokenizer
from hf_lvm.training.latent_summarizer import fit_lengths, main
from tests.models.latent_summarizer.test_prior_tokenizers import renumbered
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import tiny_config

SIZES = [
    "--encoder_hidden_size", "16", "--encoder_embedding_size", "16", "--decoder_hidden_size", "8", "--prior_hidden_size", "8",
    "--per_device_train_batch_size", "16", "--use_cpu", "true", "--disable_tqdm", "true", "--report_to", "none",
    "--learning_rate", "1e-2", "--logging_steps", "2", "--min_words", "2", "--num_train_epochs", "1", "--vocab_size", "200",
    "--max_test_samples", "12", "--num_importance_samples", "2", "--prior_epochs", "1",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sentences of which every second word is kept; the first of all, in the others."""
    folder = tmp_path_factory.mktemp("compressions")
    for split, rows in synthetic_grammar.load("mixed", 80).items():
        lines = []
        for row in rows.select(range(min(48, len(rows)))):
            words = row["text"].split()
            lines.append(json.dumps({"text": row["text"], "summary": " ".join(words[::2]), "keep": "10" * 50}))
            lines[-1] = json.dumps(json.loads(lines[-1]) | {"keep": ("10" * 50)[: len(words)]})
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def arguments(data, folder, *more: str) -> list[str]:
    return ["--data_dir", str(data), "--output_dir", str(folder), *SIZES, *more]


@pytest.fixture(scope="module")
def semi_supervised(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("semi") / "run"
    # A quarter of each batch is labelled, 4 of 16: an epoch is one pass over the 32 others.
    more = ("--num_labelled", "16", "--labelled_share", "0.25", "--report_words", "3", "--report_corpus_ratios", "0.6")
    lengths = ("--length_model", "table", "--length_table_size", "12")
    return main(arguments(data, folder, *more, *lengths)), folder


def test_what_is_written_is_the_model_its_summaries_and_its_numbers(semi_supervised):
    results, folder = semi_supervised
    written = json.loads((folder / "results.json").read_text())
    assert written["settings"]["num_labelled"] == 16 and written["steps"] == 3
    assert written["test"]["likelihood"]["exact"]
    assert written["test"]["likelihood"]["nats_per_sentence"] < written["test"]["bound"]["nats_per_sentence"]
    compression = written["test"]["compression"]
    assert {"corpus ratio 0.6", "corpus ratio 0.6, expected F1"} <= compression.keys()
    # The bonus is that of other texts, few of them here.
    assert abs(compression["corpus ratio 0.6"]["compression_ratio"] - 0.6) < 0.15
    for name in ("own length", "3 words"):
        scores = written["test"]["compression"][name]
        assert {"first_k", "random_k", "keep_all"} <= scores["controls"].keys()
        assert {"explained_nats_per_word", "reconstruction_nats_per_word", "token_f1"} <= scores.keys()
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    assert type(model).__name__ == "LatentSummarizerModel" and not model.prior.words.output.weight.requires_grad
    assert len(model.summarize("the girl saw Anna", processor=processor, words=2)[0].split()) == 2
    assert "own length" in (folder / "summaries.txt").read_text()
    # Every second word of sentences of 3 to 10 or so.
    mean = (model.length_table(60).exp() * torch.arange(61)).sum()
    assert model.length_table.size == 12 and 1.5 < mean < 7 and not model.length_table.scores.requires_grad


def test_lengths_are_those_of_known_compressions_or_of_the_ratio():
    model = tiny_summarizer(length_model="table", length_table_size=4)
    rows = {"num_words": [4, 9, 2], "labels": [[5] * 5, [5] * 10, [5] * 3]}
    kept = [[True, True, False, True], [], []]
    known = Dataset.from_dict(rows | {"kept": kept}), Dataset.from_dict(rows | {"summary_ids": [[5, 6, 7, 2], [], []]})
    for told in known:
        fit_lengths(model, told)
        assert model.length_table(4).argmax() == 3
    with pytest.raises(ValueError, match="a table of how long compressions are, and nothing says it"):
        fit_lengths(model, Dataset.from_dict(rows))
    model.config.target_ratio = 0.5
    fit_lengths(model, Dataset.from_dict(rows))
    wanted = torch.tensor([2, 2, 1, 2, 1]) / 8  # 2, 4 and 1 words, and one of each
    torch.testing.assert_close(model.length_table.scores.softmax(0), wanted)


def test_supervised_alone_then_without_compressions(data, semi_supervised, tmp_path):
    only = ("--num_labelled", "-1", "--unlabelled_weight", "0", "--joint_weight", "0", "--num_train_epochs", "8")
    results = main(arguments(data, tmp_path / "only", *only, "--keep_column", "keep"))
    scores = results["test"]["compression"]["own length"]
    assert scores["token_f1"] > max(control["token_f1"] for control in scores["controls"].values())
    log = json.loads((tmp_path / "only" / "trainer_state.json").read_text())["log_history"]
    bounds = [entry["eval_bound"] for entry in log if "eval_bound" in entry]
    assert bounds[-1] > bounds[0], "of log q(c|x), on the validation texts"
    more = ("--model", str(tmp_path / "only"), "--estimator", "rloo", "--target_ratio", "0.5", "--prior_epochs", "0")
    again = main(arguments(data, tmp_path / "again", *more))
    assert AutoModel.from_pretrained(tmp_path / "again").config.estimator == "rloo"
    assert again["settings"]["decoder"] == "hf_lvm_segment_decoder"


@pytest.mark.parametrize(("posterior_type", "estimator"), [("pointer", "rloo"), ("pointer_vocab", "straight_through")])
def test_pointers(data, tmp_path, posterior_type, estimator):
    more = ("--posterior_type", posterior_type, "--decoder", "lstm", "--estimator", estimator, "--num_samples", "2")
    if estimator == "straight_through":
        more += ("--temperature_schedule", "linear", "--temperature_end", "0.5")
    results = main(arguments(data, tmp_path / "run", *more, "--num_labelled", "8"))
    assert not results["test"]["likelihood"]["exact"] and results["test"]["compression"]["own length"]["empty_share"] == 0


@pytest.mark.parametrize("compressor", [("lstm", "cross_attention"), ("llama", "prompt")])
def test_a_language_model_that_compresses(data, tmp_path, compressor):
    family, injection = compressor
    more = ("--posterior_type", "vocab", "--compressor", family, "--compressor_injection", injection, "--estimator", "rloo",
            "--compressor_hidden_size", "16", "--max_summary_words", "6", "--decoder", "lstm", "--num_samples", "2",
            "--injection", "cross_attention", "--num_labelled", "8", "--max_train_samples", "16")  # fmt: skip
    main(arguments(data, tmp_path / "run", *more))
    model, processor = AutoModel.from_pretrained(tmp_path / "run").eval(), AutoProcessor.from_pretrained(tmp_path / "run")
    assert model.config.compressor_injection == injection and model.config.compressor.hidden_size == 16
    assert 1 <= len(model.summarize("the girl saw Anna", processor=processor)[0].split()) <= 6


@pytest.fixture(scope="module")
def priors(data, tmp_path_factory):
    """Folders of language models with their tokenizers: of letters, and of the words of the texts by other ids."""
    texts = [json.loads(line)["text"] for line in (data / "train.jsonl").read_text().splitlines()]
    letters = sorted({*"".join(texts)} - {" "})
    folders = {}
    for name, tokenizer in (
        ("letters", GPT2Tokenizer({each: index for index, each in enumerate([*letters, "Ġ", "<|endoftext|>"])}, [])),
        ("words", renumbered(train_word_tokenizer(texts, vocab_size=200))),
    ):
        folders[name] = tmp_path_factory.mktemp("priors") / name
        size = {"vocab_size": len(tokenizer), "max_position_embeddings": 400}
        AutoModelForCausalLM.from_config(tiny_config("gpt2", **size)).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


@pytest.mark.parametrize(("prior", "bridge"), [("letters", "text"), ("words", "permutation")])
def test_a_prior_with_a_tokenizer_of_its_own(data, priors, tmp_path, prior, bridge):
    own = ["--prior", str(priors[prior]), "--estimator", "rloo", "--num_samples", "2", "--prior_epochs", "0"]
    own += ["--prior_tokenizer", str(priors[prior])] if prior == "letters" else []
    results = main(arguments(data, tmp_path / "run", *own, "--max_test_samples", "4", "--num_importance_samples", "0"))
    model, processor = load_trained(str(tmp_path / "run"), "summarize")
    assert model.config.prior_bridge == bridge and processor.prior_tokenizer is not None
    assert ("non_canonical_share" in results["test"]) == (bridge == "text")
    assert model.summarize("the girl saw Anna", processor=processor, words=2)[0]
    assert results["settings"]["prior"] == str(priors[prior])


def test_asc_and_fsc_with_words_dropped(data, tmp_path):
    """The pointers of a mixture, the compressor as its own reader, and a decoder that does not see all it has written."""
    more = ("--posterior_type", "pointer_vocab", "--unlabelled_posterior", "pointer", "--estimator", "rloo",
            "--num_samples", "2", "--num_labelled", "8", "--joint_weight", "0", "--decoder", "gpt2", "--injection",
            "cross_attention", "--reader", "compressor", "--decoder_num_attention_heads", "2",
            "--decoder_num_hidden_layers", "1")  # fmt: skip
    results = main(arguments(data, tmp_path / "run", *more, "--word_dropout", "0.5"))
    ways = results["test"]["compression"]
    assert {"own length", "own length, words of the text"} == ways.keys()
    assert ways["own length, words of the text"]["empty_share"] == 0
    config = AutoModel.from_pretrained(tmp_path / "run").config
    assert (config.reader, config.unlabelled_posterior) == ("compressor", "pointer")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--prior_tokenizer", "somewhere"], "prior_tokenizer is for a pretrained prior, and 'bigram' is built from scratch"),
        (["--posterior_type", "pointer"], "A segment decoder fills the gaps"),
        (["--summary_column", "short"], "has no column 'short'"),
        (["--num_labelled", "-2"], "num_labelled is -2"),
        (["--num_labelled", "5000"], "num_labelled is 5000, and"),
        (["--estimator", "reparameterization"], "'reparameterization' is not for summed latents"),
        (["--target_ratio", "1.5"], "target_ratio is 1.5"),
        (["--report_ratios", "0"], "report_ratios holds 0"),
        (["--report_corpus_ratios", "1.2"], "report_corpus_ratios holds 1.2"),
        (["--word_dropout", "0.3"], "A segment decoder fills gaps and reads no words of its own, and so no word_dropout"),
        (["--length_model", "sum"], "Unknown length_model 'sum'"),
        (["--reader", "bert"], "reader is 'bert': it is compressor, or left out"),
        (["--prior", "lstm"], "prior_epochs trains a bigram prior"),
        (["--posterior_type", "vocab"], "'vocab' needs a compressor, such as gpt2 or lstm"),
        (["--compressor", "gpt2"], "posterior_type is 'delete' and compressor 'gpt2'"),
        (["--prior_max_words", "0"], "prior_max_words is 0; it is 1 or more"),
        (["--prior_max_words", "5", "--prior_epochs", "0"], "set these, too"),
    ],
)
def test_bad_input_is_one_line(data, tmp_path, capsys, more, said):
    argv = ["train", "--model_type", "hf_lvm_latent_summarizer", *arguments(data, tmp_path / "run", *more)]
    assert command(argv) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
