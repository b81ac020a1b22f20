"""The parts of a run: pretrained ones from local folders, frozen, with LoRA, tied, with two tokenizers."""

import json

import pytest
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor, AutoTokenizer, BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from hf_lvm import TextVAEModel
from hf_lvm.data import train_bpe_tokenizer, train_word_tokenizer
from hf_lvm.training.building import build_composed, build_processor, load_run_texts
from hf_lvm.training.run_arguments import DataArguments, TextVAEArguments
from hf_lvm.training.text_vae import main
from tests.trained_text_vae import write_texts

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}
SCRATCH = {part: {"hidden_size": 32, "num_hidden_layers": 1} for part in ("encoder", "decoder")}


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("lines") / "texts.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def texts(lines):
    rows = {"train": lines[:250], "validation": lines[250:270], "test": lines[270:]}
    return DatasetDict({split: Dataset.from_dict({"text": part}) for split, part in rows.items()})


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, lines):
    """A BERT with a word tokenizer, and a GPT-2 whose tokenizer, like the real one's, has only one special token."""
    place = tmp_path_factory.mktemp("pretrained")
    words = train_word_tokenizer(lines)
    torch.manual_seed(1)
    BertModel(BertConfig(vocab_size=len(words), intermediate_size=64, **SIZES)).save_pretrained(place / "bert")
    words.save_pretrained(place / "bert")
    bpe = train_bpe_tokenizer(lines, vocab_size=300)
    for role in ("pad_token", "unk_token", "mask_token"):
        setattr(bpe, role, None)
    bpe.eos_token = bpe.bos_token
    bpe.save_pretrained(place / "gpt2")
    ids = {"bos_token_id": bpe.bos_token_id, "eos_token_id": bpe.bos_token_id}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(bpe), **SIZES, **ids)).save_pretrained(place / "gpt2")
    return place


def build(texts, data=(), **model):
    part_options = model.pop("part_options", {"encoder": {}, "decoder": {}})
    arguments = TextVAEArguments(latent_size=4, **model)
    arguments.part_options = part_options
    processor = build_processor(DataArguments(**dict(data)), arguments.encoder, arguments.decoder, texts)
    return build_composed(TextVAEModel, arguments, processor), processor


def loss_of(model, processor, texts):
    batch = processor(texts["test"]["text"][:8])
    return model(**batch, generator=torch.Generator().manual_seed(0)).loss


@pytest.fixture
def bert_gpt2(pretrained):
    return {"encoder": str(pretrained / "bert"), "decoder": str(pretrained / "gpt2")}


def test_pretrained_parts_come_with_their_weights_and_tokenizers(texts, bert_gpt2, pretrained):
    model, processor = build(texts, {"pad_token": "<s>"}, **bert_gpt2)
    saved = load_file(pretrained / "bert" / "model.safetensors")
    loaded = model.encoder.state_dict()
    assert loaded and all(torch.equal(value, saved[name]) for name, value in loaded.items())
    saved = load_file(pretrained / "gpt2" / "model.safetensors")
    loaded = model.decoder.transformer.state_dict()
    assert loaded and all(torch.equal(value, saved[f"transformer.{name}"]) for name, value in loaded.items())
    assert not processor.shares_tokenizer()
    assert processor.tokenizer.get_vocab() != processor.decoder_tokenizer.get_vocab()
    assert torch.isfinite(loss_of(model, processor, texts))
    text = texts["test"]["text"][0]
    assert processor.decode(processor([text])["labels"][0]) == text


def test_the_padding_token_goes_to_the_tokenizer_that_has_none(texts, bert_gpt2):
    _, processor = build(texts, {"pad_token": "<s>"}, **bert_gpt2)
    assert processor.tokenizer.pad_token == "<pad>"
    assert processor.decoder_tokenizer.pad_token == processor.decoder_tokenizer.eos_token == "<s>"
    with pytest.raises(ValueError, match="no padding token.*pad_token"):
        build(texts, **bert_gpt2)
    with pytest.raises(ValueError, match="pad_token='<padding>' is not in the vocabulary"):
        build(texts, {"pad_token": "<padding>"}, **bert_gpt2)


