"""Who stands in a game, what objects can be, and what a pair does when nothing is trained."""

import pytest
import torch

from hf_lvm import ReferentialGameConfig, ReferentialGameModel
from tests.models.referential_game.tiny_games import GAMES, OBJECTS, every_message, tiny_game
from tests.tiny_parts import END, PAD, START, row_generators, tiny_config

# ---- candidates ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_objects_alone_are_games_of_each_against_all_others():
    model = tiny_game()
    output = model(OBJECTS)
    spelled = model(OBJECTS, candidates=torch.arange(6).expand(6, -1), labels=torch.arange(6))
    for field in ("loss", "reconstruction", "kl", "logits"):
        torch.testing.assert_close(getattr(output, field), getattr(spelled, field), rtol=1e-5, atol=1e-6)
    # Some of the objects may be targets, and none but these.
    some = model(OBJECTS, labels=torch.tensor([4, 1]))
    torch.testing.assert_close(some.reconstruction, output.reconstruction[[4, 1]])
    assert some.logits.shape == (2, 6)


@torch.no_grad()
def test_an_object_that_equals_the_target_is_no_distractor():
    model = tiny_game()
    repeated = model(torch.cat([OBJECTS, OBJECTS[:1]]))
    assert repeated.logits[0, 6] == repeated.logits[6, 0] == -torch.inf
    assert repeated.logits[1].isfinite().all(), "for others they are two candidates"
    alone = model(OBJECTS)
    torch.testing.assert_close(repeated.reconstruction[0], alone.reconstruction[0])
    assert (repeated.reconstruction[1:6] > alone.reconstruction[1:]).all()


@torch.no_grad()
def test_distractors_are_drawn_by_the_generator_of_a_row():
    model = tiny_game(num_distractors=2)
    inside = [model(OBJECTS, generator=row_generators(6, seed)).logits.isfinite() for seed in (0, 0, 50)]
    assert torch.equal(inside[0], inside[1]) and not torch.equal(inside[0], inside[2])
    assert (inside[0].sum(1) == 3).all() and inside[0].diagonal().all()
    # A row's draw is its own: another row in the batch changes nothing.
    mixed = [*row_generators(6, 0)[:1], *row_generators(6, 50)[1:]]
    assert torch.equal(model(OBJECTS, generator=mixed).logits.isfinite()[0], inside[0][0])
    counts = torch.zeros(6)
    for seed in range(300):
        counts += model.games_of(OBJECTS, None, None, torch.tensor([2]), [torch.Generator().manual_seed(seed)]).inside[0]
    assert counts[2] == 300 and ((counts[[0, 1, 3, 4, 5]] - 120).abs() < 45).all(), counts


@torch.no_grad()
def test_the_place_of_a_candidate_does_not_matter():
    model = tiny_game()
    turned = {"candidates": GAMES["candidates"][:2].flip(1), "labels": 2 - GAMES["labels"][:2]}
    output, other = model(**GAMES), model(OBJECTS, **turned)
    torch.testing.assert_close(output.reconstruction[:2], other.reconstruction)
    torch.testing.assert_close(output.logits[:2].flip(1), other.logits)


# ---- objects ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_features():
    model = tiny_game(object_type="features", feature_size=3)
    objects = torch.randn(5, 3)
    played = model.play(objects)
    assert played.log_probs.shape == (5, 5) and played.messages.shape == (5, 3)
    assert not torch.equal(model(objects).reconstruction, model(objects + 1).reconstruction)


@torch.no_grad()
def test_features_are_read_by_the_scale_of_those_it_was_fitted_to(tmp_path):
    model = tiny_game(object_type="features", feature_size=3)
    objects = torch.randn(200, 3) * torch.tensor([1.0, 5.0, 0.1]) + 7
    model.fit_features(objects)
    centred = objects - objects.mean(0)
    scaled = centred / centred.square().mean().sqrt()
    expected = model.sender_objects.layers(scaled)
    torch.testing.assert_close(model.vectors(objects, None), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        model.vectors(objects, None, by_receiver=True), model.receiver_objects.layers(scaled), rtol=1e-4, atol=1e-4
    )
    model.save_pretrained(tmp_path)
    loaded = ReferentialGameModel.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.vectors(objects, None), model.vectors(objects, None))
    with pytest.raises(ValueError, match="all the same"):
        model.fit_features(torch.ones(4, 3))
    with pytest.raises(ValueError, match="of the object_type 'features'"):
        tiny_game().fit_features(objects)


TEXTS = {
    "objects": torch.tensor([[5, 6, PAD], [7, 8, 9], [5, PAD, PAD]]),
    "object_mask": torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]]),
}


