"""Referential games small enough to be summed over: a handful of messages, parts from scratch without dropout."""

import itertools

import torch

from hf_lvm import ReferentialGameConfig, ReferentialGameModel
from tests.tiny_parts import perturb, tiny_config

SYMBOLS, LONGEST = 2, 2
SIZES = [2, 3]
OBJECTS = torch.tensor(list(itertools.product(range(2), range(3))))
GAMES = {
    "objects": OBJECTS,
    "candidates": torch.tensor([[0, 3, 5], [4, 2, 1], [5, 1, -1]]),
    "labels": torch.tensor([1, 0, 1]),
}


def tiny_game(
    sender: str = "hf_lvm_lstm_decoder",
    receiver: str = "hf_lvm_lstm_encoder",
    *,
    seed: int = 0,
    perturbation: float = 0.3,
    **options,
) -> ReferentialGameModel:
    """In evaluation mode, all weights with noise, so that messages differ."""
    torch.manual_seed(seed)
    symbols = options.get("num_symbols", SYMBOLS)
    ids = {"vocab_size": symbols + 3, "eos_token_id": symbols, "bos_token_id": symbols + 1, "pad_token_id": symbols + 2}
    parts = {"sender": tiny_config(sender, **ids), "receiver": tiny_config(receiver, **ids)}
    if options.get("prior_type") == "model":
        parts["prior"] = tiny_config("gpt2", **ids)
    if not sender.startswith("hf_lvm_lstm"):
        options.setdefault("injection", "prefix")
    if receiver != "hf_lvm_lstm_encoder":
        options.setdefault("pooling", "mean")
    sizes = {
        "object_size": 8,
        "object_embedding_size": 4,
        "num_symbols": SYMBOLS,
        "max_length": LONGEST,
        "injection_length": 2,
    }
    kinds = {"attribute_sizes": SIZES} if options.get("object_type", "attributes") == "attributes" else {}
    config = ReferentialGameConfig(**parts, **sizes | kinds | {"prior_type": "uniform", "estimator": "exact"} | options)
    return perturb(ReferentialGameModel(config), perturbation).eval()


def every_message(model: ReferentialGameModel) -> torch.Tensor:
    """All messages of a model, (S, T), written down by hand."""
    config = model.config
    rows = []
    for length in range(config.min_length, config.max_length + 1):
        for symbols in itertools.product(range(config.num_symbols), repeat=length):
            rows.append([*symbols, config.eos_token_id, *[config.pad_token_id] * (config.max_length - length)])
    return torch.tensor(rows)


def scores_by_hand(model: ReferentialGameModel, message: list[int], numbers: list[int]) -> torch.Tensor:
    """g.f of one message and some objects of `OBJECTS`, one at a time: (C,)."""
    config = model.config
    symbols = message[: message.index(config.eos_token_id)]
    states = model.receiver(torch.tensor([[config.bos_token_id, *symbols]])).last_hidden_state
    pooled = states[:, -1] if config.pooling == "last" else states.mean(1)
    said = model.message_head(pooled)[0]
    if config.score == "bilinear":
        said = model.bilinear.weight @ said
    if config.score == "scaled":
        said = said / config.object_size**0.5
    encoder = model.receiver_objects or model.sender_objects
    return torch.stack([said @ encoder(OBJECTS[number : number + 1])[0] for number in numbers])