def test_a_tokenizer_with_more_tokens_than_the_pretrained_part_is_refused(texts, bert_gpt2):
    with pytest.raises(ValueError, match="tokenizer of the encoder has 2[0-9]{2} tokens, but the encoder has embeddings"):
        build(texts, {"pad_token": "<s>", "tokenizer": "bpe", "vocab_size": 280}, **bert_gpt2)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_frozen_part_keeps_its_weights_and_the_rest_learns(texts, bert_gpt2, part):
    model, processor = build(texts, {"pad_token": "<s>"}, freeze=[part], **bert_gpt2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    loss_of(model, processor, texts).backward()
    optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith(f"{part}.") for name in moved)
    other = "decoder" if part == "encoder" else "encoder"
    assert any(name.startswith(f"{other}.") for name in moved)
    assert any(name.startswith("posterior_head.") for name in moved)
    assert any(name.startswith("conditioning.") for name in moved)


def test_lora_trains_small_matrices_only_also_in_a_frozen_part(texts, bert_gpt2):
    pytest.importorskip("peft")
    for freeze in ([], ["decoder"]):
        options = {"lora": ["decoder"], "lora_rank": 2, "freeze": freeze} | bert_gpt2
        model, _ = build(texts, {"pad_token": "<s>"}, **options)
        trained = [name for name, value in model.decoder.named_parameters() if value.requires_grad]
        assert trained and all("lora_" in name for name in trained)
        assert all(value.requires_grad for value in model.encoder.parameters())
        ranks = {value.shape[0] for name, value in model.decoder.named_parameters() if "lora_A" in name}
        assert ranks == {2}


def test_tied_embeddings_are_one_table(texts):
    data = {"tokenizer": "words"}
    model, processor = build(texts, data, tie_encoder_decoder_embeddings=True, part_options=SCRATCH)
    assert processor.shares_tokenizer()
    tables = [part.get_input_embeddings().weight for part in (model.encoder, model.decoder)]
    assert tables[0] is tables[1]
    loss_of(model, processor, texts).backward()
    assert tables[0].grad.abs().sum() > 0
    with pytest.raises(ValueError, match="one tokenizer"):
        build(
            texts, data | {"decoder_tokenizer": "bpe", "vocab_size": 300}, tie_encoder_decoder_embeddings=True,
            part_options=SCRATCH,
        )  # fmt: skip


def test_two_tokenizers_trained_here(texts):
    data = {"tokenizer": "words", "decoder_tokenizer": "bpe", "vocab_size": 290}
    model, processor = build(texts, data, part_options=SCRATCH)
    assert model.encoder.config.vocab_size == len(processor.tokenizer) < 60
    assert model.decoder.config.vocab_size == len(processor.decoder_tokenizer) <= 290
    assert torch.isfinite(loss_of(model, processor, texts))
    written = model.reconstruct(texts["test"]["text"][:2], processor=processor, max_new_tokens=4)
    assert len(written) == 2


def test_words_are_all_kept_unless_a_size_is_given(texts):
    words = {word for text in texts["train"]["text"][:] for word in text.split()}
    processor = build_processor(DataArguments(tokenizer="words"), "bert", "gpt2", texts)
    assert set(processor.tokenizer.get_vocab()) - set(processor.tokenizer.all_special_tokens) == words
    small = build_processor(DataArguments(tokenizer="words", vocab_size=12), "bert", "gpt2", texts)
    assert len(small.tokenizer) == 12
    assert "<unk>" in small.decode(small([texts["train"]["text"][0]])["labels"][0])


def test_limits_on_the_number_of_texts(tmp_path):
    path = write_texts(tmp_path / "texts.txt")
    whole = load_run_texts(DataArguments(dataset=str(path)))
    some = load_run_texts(DataArguments(dataset=str(path), max_train_samples=10, max_test_samples=3, max_words=7))
    assert len(some["train"]) == 10 and len(some["test"]) == 3
    assert all(len(text.split()) <= 7 for text in some["train"]["text"])
    assert set(some["test"]["text"]) <= set(whole["test"]["text"]), "the splits do not move"


