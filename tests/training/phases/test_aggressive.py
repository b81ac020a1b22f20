"""Aggressive training: the inner loop, what it computes, when it stops, when the phase ends, and resuming inside of it."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_lvm.objectives.diagnostics import mutual_information
from hf_lvm.training.noise import NoiseStream, row_generators
from hf_lvm.training.phases.inner_batches import InnerBatches
from hf_lvm.training.trainer import LatentTrainer
from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

RUN = {
    "aggressive": True, "aggressive_check_every": 2, "aggressive_max_inner_steps": 8, "optim": "adamw_torch",
    "learning_rate": 0.02, "lr_scheduler_type": "constant", "num_train_epochs": 4, "save_strategy": "steps", "save_steps": 1,
    "save_total_limit": None, "word_dropout": 0.2, "kl_schedule": "linear", "kl_warmup_steps": 5, "train": toy.corpus(20),
    "evaluation": toy.corpus(40, seed=1), "max_grad_norm": 5.0,
}  # fmt: skip


class Watched(LatentTrainer):
    """Notes, for each inner step and each step of the run, its loss, its tokens and which weights moved."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def _weights(self):
        return {name: value.detach().clone() for name, value in self.model.named_parameters()}

    def backward_of_step(self, batches):
        before = self._weights()
        totals = super().backward_of_step(batches)
        self.seen.append({"step": self.state.global_step, "inner": True, "totals": totals.tolist(), "batches": batches,
                          "gradients": self._gradients(), "before": before, "noise": self._noise_step})  # fmt: skip
        return totals

    def training_step(self, model, inputs, num_items_in_batch=None):
        before = self._weights()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.seen.append({"step": self.state.global_step, "inner": False, "gradients": self._gradients(), "before": before})
        return loss

    def _gradients(self):
        return {name for name, parameter in self.model.named_parameters() if parameter.grad is not None}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("aggressive"), trainer_class=Watched, **RUN)
    trainer.train()
    return trainer


def inner_steps(trainer, step):
    return [entry for entry in trainer.seen if entry["step"] == step and entry["inner"]]


def information(trainer):
    return [
        entry["aggressive_mutual_information"]
        for entry in trainer.state.log_history
        if "aggressive_mutual_information" in entry
    ]


def test_one_side_has_gradients_and_moves_at_a_time(straight):
    model = straight.model
    inference = {name for name, _ in model.inference_parameters()}
    generative = {name for name, _ in model.generative_parameters()}
    active = [entry for entry in straight.seen if entry["step"] < 3 * len(information(straight))]
    for entry, following in zip(active, active[1:], strict=False):
        side = inference if entry["inner"] else generative
        assert entry["gradients"] == side
        moved = {name for name, value in following["before"].items() if not torch.equal(value, entry["before"][name])}
        assert moved == side
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_inner_loop_stops_by_the_loss_per_word_and_not_before_the_second_look(straight):
    lengths = set()
    for step in range(3 * len(information(straight))):
        steps = inner_steps(straight, step)
        previous, expected = math.inf, 7  # fewer than aggressive_max_inner_steps
        for last in range(1, len(steps), 2):
            nats, tokens = (sum(entry["totals"][i] for entry in steps[last - 1 : last + 1]) for i in (0, 1))
            if nats / tokens > previous:
                expected = last + 1
                break
            previous = nats / tokens
        assert len(steps) == expected
        lengths.add(len(steps))
    assert lengths >= {4, 7}  # both ways to stop happened
    logged = {entry["step"]: entry["inner_steps"] for entry in straight.state.log_history if "inner_steps" in entry}
    assert all(logged[step + 1] == len(inner_steps(straight, step)) for step in range(3))


def test_inner_batches_begin_with_the_batch_of_the_step_and_are_drawn_from_all(straight):
    batches = InnerBatches(straight)
    assert len(batches) == 3
    known = [batches[number][0]["input_ids"] for number in range(3)]
    drawn = set()
    for step in range(3 * len(information(straight))):
        first, *others = inner_steps(straight, step)
        assert first["batches"] is not others[0]["batches"]
        for entry in others:
            ids = entry["batches"][0]["input_ids"].cpu()
            drawn.add(next(number for number, other in enumerate(known) if torch.equal(ids, other)))
    assert drawn == {0, 1, 2}
    noises = [entry["noise"] for entry in straight.seen if entry["inner"]]
    assert len(set(noises)) == len(noises)


def test_the_phase_ends_for_ever_when_the_mutual_information_falls(straight):
    seen = information(straight)
    falls = [now < before for before, now in zip([0.0, *seen], seen, strict=False)]
    assert falls == [False] * (len(falls) - 1) + [True] and len(seen) < 4
    assert not straight.aggressive.active
    later = [entry for entry in straight.seen if entry["step"] >= 3 * len(seen)]
    assert later and not any(entry["inner"] for entry in later)
    everything = {name for name, _ in straight.model.named_parameters()}
    assert all(entry["gradients"] == everything for entry in later)


