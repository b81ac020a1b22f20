"""Tiny decoders of every shape with prompts and sources, for tests of distributions over what they write."""

import itertools

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from hf_lvm.backbones.decoders import as_decoder_config
from hf_lvm.backbones.lstm_decoder import LSTMDecoderModel
from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.symbol_sequences import SymbolSequences
from tests.tiny_parts import END, SIZES, START, perturb, tiny_config

# Whole encoder-decoder models, decoders with cross-attention, and decoders that have a prompt only.
WHOLE = ("bart", "t5")
CROSS = ("bart_decoder", "t5_decoder", "gpt2_cross", "lstm_cross", "lstm_fed")
PROMPTED = ("gpt2", "llama", "lstm")
FAMILIES = (*PROMPTED, *CROSS, *WHOLE)
SOURCE_LENGTH = 5
# Of a distribution over sequences, each of them not its default.
RULES = {"min_length": 1, "forbidden": [0], "temperature": 0.7}


def tiny_model(family: str, vocabulary: int = 7, dtype: torch.dtype = torch.float64, **sizes) -> PreTrainedModel:
    """A model in evaluation mode, without dropout, far from its initialisation."""
    sizes = {"vocab_size": vocabulary, "pad_token_id": 0, **sizes}
    torch.manual_seed(0)
    if family in WHOLE:
        model = AutoModelForSeq2SeqLM.from_config(tiny_config(family, num_hidden_layers=2, **sizes))
    elif family.startswith("lstm"):
        attends = {"add_cross_attention": family != "lstm", "input_feeding": family == "lstm_fed"}
        condition = {"condition_size": 3} if family == "lstm" else {}
        model = LSTMDecoderModel(tiny_config("hf_lvm_lstm_decoder", **(condition | attends | sizes)))
    else:
        config = tiny_config(family.removesuffix("_decoder").removesuffix("_cross"), num_hidden_layers=2, **sizes)
        model = AutoModelForCausalLM.from_config(as_decoder_config(config, cross_attention=family in CROSS))
    return perturb(model.to(dtype).eval(), 0.1)


def inputs_of(family: str, model: PreTrainedModel, batch: int = 2, seed: int = 0) -> dict:
    """What the rows of a batch are conditioned on: arguments of `CachedDecoder`, a row the same in every batch."""
    generator, dtype = torch.Generator().manual_seed(seed), model.dtype
    states = torch.randn(8, SOURCE_LENGTH, SIZES["hidden_size"], generator=generator, dtype=dtype)[:batch]
    mask = (torch.arange(SOURCE_LENGTH) < torch.tensor([5, 3, 4, 2, 5, 1, 2, 3]).unsqueeze(1)).long()[:batch]
    words = torch.randint(1, model.config.vocab_size, (8, 3), generator=generator)[:batch]
    start = torch.full((batch, 1), START)
    if family in PROMPTED:
        given = {"prompt": torch.cat([start, words], dim=1)}
        return given | ({"conditions": {"input_condition": states[:, :1, :3]}} if family == "lstm" else {})
    return {"prompt": start, "encoder_hidden_states": states, "encoder_attention_mask": mask}


def tiny_decoder(family: str, batch: int = 2, vocabulary: int = 7, dtype: torch.dtype = torch.float64) -> CachedDecoder:
    model = tiny_model(family, vocabulary, dtype)
    return CachedDecoder(model, **inputs_of(family, model, batch))


def logits_without_cache(
    model: PreTrainedModel, given: dict, symbols: torch.Tensor | None = None, embeds: torch.Tensor | None = None
) -> torch.Tensor:
    """The logits after the prompt and after every symbol of (B, L), or embedding of (B, L, E) behind that of the prompt, from
    one pass of the bare model without a cache: (B, L + 1, V)."""
    others = {name: value for name, value in given.items() if name not in ("prompt", "conditions")} | given.get(
        "conditions", {}
    )
    prompt = given["prompt"]
    if embeds is None:
        name, tokens = "input_ids", torch.cat([prompt, symbols], dim=1)
    else:
        name, tokens = "inputs_embeds", torch.cat([embedding_layer(model)(prompt), embeds], dim=1)
    if model.config.is_encoder_decoder:
        states, mask = others["encoder_hidden_states"], others["encoder_attention_mask"]
        others = {"encoder_outputs": (states,), "attention_mask": mask}
        name = f"decoder_{name}"
    return model(**{name: tokens}, **others, use_cache=False).logits[:, prompt.shape[1] - 1 :]


def embedding_layer(model: PreTrainedModel) -> torch.nn.Module:
    return (model.get_decoder() if model.config.is_encoder_decoder else model).get_input_embeddings()


def all_sequences(q: SymbolSequences, vocabulary: int) -> torch.Tensor:
    """Every value that the rules allow, (S, T)."""
    symbols = [symbol for symbol in range(vocabulary) if symbol != END and symbol not in q.forbidden]
    values = [
        [*words, END, *[q.pad_token_id] * (q.max_length - length)]
        for length in range(q.min_length, q.max_length + 1)
        for words in itertools.product(symbols, repeat=length)
    ]
    return torch.tensor(values)
