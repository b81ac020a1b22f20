"""The encoder's gradients clipped apart; what a run does by hand is in test_composite_optimizer."""

import math
from types import SimpleNamespace

import pytest
import torch

from hf_lvm.training.clipping import EncoderClipping
from tests.training import child_runs, parts_model
from tests.training import toy_latent_model as toy


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_accumulation_changes_nothing(tmp_path):
    runs = []
    for size, micro in ((8, 1), (2, 4)):
        pieces = {"per_device_train_batch_size": size, "gradient_accumulation_steps": micro, "num_train_epochs": 1}
        run = toy.trainer(tmp_path, toy.corpus(45), model=parts_model.build(), **parts_model.OPTIMIZERS, **pieces)
        run.train()
        runs.append(run)
    for name in ("loss", "grad_norm", "encoder_grad_norm"):
        one, other = (logged(run, name) for run in runs)
        assert one == pytest.approx(other, rel=1e-5) and len(one) == 6, name
    assert min(logged(runs[0], "grad_norm")) > 2.0 and min(logged(runs[0], "encoder_grad_norm")) > 0.5
    for one, other in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_in_aggressive_training_each_kind_of_step_is_clipped_by_its_own_norm(tmp_path):
    """With SGD at rate 1 an update is as long as the clipped gradient."""
    moved = {"inner": [], "outer": []}

    class Watched(toy.LatentTrainer):
        def update_weights(self):
            before = [parameter.detach().clone() for parameter in self.model.parameters()]
            super().update_weights()
            moved["inner"].append(self.distance(before))

        def training_step(self, *args, **kwargs):
            self.before = [parameter.detach().clone() for parameter in self.model.parameters()]
            return super().training_step(*args, **kwargs)

        def get_batch_samples(self, *args):
            if hasattr(self, "before"):
                moved["outer"].append(self.distance(self.before))
            return super().get_batch_samples(*args)

        def distance(self, before):
            pairs = zip(self.model.parameters(), before, strict=True)
            return torch.stack([(now.detach() - then).norm() for now, then in pairs]).norm().item()

    trainer = toy.trainer(
        tmp_path, toy.corpus(24), toy.corpus(8), trainer_class=Watched, max_steps=3, lr_scheduler_type="constant",
        learning_rate=1.0, max_grad_norm=0.03, encoder_max_grad_norm=0.01, aggressive=True, aggressive_max_inner_steps=4,
    )  # fmt: skip
    trainer.train()
    assert moved["inner"] == pytest.approx([0.01] * 9, rel=1e-3)
    assert moved["outer"] == pytest.approx([0.03] * 2, rel=1e-3)
    assert min(logged(trainer, "encoder_grad_norm")) > 0.01 and len(logged(trainer, "encoder_grad_norm")) == 3


def test_a_gradient_that_is_not_finite_stops_the_run_whichever_part_it_is_of(tmp_path):
    class Poisoned(toy.ToyModel):
        def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
            output = super().forward(input_ids, attention_mask, labels, **kwargs)
            zero = self.posterior_head.weight.sum() * 0.0
            output.loss = output.loss + torch.sqrt(zero * zero)  # 0, with gradient nan
            return output

    for options in ({}, {"max_grad_norm": 0.0}):
        trainer = toy.trainer(tmp_path, model=Poisoned(toy.ToyConfig()), encoder_max_grad_norm=1.0, max_steps=1, **options)
        with pytest.raises(FloatingPointError, match="norm of the gradient is nan"):
            trainer.train()
    trainer = toy.trainer(tmp_path, model=child_runs.PoisonableModel(toy.ToyConfig()), encoder_max_grad_norm=1.0, max_steps=1)
    trainer.add_callback(child_runs.Poison(0, "gradient"))
    with pytest.raises(FloatingPointError, match="norm of the gradient is nan"):
        trainer.train()


def test_the_scale_of_float16_is_taken_off_once_and_before_either_norm():
    model = toy.build()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def clip(parameters, max_norm):  # as `Accelerator.clip_grad_norm_` under float16
        scaler.unscale_(optimizer)  # an error when it is asked twice in a step
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    scaler.scale(sum(parameter.sum() for parameter in model.parameters())).backward()
    clipping = EncoderClipping(model, 0.5)
    encoder = sum(parameter.numel() for _, parameter in model.inference_parameters()) ** 0.5
    others = sum(parameter.numel() for _, parameter in model.generative_parameters()) ** 0.5
    norm = clipping.clip_others(SimpleNamespace(clip_grad_norm_=clip), 2.0)
    assert norm.item() == pytest.approx(others)
    assert clipping.clip_encoder(norm).item() == pytest.approx(math.hypot(encoder, others))
    assert clipping.last_norm() == {"encoder_grad_norm": pytest.approx(encoder)} and clipping.last_norm() == {}
    for side, expected in ((model.inference_parameters(), 0.5), (model.generative_parameters(), 2.0)):
        assert torch.stack([parameter.grad.norm() for _, parameter in side]).norm().item() == pytest.approx(expected, rel=1e-4)


def test_without_a_limit_of_their_own_the_encoders_gradients_are_left_alone(tmp_path):
    options = {"learning_rate": 1.0, "max_grad_norm": 0.01, "encoder_max_grad_norm": 0.0, "max_steps": 1}
    trainer = toy.trainer(tmp_path, model=toy.build(), **options)
    trainer.train()
    moved = [now - then for now, then in zip(trainer.model.parameters(), toy.build().parameters(), strict=True)]
    names = [name for name, _ in trainer.model.named_parameters()]
    encoder = {name for name, _ in trainer.model.inference_parameters()}
    norms = [
        torch.stack([change.norm() for name, change in zip(names, moved, strict=True) if (name in encoder) == side]).norm()
        for side in (True, False)
    ]
    assert norms[0].item() == pytest.approx(logged(trainer, "encoder_grad_norm")[0], rel=1e-4)
    assert norms[0] > 0.1 and norms[1].item() == pytest.approx(0.01, rel=1e-3)