def test_a_run_resumed_in_the_middle_of_the_phase_ends_bit_for_bit_like_the_straight_one(straight, tmp_path):
    # In the middle of an epoch, at its end, where the information was measured, and after the phase.
    options = RUN
    assert_resumes_exactly(straight, tmp_path, [1, 3, 3 * len(information(straight)) + 1], **options)


def test_accumulation_changes_nothing(straight, tmp_path):
    options = {**RUN, "train": toy.corpus(24), "optim": "sgd", "num_train_epochs": 1, "save_strategy": "no"}
    runs = []
    for size, micro in ((8, 1), (2, 4)):
        trainer = toy.trainer(
            tmp_path, **options, per_device_train_batch_size=size, gradient_accumulation_steps=micro, trainer_class=Watched
        )
        trainer.train()
        runs.append(trainer)
    assert len(inner_steps(runs[0], 0)) == len(inner_steps(runs[1], 0)) > 3
    for one, other in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_inner_steps_compute_no_weight_gradients_of_the_decoder(tmp_path):
    trainer = toy.trainer(tmp_path, **{**RUN, "word_dropout": 0.0})
    trainer.create_optimizer()
    batch = toy.collate(list(trainer.train_dataset))
    flops = {}
    for name, fixed in (("full", []), ("inner", trainer.aggressive._generative), ("outer", trainer.aggressive._inference)):
        for parameter in fixed:
            parameter.requires_grad_(False)
        trainer.begin_step([batch])
        with FlopCounterMode(display=False) as counter:
            trainer.backward_of_step([batch])
        trainer.model.zero_grad()
        trainer.model.requires_grad_(True)
        flops[name] = counter.get_total_flops()
    sentences, length = batch["labels"].shape
    config = trainer.model.config
    # A weight gradient costs what the forward pass of the layer costs: 2 * rows * in * out.
    head = 2 * sentences * length * config.hidden_size * config.vocab_size
    injection = 2 * sentences * config.latent_size * config.hidden_size
    posterior = 2 * sentences * config.hidden_size * 2 * config.latent_size
    assert flops["full"] - flops["inner"] == head + injection
    # Without the encoder: its weight gradient, its input gradient, and the decoder's gradient of the latent.
    assert flops["full"] - flops["outer"] == 2 * posterior + injection


def test_gradients_are_clipped_after_the_backward_pass_in_both_kinds_of_steps(tmp_path):
    """With SGD at rate 1 an update is as long as the clipped gradient."""
    options = {**RUN, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.01, "max_steps": 2, "save_strategy": "no"}
    trainer = toy.trainer(tmp_path, trainer_class=Watched, **options)
    trainer.train()
    for entry, following in zip(trainer.seen, trainer.seen[1:], strict=False):
        moved = [following["before"][name] - value for name, value in entry["before"].items()]
        assert torch.stack([change.norm() for change in moved]).norm() == pytest.approx(0.01, rel=1e-3)


def test_mutual_information_is_that_of_batches_of_like_length(straight):
    data = straight.eval_dataset
    order = sorted(range(40), key=lambda row: data[row]["length"])
    total = 0.0
    for rows in (order[:32], order[32:]):
        batch = toy.collate([data[row] for row in rows])
        with torch.no_grad():
            output = straight.model.eval()(
                **batch, generator=row_generators(straight.args.seed, NoiseStream.EVALUATION_LATENTS, 0, rows)
            )
        total += len(rows) * mutual_information(output.posterior, output.latents)
    straight.model.train()
    assert straight.aggressive._held_out.batch_mutual_information() == pytest.approx(total / 40, rel=1e-6)
    assert straight.model.training


@pytest.mark.parametrize(("epochs", "steps"), [(1, {0, 1, 2}), (0.3, {0}), (0.5, {0, 1})])
def test_the_phase_ends_after_the_epochs_it_was_given(tmp_path, epochs, steps):
    options = {**RUN, "aggressive_max_epochs": epochs, "num_train_epochs": 2, "save_strategy": "no"}
    trainer = toy.trainer(tmp_path, trainer_class=Watched, **options)
    trainer.train()
    assert len(information(trainer)) == 1
    assert {entry["step"] for entry in trainer.seen if entry["inner"]} == steps


def frozen(side):
    model = toy.build()
    for _, parameter in getattr(model, side)():
        parameter.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": frozen("inference_parameters")}, "nothing of the encoder's side can be trained: do not freeze the encoder"),
        (
            {"model": frozen("generative_parameters")},
            "nothing of the decoder's side can be trained: do not freeze the decoder",
        ),
        ({"model": torch.nn.Linear(2, 2)}, "Linear has no inference_parameters"),
        ({"evaluation": None}, "give the trainer one eval_dataset"),
        ({"aggressive_check_every": 0}, "aggressive_check_every is 0; it is 1 or more"),
        ({"aggressive_max_epochs": 0}, "aggressive_max_epochs is 0; it is more than 0"),
    ],
)
def test_what_cannot_be_trained_in_turns_is_refused(tmp_path, options, expected):
    with pytest.raises(ValueError, match=expected):
        toy.trainer(tmp_path, **{**RUN, **options})
