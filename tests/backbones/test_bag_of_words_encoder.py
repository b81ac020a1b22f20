"""The bag-of-words encoder: counts, and nothing of order or padding."""

import pytest
import torch
from transformers import AutoModel

from hf_lvm import BagOfWordsEncoderConfig, BagOfWordsEncoderModel
from hf_lvm.backbones.sources import full_name
from hf_lvm.layers.pooling import POOLINGS, Pooling
from tests.tiny_parts import VOCABULARY, batch_of, perturb

ROWS = [[5, 6, 6, 8], [9, 4], [11]]


def encoder(**options) -> BagOfWordsEncoderModel:
    torch.manual_seed(0)
    return perturb(
        BagOfWordsEncoderModel(BagOfWordsEncoderConfig(vocab_size=VOCABULARY, hidden_size=8, **options)).eval(), 0.3
    )


def encoded(model: BagOfWordsEncoderModel, rows: list[list[int]], **padding) -> torch.Tensor:
    batch = batch_of(rows, **padding)
    return model(batch["input_ids"], batch["attention_mask"]).last_hidden_state


@torch.no_grad()
def test_the_vector_of_a_text_is_that_of_its_counts():
    model = encoder(num_hidden_layers=0)
    words = model.embeddings.weight
    expected = torch.nn.functional.softplus(
        torch.log(torch.tensor(2.0)) * (words[5] + words[8]) + torch.log(torch.tensor(3.0)) * words[6] + model.bias
    )
    torch.testing.assert_close(encoded(model, ROWS)[0], expected.expand(4, 8))


@torch.no_grad()
def test_order_and_padding_do_not_matter_and_words_do():
    model = encoder(num_hidden_layers=2)
    plain = encoded(model, ROWS)[:, 0]
    torch.testing.assert_close(encoded(model, [row[::-1] for row in ROWS])[:, 0], plain)
    for padding in ({"extra_padding": 3}, {"padding_side": "left"}):
        torch.testing.assert_close(encoded(model, ROWS, **padding)[:, -1], plain)
    assert (encoded(model, [[5, 6, 8, 8], [9], [12]])[:, 0] - plain).abs().amax(1).min() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_gives_it_back(pooling):
    batch = batch_of(ROWS)
    hidden = encoder()(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    torch.testing.assert_close(Pooling(pooling, 8)(hidden, batch["attention_mask"]), hidden[:, 0])


def test_dropout_is_off_outside_training():
    model = encoder(dropout=0.5)
    assert torch.equal(encoded(model, ROWS), encoded(model, ROWS))
    model.train()
    assert not torch.equal(encoded(model, ROWS), encoded(model, ROWS))


def test_round_trip_through_the_auto_class_and_short_name(tmp_path):
    model = encoder()
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is BagOfWordsEncoderModel
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert full_name("encoder", "bag_of_words") == BagOfWordsEncoderConfig.model_type


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (lambda: BagOfWordsEncoderConfig(hidden_size=0), "hidden_size must be at least 1, but is 0"),
        (lambda: BagOfWordsEncoderConfig(num_hidden_layers=-1), "num_hidden_layers must be at least 0, but is -1"),
        (lambda: BagOfWordsEncoderConfig(dropout=1.0), r"dropout must be in \[0, 1\), but is 1.0"),
        (lambda: encoder()(inputs_embeds=torch.zeros(1, 2, 8)), "counts tokens: pass input_ids"),
    ],
)
def test_refusals(refused, said):
    with pytest.raises(ValueError, match=said):
        refused()
