import time

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_lvm.data.batching import LengthBucketedSampler
from hf_lvm.data.processor import LatentTextProcessor
from hf_lvm.training.noise import NoiseStream, row_generators
from hf_lvm.training.trainer import LatentTrainer
from tests.training import child_runs
from tests.training import toy_latent_model as toy

WATCHED = ("loss", "grad_norm", "bound", "reconstruction", "kl", "kl_weight", "active_units")
EVERYTHING = {
    "kl_schedule": "linear", "kl_warmup_steps": 5, "free_bits": 0.3, "word_dropout": 0.3, "num_train_epochs": 2,
}  # fmt: skip


def steps(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_accumulation_changes_nothing_even_in_a_ragged_last_step(tmp_path):
    data = toy.corpus(45)  # 5 steps of 8, then one of 5 sentences: micro-batches of 2, 2 and 1
    whole, pieces = (
        toy.trainer(tmp_path, data, **EVERYTHING, per_device_train_batch_size=size, gradient_accumulation_steps=micro)
        for size, micro in ((8, 1), (2, 4))
    )
    whole.train(), pieces.train()
    assert len(steps(whole)) == len(steps(pieces)) == 12
    for one, other in zip(steps(whole), steps(pieces), strict=True):
        for name in WATCHED:
            assert one[name] == pytest.approx(other[name], rel=1e-5), name
    for one, other in zip(whole.model.parameters(), pieces.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_batches_are_bucketed_by_length_and_differ_between_epochs(tmp_path):
    class Recorder(LatentTrainer):
        def get_batch_samples(self, *args):
            batches, items = super().get_batch_samples(*args)
            self.seen = [*getattr(self, "seen", []), torch.cat([batch["attention_mask"].sum(1) for batch in batches])]
            return batches, items

    data = toy.corpus(64)
    trainer = toy.trainer(tmp_path, data, num_train_epochs=2, trainer_class=Recorder,
                          per_device_train_batch_size=4, gradient_accumulation_steps=2)  # fmt: skip
    trainer.train()
    assert all(lengths.max() - lengths.min() <= 2 for lengths in trainer.seen)
    first, second = trainer.seen[:8], trainer.seen[8:]
    assert sorted(torch.cat(first).tolist()) == sorted(torch.cat(second).tolist()) == sorted(data["length"])
    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_an_evaluation_drops_no_sentence(tmp_path):
    losses = []
    for drop_last in (False, True):
        trainer = toy.trainer(
            tmp_path, toy.corpus(20), toy.corpus(13), per_device_eval_batch_size=8, dataloader_drop_last=drop_last, max_steps=1
        )
        losses.append(trainer.evaluate()["eval_loss"])
        assert len(trainer.get_train_dataloader()) == (2 if drop_last else 3)
    assert losses[0] == losses[1]


def test_logged_averages_are_those_of_the_sentences(tmp_path):
    schedule = {"kl_schedule": "linear", "kl_warmup_steps": 10}
    trainer = toy.trainer(tmp_path, toy.corpus(24), max_steps=3, logging_steps=3, learning_rate=0.0, **schedule)
    trainer.train()
    model, expected, means = trainer.model.eval().requires_grad_(False), [], []
    order = list(LengthBucketedSampler(trainer.train_dataset["length"], 8, trainer.args.seed))
    for step in range(3):
        rows = trainer.train_dataset.select(order[8 * step : 8 * step + 8])
        generators = row_generators(trainer.args.seed, NoiseStream.LATENTS, step, range(8))
        output = model(**toy.collate(list(rows)), generator=generators)
        expected.append(torch.stack([output.reconstruction, output.kl]))
        means.append(output.posterior.mean)
    reconstruction, kl = torch.cat(expected, dim=1).mean(1).tolist()
    (logged,) = steps(trainer)
    assert logged["reconstruction"] == pytest.approx(reconstruction, rel=1e-6)
    assert logged["kl"] == pytest.approx(kl, rel=1e-6)
    assert logged["bound"] == pytest.approx(-reconstruction - kl, rel=1e-6)
    assert logged["kl_weight"] == pytest.approx(0.2)  # of step 2, the last one
    weighted = sum(float(pair[0].mean() + 0.1 * step * pair[1].mean()) for step, pair in enumerate(expected)) / 3
    assert logged["loss"] == pytest.approx(weighted, rel=1e-6)
    assert logged["active_units"] == int((torch.cat(means).var(0) >= 0.01).sum())


def test_evaluation_is_the_bound_whatever_the_batch_size_and_the_training_weights(tmp_path):
    data, model = toy.corpus(21, seed=3), toy.build()
    results = []
    for size, options in ((4, {}), (21, {"kl_schedule": "linear", "kl_warmup_steps": 9, "free_bits": 3.0})):
        trainer = toy.trainer(tmp_path, evaluation=data, model=model, per_device_eval_batch_size=size, **options)
        results += [trainer.evaluate(), trainer.evaluate()]
    generators = row_generators(trainer.args.seed, NoiseStream.EVALUATION_LATENTS, 0, range(21))
    with torch.no_grad():
        output = model.eval()(**toy.collate(list(data)), generator=generators)
    expected = {
        "eval_loss": output.loss.item(),
        "eval_bound": -output.loss.item(),
        "eval_reconstruction": output.reconstruction.mean().item(),
        "eval_kl": output.kl.mean().item(),
        "eval_active_units": int((output.posterior.mean.var(0) >= 0.01).sum()),
    }
    for result in results:
        assert {name: result[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_word_dropout_reaches_the_decoder_in_training_only(tmp_path):
    class Recorder(toy.ToyModel):
        def forward(self, input_ids=None, attention_mask=None, labels=None, decoder_input_ids=None, **kwargs):
            self.seen = decoder_input_ids
            return super().forward(input_ids, attention_mask, labels, decoder_input_ids=decoder_input_ids, **kwargs)

    model = Recorder(toy.ToyConfig())
    data = toy.corpus(40)
    trainer = toy.trainer(tmp_path, data, data, model=model, word_dropout=0.5, max_steps=1,
                          per_device_train_batch_size=40, train_sampling_strategy="sequential")  # fmt: skip
    trainer.train()
    labels = toy.collate(list(data))["labels"]
    whole = model.shift_right(labels)
    changed = model.seen != whole
    words = (whole != toy.PAD) & (whole != toy.START)
    assert (model.seen[changed] == toy.UNKNOWN).all() and not changed[~words].any()
    assert 0.3 < changed[words].float().mean() < 0.7
    trainer.evaluate()
    assert model.seen is None


def test_word_dropout_without_a_replacement_token_is_refused(tmp_path):
    args = toy.trainer(tmp_path, word_dropout=0.1).args
    with pytest.raises(ValueError, match=r"LatentTrainer\(word_dropout_token_id=...\)"):
        LatentTrainer(toy.build(), args, train_dataset=toy.corpus(8), data_collator=toy.collate)


def test_warm_up_shares_count_from_all_steps_of_the_run(tmp_path):
    trainer = toy.trainer(tmp_path, max_steps=8, autoencoder_warmup_steps=0.25, kl_schedule="linear", kl_warmup_steps=0.5)
    trainer.train()
    assert [entry["kl_weight"] for entry in steps(trainer)] == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1])
    assert trainer.objective_options(3) == {"kl_weight": 0.25, "free_bits": 0.0, "free_bits_mode": "none"}


def test_schedules_are_as_long_as_the_training(tmp_path):
    # 45 sentences are 6 steps of 8, the last of 5 in 3 micro-batches: nothing counts sentences, batches or remainders.
    pieces = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "num_train_epochs": 3}
    schedule = {"kl_schedule": "cyclical_linear", "kl_cycles": 3, "kl_cycle_ratio": 0.5}
    trainer = toy.trainer(tmp_path, toy.corpus(45), **pieces, **schedule, lr_scheduler_type="linear")
    trainer.train()
    logged = steps(trainer)
    assert trainer.state.global_step == trainer.state.max_steps == len(logged) == 18
    assert [entry["kl_weight"] for entry in logged] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1] * 3)
    assert set(trainer.lr_scheduler.get_last_lr()) == {0.0}


