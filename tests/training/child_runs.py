"""Training runs that need a process of their own, for `tests.child_processes`."""

import os
import resource
import signal
from pathlib import Path

import torch
from transformers import TrainerCallback

from hf_lvm.training.trainer import LatentTrainer
from tests.training import parts_model
from tests.training import toy_latent_model as toy

# Every phase of a run at once. The decoder begins anew in the middle of the aggressive phase.
PHASES = {
    "max_steps": 6, "lr_scheduler_type": "constant", "max_grad_norm": 5.0,
    "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
    "autoencoder_warmup_steps": 2, "reset_decoder_after_warmup": True, "kl_target": 2.0, "kl_integral_gain": 0.005,
    "aggressive": True, "aggressive_check_every": 2, "aggressive_max_inner_steps": 6, "aggressive_max_epochs": 1,
    "collapse_guard": "act", "collapse_guard_steps": 1, "collapse_guard_patience_steps": 1,
}  # fmt: skip


# Parts with an optimizer, rates and a limit of their own, which both sides of the model reach. The encoder learns for 3 steps.
PARTS = {
    **parts_model.OPTIMIZERS,
    "max_steps": 6,
    "encoder_epochs": 1.0,
    "save_strategy": "steps",
    "save_steps": 2,
    "save_total_limit": None,
}


class KilledWhileSaving(LatentTrainer):
    """Is killed while it saves step 4, after the model and before the optimizer."""

    def _save_optimizer_and_scheduler(self, output_dir):
        if self.state.global_step == 4:
            assert Path(output_dir, "model.safetensors").exists()
            os.kill(os.getpid(), signal.SIGKILL)
        super()._save_optimizer_and_scheduler(output_dir)


def train_and_be_killed(output_dir, options):
    toy.trainer(output_dir, trainer_class=KilledWhileSaving, **options).train()


def fill_the_disk():
    """No file may grow past 2,000 bytes any more, which is what a full disk looks like to a program."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))


class DiskFills(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 4:
            fill_the_disk()


def train_while_the_disk_fills(output_dir, options):
    trainer = toy.trainer(output_dir, **options)
    trainer.add_callback(DiskFills())
    trainer.train()


def save_on_a_full_disk(output_dir):
    trainer = toy.trainer(output_dir, model=toy.build(seed=9))
    fill_the_disk()
    trainer.save_model()


class Poison(TrainerCallback):
    """Makes a `PoisonableModel` diverge at a step: its loss, or only its gradient."""

    def __init__(self, step: int, kind: str) -> None:
        self.step, self.kind = step, kind

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            getattr(model, "module", model).poison = self.kind


class PoisonableModel(toy.ToyModel):
    poison = None

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs):
        output = super().forward(input_ids, attention_mask, labels, **kwargs)
        if self.training and self.poison == "loss":
            output.loss = output.loss + float("nan")  # the gradient stays finite
        elif self.training and self.poison == "gradient":
            zero = self.injection.weight.sum() * 0.0
            output.loss = output.loss + torch.sqrt(zero * zero)  # 0, with gradient nan
        return output


def train_as_one_of_two(folder, options):
    """Train, evaluate, resume from the middle, and diverge in one process only; leaves what came out in `folder`."""
    rank = int(os.environ["RANK"])
    folder = Path(folder)
    straight = toy.trainer(folder / "run", evaluation=toy.corpus(13, seed=1), **options)
    assert straight.args.world_size == 2
    straight.train()
    evaluation = straight.evaluate()
    resumed = toy.trainer(folder / "run", model=toy.build(seed=5), **options)
    resumed.train(resume_from_checkpoint=str(folder / "run" / "checkpoint-4"))
    outcome = [{"weights": trainer.model.state_dict(), "log": trainer.state.log_history} for trainer in (straight, resumed)]
    data = {"train": options["train"], "evaluation": toy.corpus(40, seed=1)}
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    phases = [toy.trainer(folder / name, **PHASES, **data, **cut) for name in ("phases", "resumed")]
    phases[0].train()
    phases[1].train(resume_from_checkpoint=str(folder / "phases" / "checkpoint-4"))
    kinds = (("parts", 0, {}), ("parts_resumed", 5, {}), ("parts_waiting", 0, {"ddp_find_unused_parameters": False}))
    parts = [
        toy.trainer(folder / name, options["train"], model=parts_model.build(seed), **PARTS, **cut, **more)
        for name, seed, more in kinds
    ]
    parts[0].train(), parts[2].train()
    parts[1].train(resume_from_checkpoint=str(folder / "parts" / "checkpoint-2"))
    outcome += [{"weights": trainer.model.state_dict(), "log": trainer.state.log_history} for trainer in [*phases, *parts]]
    names = ("straight", "resumed", "phases", "phases_resumed", "parts", "parts_resumed", "parts_waiting")
    torch.save(dict(zip(names, outcome, strict=True)) | {"evaluation": evaluation}, folder / f"outcome-{rank}.pt")
    diverging = toy.trainer(folder / "diverging", model=PoisonableModel(toy.ToyConfig()), max_steps=3)
    if rank == 1:
        diverging.add_callback(Poison(1, "loss"))
    diverging.train()
