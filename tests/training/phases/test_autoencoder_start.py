"""The warm start as an autoencoder and the new beginning of the decoder after it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

RUN = {
    "optim": "adamw_torch", "learning_rate": 0.02, "max_steps": 10, "autoencoder_warmup_steps": 5, "free_bits": 0.2,
    "reset_decoder_after_warmup": True, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
    "lr_scheduler_type": "constant",
}  # fmt: skip


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    trainer = toy.trainer(tmp_path_factory.mktemp("warm"), **RUN)
    trainer.train()
    return trainer


def checkpoint(trainer, step):
    folder = Path(trainer.args.output_dir, f"checkpoint-{step}")
    return load_file(folder / "model.safetensors"), torch.load(folder / "optimizer.pt")["state"]


def test_the_decoder_begins_anew_and_the_encoder_goes_on(straight):
    names = [name for name, _ in straight.model.named_parameters()]
    generative = {name for name, _ in straight.model.generative_parameters()}
    (before, moments), (after, later) = checkpoint(straight, 5), checkpoint(straight, 6)
    for name in names:
        moved = (after[name] - before[name]).abs().max()
        if name in generative:
            assert moved > 0.5, name  # weights of a standard deviation of 0.5, drawn again
        else:
            assert 0 < moved < 0.1, name  # one step of Adam
    # AdamW numbers the parameters with weight decay first; what counts is how many have made one step and how many six.
    counts = sorted(int(state["step"]) for state in later.values())
    assert counts == [1] * len(generative) + [6] * (len(names) - len(generative))
    assert {int(state["step"]) for state in moments.values()} == {5}


def test_the_new_weights_follow_from_the_seed(straight, tmp_path):
    begun = {}
    for seed in (42, 43):
        trainer = toy.trainer(tmp_path / str(seed), **{**RUN, "max_steps": 6, "learning_rate": 0.0}, seed=seed)
        trainer.train()
        begun[seed] = trainer.model.head.weight.detach().clone()
    assert not torch.equal(begun[42], begun[43])
    torch.testing.assert_close(begun[42], checkpoint(straight, 6)[0]["head.weight"], rtol=0, atol=0.05)


@pytest.mark.parametrize("pieces", [1, 2])
def test_resuming_before_at_and_after_the_end_of_the_warm_start_is_exact(straight, tmp_path, pieces):
    options = RUN
    if pieces == 2:
        options = {**RUN, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
        straight = toy.trainer(tmp_path / "straight", **options)
        straight.train()
    assert_resumes_exactly(straight, tmp_path, [4, 5, 6], **options)


def test_a_decoder_that_cannot_begin_anew_is_refused(tmp_path):
    model = toy.build()
    for _, parameter in model.generative_parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="a frozen decoder could not learn with them"):
        toy.trainer(tmp_path, model=model, **RUN)
    with pytest.raises(ValueError, match="adagrad"):
        toy.trainer(tmp_path, **{**RUN, "optim": "adagrad"})