@pytest.mark.parametrize("key", ["max_train_samples", "max_test_samples"])
@pytest.mark.parametrize("value", [0, -1])
def test_no_text_is_no_limit(key, value):
    with pytest.raises(ValueError, match=f"{key} is {value}; give a number of texts, 1 or more, or leave it out"):
        DataArguments(**{key: value})


def test_a_run_over_pretrained_parts_with_lora_and_a_frozen_encoder(lines, bert_gpt2, pretrained, tmp_path):
    pytest.importorskip("peft")
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    argv = ["--encoder", bert_gpt2["encoder"], "--decoder", bert_gpt2["decoder"], "--pad_token", "<s>",
            "--dataset", str(tmp_path / "texts.txt"), "--output_dir", str(tmp_path / "out"), "--latent_size", "4",
            "--injection", "memory", "embedding", "--injection_length", "1", "--lora", "decoder", "--lora_rank", "2",
            "--freeze", "encoder", "--max_steps", "4", "--learning_rate", "1e-2", "--eval_strategy", "steps",
            "--eval_steps", "2", "--save_strategy", "steps", "--save_steps", "2", "--num_importance_samples", "2",
            "--num_generated", "2", "--report_to", "none", "--disable_tqdm", "true", "--use_cpu"]  # fmt: skip
    results = main(argv, "hf-lvm train")
    folder = tmp_path / "out"
    model, loading = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    before = load_file(pretrained / "bert" / "model.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items())
    before = load_file(pretrained / "gpt2" / "model.safetensors")
    decoder = {name.replace(".base_layer", ""): value for name, value in model.decoder.transformer.state_dict().items()}
    lora = {name for name in decoder if "lora_" in name}
    assert lora and all(
        torch.equal(value, before[f"transformer.{name}"]) for name, value in decoder.items() if name not in lora
    )
    assert any(decoder[name].abs().sum() > 0 for name in lora if "lora_B" in name), "B begins at 0, so it has learned"
    processor = AutoProcessor.from_pretrained(folder)
    text = lines[0]
    assert AutoTokenizer.from_pretrained(folder)(text)["input_ids"] == processor([text])["input_ids"][0].tolist()
    assert processor.decoder_tokenizer.pad_token == "<s>"
    assert json.loads((folder / "results.json").read_text()) == results
    assert model.reconstruct([text], processor=processor, max_new_tokens=4)


@pytest.mark.parametrize(
    ("decoder", "injection", "sizes"),
    [
        ("lstm", ["concatenation", "initial_state"], {"hidden_size": 16, "num_hidden_layers": 1}),
        ("dilated_cnn", ["concatenation"], {"hidden_size": 16, "internal_size": 8, "embedding_size": 8, "size": "small"}),
    ],
)
def test_backbones_of_the_literature_by_their_short_names(texts, decoder, injection, sizes):
    options = {"encoder": {"hidden_size": 16, "bidirectional": True}, "decoder": sizes}
    model, processor = build(
        texts, {"tokenizer": "words"}, encoder="lstm", decoder=decoder, injection=injection, pooling="last",
        prior_type="gaussian_mixture", prior_components=3, part_options=options,
    )  # fmt: skip
    assert model.config.encoder.model_type == "hf_lvm_lstm_encoder"
    assert model.config.decoder.model_type == f"hf_lvm_{decoder}_decoder"
    assert model.config.decoder.condition_size == model.config.latent_size == 4
    assert model.prior.mean.shape == (3, 4)
    assert loss_of(model, processor, texts).isfinite()
    assert len(model.sample(2, processor=processor)) == 2


def test_a_limited_context_and_refinement_come_from_the_run(texts):
    model, processor = build(
        texts,
        encoder="bert",
        decoder="gpt2",
        context_window=3,
        semi_amortized_steps=2,
        semi_amortized_momentum=0.9,
        semi_amortized_max_grad_norm=1.0,
        part_options=SCRATCH,
    )
    assert model.conditioning.window.reach == 3 and model.config.semi_amortized_steps == 2
    assert (model.config.semi_amortized_momentum, model.config.semi_amortized_max_grad_norm) == (0.9, 1.0)
    assert loss_of(model, processor, texts).isfinite()
