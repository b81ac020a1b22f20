"""An encoder that learns in the first epochs of a run and stays as it is afterwards."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import parts_model
from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

# Three steps an epoch: the encoder learns in the first four. Adam has moments that would move it further.
RUN = {
    **parts_model.OPTIMIZERS, "num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
    "train": toy.corpus(24), "encoder_epochs": 4 / 3, "weight_decay": 0.1,
}  # fmt: skip


class Watched(parts_model.PartsModel):
    """Notes, at each forward pass of training, whether its encoder and its decoder take gradients."""

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        sides = (self.inference_parameters(), self.generative_parameters())
        if self.training:
            takes = tuple(all(parameter.requires_grad for _, parameter in side) for side in sides)
            self.seen = [*getattr(self, "seen", []), takes]
        return super().forward(input_ids, attention_mask, labels, **kwargs)


def build(seed: int = 0) -> Watched:
    model = Watched(toy.ToyConfig())
    model.load_state_dict(toy.build(seed).state_dict())
    return model


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("end"), model=build(), **RUN)
    trainer.train()
    return trainer


def weights(trainer, step) -> dict[str, torch.Tensor]:
    return load_file(Path(trainer.args.output_dir, f"checkpoint-{step}", "model.safetensors"))


def test_the_encoder_learns_in_its_epochs_and_then_stays_as_it_is(straight):
    for step in range(1, 9):
        before, after = weights(straight, step), weights(straight, step + 1)
        for name, _ in straight.model.inference_parameters():
            assert torch.equal(before[name], after[name]) == (step >= 4), (step, name)
        for name, _ in straight.model.generative_parameters():
            assert not torch.equal(before[name], after[name]), (step, name)


def test_no_gradients_are_computed_for_it_any_more(straight):
    assert straight.model.seen == [(True, True)] * 4 + [(False, True)] * 5
    norms = [entry["step"] for entry in straight.state.log_history if "encoder_grad_norm" in entry]
    assert norms == [1, 2, 3, 4]
    assert all(parameter.requires_grad for parameter in straight.model.parameters())  # the run is over


@pytest.mark.parametrize("pieces", [1, 2])
def test_resuming_on_both_sides_of_the_end_is_exact(straight, tmp_path, pieces):
    options, steps = RUN, [3, 4, 6]
    if pieces == 2:
        steps = [4]
        options = {**RUN, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
        straight = toy.trainer(tmp_path / "straight", model=build(), **options)
        straight.train()
        assert straight.model.seen == [(True, True)] * 8 + [(False, True)] * 10
    assert_resumes_exactly(straight, tmp_path, steps, build=build, **options)


def test_a_trainer_that_trains_again_begins_with_an_encoder_that_learns(tmp_path):
    options = {"num_train_epochs": 2, "encoder_epochs": 1.0, "train": toy.corpus(16)}
    trainer = toy.trainer(tmp_path, model=build(), **options)
    for _ in range(2):
        trainer.model.seen = []
        trainer.train()
        assert trainer.model.seen == [(True, True)] * 2 + [(False, True)] * 2


@pytest.mark.parametrize("fixed", [4, 0.5])
def test_first_steps_without_it_that_leave_it_none_are_refused(tmp_path, fixed):
    options = {"train": toy.corpus(24), "encoder_epochs": 4 / 3, "max_steps": 8, "model": toy.build()}
    trainer = toy.trainer(tmp_path, **options, fixed_encoder_steps=fixed)
    with pytest.raises(ValueError, match="as it is for 4 steps, and encoder_epochs 1.33333 are over after 4: it would never"):
        trainer.train()
    toy.trainer(tmp_path, **options, fixed_encoder_steps=3).train()


def test_a_frozen_encoder_has_no_epochs(tmp_path):
    model = toy.build()
    for _, parameter in model.inference_parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="encoder_epochs says how.*all of it is frozen"):
        toy.trainer(tmp_path, model=model, encoder_epochs=1.0)