@torch.no_grad()
@pytest.mark.parametrize("family", ["bert", "hf_lvm_lstm_encoder"])
def test_texts_and_their_padding(family):
    model = tiny_game(object_type="text", object_encoder=tiny_config(family))
    output = model(**TEXTS)
    padded = {
        "objects": torch.tensor([[PAD, PAD, 5, 6], [PAD, 7, 8, 9], [PAD, PAD, PAD, 5]]),
        "object_mask": torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]),
    }
    for field in ("reconstruction", "kl", "logits"):
        torch.testing.assert_close(getattr(model(**padded), field), getattr(output, field), rtol=1e-5, atol=1e-5)
    same = torch.tensor([[5, 6, 9], [5, 6, 7]])
    with pytest.raises(ValueError, match="has 0 that differ"):
        model(same, torch.tensor([[1, 1, 0], [1, 1, 0]]))


def test_texts_by_a_processor(word_processor):
    model = tiny_game(object_type="text", object_encoder=tiny_config("bert"))
    texts = ["a b c", "d e", "f"]
    ids = word_processor(texts)
    messages = model.speak(texts, processor=word_processor)
    assert torch.equal(messages, model.speak(ids["input_ids"], ids["attention_mask"]))
    heard = model.listen(messages, texts, processor=word_processor)
    assert torch.equal(heard, model.listen(messages, ids["input_ids"], object_mask=ids["attention_mask"]))
    with pytest.raises(ValueError, match="with a processor"):
        model.speak(texts)


@pytest.mark.parametrize("shared", [False, True])
def test_sender_and_receiver_share_their_eyes_or_do_not(shared):
    model = tiny_game(share_object_encoder=shared)
    assert (model.receiver_objects is None) == shared
    names = [name for name, _ in model.inference_parameters()] + [name for name, _ in model.generative_parameters()]
    own = [name for name, _ in model.named_parameters()]
    assert sorted(names) == sorted(own)
    with torch.no_grad():
        before = model(OBJECTS, latents=every_message(model)[:6]).reconstruction
        model.sender_objects.layers[0].weight.mul_(2.0)
        after = model(OBJECTS, latents=every_message(model)[:6]).reconstruction
    assert torch.equal(before, after) != shared


# ---- parts --------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    ("sender", "injection"),
    [
        ("hf_lvm_lstm_decoder", "concatenation"),
        ("hf_lvm_lstm_decoder", ["initial_state", "embedding"]),
        ("gpt2", "memory"),
        ("gpt2", "cross_attention"),
        ("llama", ["prefix", "logits"]),
    ],
    ids=str,
)
def test_a_sender_of_any_family_hears_the_object(sender, injection):
    model = tiny_game(sender, injection=injection).double()
    messages = every_message(model).unsqueeze(1).expand(-1, 6, -1)
    log_q = model.encode(OBJECTS).log_prob(messages)
    torch.testing.assert_close(log_q.exp().sum(0), torch.ones(6, dtype=torch.float64))
    assert (log_q[:, 0] - log_q[:, 1]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(
    ("receiver", "pooling"),
    [
        ("hf_lvm_lstm_encoder", "last"),
        ("hf_lvm_lstm_encoder", "mean"),
        ("bert", "first"),
        ("bert", "attention"),
        ("gpt2", "last"),
    ],
)
def test_a_receiver_of_any_family_reads_beginnings_as_it_reads_messages(receiver, pooling):
    model = tiny_game(receiver=receiver, pooling=pooling, max_length=3)
    symbols = torch.tensor([[1, 0, 1], [0, 0, 1]])
    points = torch.nn.functional.one_hot(symbols, 5).float()
    said = model.vectors_of_beginnings(points, shortest=1)
    assert said.shape == (2, 3, 8)
    for row, place in [(0, 0), (0, 2), (1, 1)]:
        message = [*symbols[row, : place + 1].tolist(), 2, 4, 4][:4]
        torch.testing.assert_close(
            said[row, place], model.message_vectors(torch.tensor([[message]]))[0, 0], rtol=1e-5, atol=1e-5
        )


@torch.no_grad()
def test_parts_that_are_given_are_taken():
    first = tiny_game(prior_type="model", object_type="text", object_encoder=tiny_config("bert"))
    parts = {name: getattr(first, name) for name in ("sender", "receiver", "prior")}
    config = first.config
    model = ReferentialGameModel(config, object_encoder=first.sender_objects.encoder, **parts).eval()
    assert model.sender is first.sender and model.prior is first.prior
    assert not any(parameter.requires_grad for parameter in model.prior.parameters())
    mine, theirs = (part.encoder for part in (model.sender_objects, model.receiver_objects))
    assert mine is not theirs
    for one, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
@pytest.mark.parametrize("estimator", ["reinforce_learned", "gumbel_softmax"])
@pytest.mark.parametrize("prior", ["model", "none"])
def test_saving_and_loading(tmp_path, prior, estimator):
    options = {"learned_temperature": True} if estimator == "gumbel_softmax" else {}
    model = tiny_game(prior_type=prior, estimator=estimator, score="bilinear", **options)
    model.save_pretrained(tmp_path)
    loaded = ReferentialGameModel.from_pretrained(tmp_path)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(loaded.play(OBJECTS).log_probs, model.play(OBJECTS).log_probs)
    assert prior == "none" or not any(parameter.requires_grad for parameter in loaded.prior.parameters())


def test_a_prior_that_does_not_learn_stays_as_it_is():
    model = tiny_game(prior_type="model", estimator="rloo", num_samples=2, prior_weight=1.0).train()
    assert not model.prior.training
    model(OBJECTS).loss.backward()
    assert all(parameter.grad is None for parameter in model.prior.parameters())
    learning = tiny_game(prior_type="model", estimator="rloo", num_samples=2, train_prior=True).train()
    learning(OBJECTS).loss.backward()
    assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in learning.prior.parameters())


