"""Every phase of a run at once, with a real text VAE: transformers and LSTMs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_lvm import LatentTrainer, LatentTrainingArguments
from hf_lvm.training.phases.aggressive import without_gradients
from tests.tiny_parts import random_rows, tiny_vae
from tests.training_runs import collate, corpus

RUN = {
    "max_steps": 6, "autoencoder_warmup_steps": 2, "reset_decoder_after_warmup": True, "free_bits": 0.25,
    "free_bits_mode": "per_dimension_zeroed", "kl_schedule": "cyclical_linear", "kl_cycles": 1, "kl_cycle_ratio": 0.5,
    "aggressive": True, "aggressive_check_every": 2, "aggressive_max_inner_steps": 5, "collapse_guard": "act",
    "collapse_guard_steps": 1, "collapse_guard_patience_steps": 1, "plateau_patience": 1, "plateau_max_decays": 9,
    "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None,
    "lr_scheduler_type": "constant", "learning_rate": 0.02, "optim": "adamw_torch", "per_device_train_batch_size": 8,
    "logging_steps": 1, "use_cpu": True, "disable_tqdm": True,
}  # fmt: skip
PARTS = {
    "transformers": {"encoder": "bert", "decoder": "gpt2", "injection": "embedding"},
    "lstm": {
        "encoder": "hf_lvm_lstm_encoder", "decoder": "hf_lvm_lstm_decoder", "injection": ["concatenation", "initial_state"],
        "pooling": "last",
    },
}  # fmt: skip
FUSED_BACKWARD = "aten::mkldnn_rnn_layer_backward"


def trainer(folder, parts, **options):
    args = LatentTrainingArguments(str(folder), **{**RUN, **options})
    return LatentTrainer(
        tiny_vae(**PARTS[parts]), args, train_dataset=corpus(24), eval_dataset=corpus(12, seed=9), data_collator=collate
    )


@pytest.mark.parametrize("parts", PARTS)
def test_a_run_of_all_phases_resumes_bit_for_bit(tmp_path, parts):
    straight = trainer(tmp_path / "straight", parts)
    straight.train()
    resumed = trainer(tmp_path / "resumed", parts)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "checkpoint-2"))
    assert straight.state.global_step == resumed.state.global_step == 6
    for (name, one), other in zip(straight.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other), name
    logs = [
        [(entry["step"], entry["loss"], entry["inner_steps"]) for entry in run.state.log_history if "inner_steps" in entry]
        for run in (straight, resumed)
    ]
    assert logs[0] == logs[1] and len(logs[0]) >= 3


def test_inner_steps_leave_out_the_weight_gradients_of_the_decoder():
    model = tiny_vae(**PARTS["transformers"]).train()
    batch = collate([{"labels": row} for row in random_rows(8, shortest=6, longest=6)])
    generative = [parameter for _, parameter in model.generative_parameters()]
    flops, products = {}, {}
    for name, fixed in (("full", []), ("inner", generative)):
        with without_gradients(fixed):
            with FlopCounterMode(display=False) as counter:
                model(**batch).loss.backward()
            with torch.profiler.profile() as profile:
                model(**batch).loss.backward()
        flops[name] = counter.get_total_flops()
        names = ("aten::mm", "aten::addmm", "aten::bmm")
        products[name] = sum(event.count for event in profile.key_averages() if event.key in names)
        if name == "inner":
            assert all(parameter.grad is None for parameter in generative)
        model.zero_grad()
    # One product for each matrix of the decoder's side; what it costs is what the forward pass through the matrix costs.
    matrices = [module for part in (model.decoder, model.conditioning) for module in part.modules() if is_matrix(module)]
    assert products["full"] - products["inner"] == len(matrices)
    positions = batch["labels"].numel()
    latent = sum(module.weight.numel() for module in model.conditioning.modules() if isinstance(module, torch.nn.Linear))
    decoder = sum(module.weight.numel() for module in model.decoder.modules() if is_matrix(module))
    assert flops["full"] - flops["inner"] == 2 * (positions * decoder + len(batch["labels"]) * latent)


def test_inner_steps_leave_out_the_weight_gradients_of_an_lstm_decoder(monkeypatch):
    model = tiny_vae(**PARTS["lstm"]).train()
    batch = collate([{"labels": row} for row in random_rows(8, shortest=6, longest=6)])
    generative = [parameter for _, parameter in model.generative_parameters()]
    kernels, flops = {}, {}
    for name, fixed in (("full", []), ("inner", generative)):
        with without_gradients(fixed):
            with torch.profiler.profile() as profile:
                model(**batch).loss.backward()
            kernels[name] = [event.count for event in profile.key_averages() if event.key == FUSED_BACKWARD]
            with monkeypatch.context() as patch, FlopCounterMode(display=False) as counter:
                patch.setattr(torch.backends.mkldnn, "enabled", False)  # or most products are inside kernels nobody counts
                model(**batch).loss.backward()
        flops[name] = counter.get_total_flops()
        if name == "inner":
            assert all(parameter.grad is None for parameter in generative)
        model.zero_grad()
    if torch.backends.mkldnn.is_available():
        # torch's kernel, which computes the gradients of all weights: of both parts, then of the encoder alone.
        assert kernels == {"full": [2], "inner": [1]}
    sentences, length = batch["labels"].shape
    lstm = model.decoder.layers[0]
    words = lstm.input_size - model.config.latent_size
    of_weights = sentences * length * (lstm.weight_ih_l0.numel() + lstm.weight_hh_l0.numel())
    of_weights += sentences * length * model.decoder.lm_head.weight.numel()
    of_weights += sentences * sum(layer.weight.numel() for layer in model.conditioning.modules() if is_matrix(layer))
    # Embeddings of frozen words take no gradient either, and the condition, the same at every word, is one product.
    of_words = sentences * length * 4 * lstm.hidden_size * words
    of_condition = sentences * (length - 1) * 4 * lstm.hidden_size * model.config.latent_size
    assert flops["full"] - flops["inner"] == 2 * (of_weights + of_words + 2 * of_condition)


def is_matrix(module):
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