def test_gradients_are_clipped_after_the_backward_pass(tmp_path):
    """With SGD at rate 1 an update is as long as the clipped gradient, also where it is gathered in pieces."""
    pieces = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    trainer = toy.trainer(tmp_path, **pieces, learning_rate=1.0, max_grad_norm=0.01, max_steps=1)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.train()
    moved = [now.detach() - then for now, then in zip(trainer.model.parameters(), before, strict=True)]
    assert torch.stack([change.norm() for change in moved]).norm() == pytest.approx(0.01, rel=1e-3)
    assert steps(trainer)[0]["grad_norm"] > 1.0


@pytest.mark.parametrize("options", [{}, {"bf16": True, "gradient_accumulation_steps": 2, "max_grad_norm": 0.0}])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_run_stops_before_a_nan_reaches_the_weights(tmp_path, kind, options):
    model = child_runs.PoisonableModel(toy.ToyConfig())
    trainer = toy.trainer(tmp_path, model=model, max_steps=6, save_strategy="steps", save_steps=2, **options)
    trainer.add_callback(child_runs.Poison(3, kind))
    what = "loss is nan" if kind == "loss" else "norm of the gradient is nan"
    with pytest.raises(FloatingPointError, match=f"stopped at step 4: the {what}.*last good checkpoint is .*checkpoint-2"):
        trainer.train()
    assert trainer.state.global_step == 3
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_bf16_trains_with_a_posterior_in_float32(tmp_path):
    trainer = toy.trainer(tmp_path, bf16=True, num_train_epochs=3, evaluation=toy.corpus(9), eval_strategy="epoch")
    trainer.train()
    logged = steps(trainer)
    assert logged[-1]["loss"] < 0.7 * logged[0]["loss"]
    evaluations = [entry for entry in trainer.state.log_history if "eval_bound" in entry]
    assert len(evaluations) == 3 and evaluations[-1]["eval_bound"] > evaluations[0]["eval_bound"]