# ---- speaking and listening ---------------------------------------------------------------------------------------------


@torch.no_grad()
def test_speaking():
    model = tiny_game(max_length=3)
    q = model.encode(OBJECTS)
    every = every_message(model)
    log_q = q.log_prob(every.unsqueeze(1).expand(-1, 6, -1))
    best = model.speak(OBJECTS, num_beams=64)
    assert torch.equal(best, every[log_q.argmax(0)])
    assert torch.equal(model.speak(OBJECTS), q.mode)
    drawn = model.speak(OBJECTS, do_sample=True, generator=row_generators(6))
    assert torch.equal(drawn, q.sample(generator=row_generators(6)))
    symbols = model.symbols_of(best)
    assert [len(row) for row in symbols] == q.lengths(best).tolist() and all(symbol < 2 for row in symbols for symbol in row)
    with pytest.raises(ValueError, match="choose one"):
        model.speak(OBJECTS, do_sample=True, num_beams=3)


@torch.no_grad()
def test_playing_is_speaking_and_listening():
    model = tiny_game()
    played = model.play(**GAMES)
    targets = GAMES["candidates"].gather(1, GAMES["labels"].unsqueeze(1)).squeeze(1)
    assert torch.equal(played.messages, model.speak(OBJECTS[targets]))
    torch.testing.assert_close(played.log_probs, model.listen(played.messages, OBJECTS, GAMES["candidates"]))
    assert torch.equal(played.choices == GAMES["labels"], played.is_right) and torch.equal(played.labels, GAMES["labels"])
    model.train()
    assert model.play(**GAMES).log_probs.equal(played.log_probs) and model.training, "without dropout, and back again"


@torch.no_grad()
def test_a_receiver_that_hears_nothing_is_never_right():
    model = tiny_game()
    model.message_head.weight.zero_()
    model.message_head.bias.zero_()
    assert not model.play(OBJECTS).is_right.any()


# ---- training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"estimator": "straight_through"}, {"estimator": "exact"}, {"estimator": "exact", "game_loss": "hinge"}],
    ids=str,
)
def test_a_pair_invents_a_language(options):
    torch.manual_seed(0)
    parts = {"sender": {"model_type": "hf_lvm_lstm_decoder"}, "receiver": {"model_type": "hf_lvm_lstm_encoder"}}
    config = ReferentialGameConfig(
        attribute_sizes=[2, 3],
        num_symbols=4,
        max_length=2,
        object_size=32,
        **{name: part | {"hidden_size": 32} for name, part in parts.items()},
        **options,
    )
    model = ReferentialGameModel(config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    first = None
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(OBJECTS).loss
        loss.backward()
        optimizer.step()
        first = loss.item() if first is None else first
    played = model.play(OBJECTS)
    assert loss.item() < 0.75 * first
    # All are not found in so small a game: two objects that once share a message keep it.
    assert played.is_right.sum() >= 2 and len({tuple(row) for row in model.symbols_of(played.messages)}) >= 2


def test_under_autocast_scores_stay_precise():
    model = tiny_game(estimator="rloo", num_samples=2)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(OBJECTS, generator=row_generators(6))
    assert output.logits.dtype == output.loss.dtype == torch.float32


def test_the_ids_of_symbols():
    config = tiny_game(num_symbols=5).config
    assert (config.eos_token_id, config.bos_token_id, config.pad_token_id) == (5, 6, 7) and config.vocabulary == 8
    assert config.number_of_messages == 1 + 5 + 25
    assert (START, END) == (1, 2), "those of texts are others"