def test_noise_costs_less_than_one_percent_of_a_step_of_100_ms():
    times = []
    for step in range(30):
        start = time.perf_counter()
        for stream in (NoiseStream.LATENTS, NoiseStream.WORD_DROPOUT):
            row_generators(42, stream, step, range(32))
        times.append(time.perf_counter() - start)
    assert sorted(times)[15] < 0.001


def test_a_trained_model_uses_its_latent(tmp_path):
    """The whole path once: warm start, schedule, free bits, Adam; at the end a stranger's latent must hurt."""
    data = toy.corpus(128)
    schedule = {"autoencoder_warmup_steps": 0.2, "kl_schedule": "linear", "kl_warmup_steps": 0.3, "free_bits": 0.2}
    trainer = toy.trainer(tmp_path, data, optim="adamw_torch", learning_rate=0.03, num_train_epochs=8, **schedule)
    trainer.train()
    batch, model = toy.collate(list(data)), trainer.model.eval()
    with torch.no_grad():
        output = model(**batch, generator=row_generators(0, NoiseStream.LATENTS, 0, range(128)))
        inputs, labels = model.shift_right(batch["labels"]), batch["labels"]
        _, permuted = model.decode(output.latents.roll(1, 0), inputs, labels)
    assert permuted.mean() > output.reconstruction.mean() + 1.0
    assert steps(trainer)[-1]["active_units"] == 4


def tokenizer(*words):
    """A word tokenizer whose special tokens come after `words`: each call may number them differently."""
    vocabulary = {token: index for index, token in enumerate([*words, "<pad>", "<s>", "</s>", "<unk>"])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, "<unk>")),
        pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
    )  # fmt: skip


def test_the_decoder_keeps_its_special_tokens_beside_an_encoder_with_others(tmp_path):
    processor = LatentTextProcessor(tokenizer("a", "b", "c", "d"), tokenizer())
    args = toy.trainer(tmp_path, max_steps=1, word_dropout=0.1).args
    model = toy.build()
    model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id = 0, 1, 2
    data = {"train_dataset": toy.corpus(8), "data_collator": toy.collate, "processing_class": processor}
    trainer = LatentTrainer(model, args, **data)
    trainer.train()
    assert (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id) == (0, 1, 2)
    assert trainer.word_dropout_token_id == 3  # the unknown token of the decoder's tokenizer, not of the encoder's
    trainer.save_model()
    assert AutoTokenizer.from_pretrained(tmp_path).unk_token_id == 7
    assert AutoTokenizer.from_pretrained(tmp_path / "decoder_tokenizer").unk_token_id == 3
