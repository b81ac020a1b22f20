"""The configurations of sharded training: what accelerate makes of them here, and two steps with them on GPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from torch.distributed.fsdp import OffloadPolicy
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "recipes" / "accelerate_configs"


def environment_of(name: str, prepare, monkeypatch) -> dict[str, str]:
    """What `accelerate launch` tells the processes that it starts by a config, now also told to this one."""
    arguments = launch_command_parser().parse_args(["--config_file", str(CONFIGS / f"{name}.yaml"), "script.py"])
    arguments, *_ = _validate_launch_command(arguments)
    # `accelerate launch` sets it on its way to a config of DeepSpeed.
    arguments.deepspeed_fields_from_accelerate_config = ""
    told = prepare(arguments)
    environment = told[1] if isinstance(told, tuple) else told
    for key, value in environment.items():
        if key.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(key, value)
    assert int(arguments.num_processes) == 8 and arguments.mixed_precision == "bf16"
    return environment


def test_fsdp2_shards_every_layer_and_saves_whole_checkpoints(monkeypatch):
    environment = environment_of("fsdp2", prepare_multi_gpu_env, monkeypatch)
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert plugin.auto_wrap_policy is transformer_auto_wrap_policy and plugin.transformer_cls_names_to_wrap is None
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    assert not plugin.cpu_ram_efficient_loading and not plugin.activation_checkpointing
    assert type(plugin.cpu_offload) is OffloadPolicy, "parameters stay on the GPUs"


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_leaves_batches_to_the_recipe(stage, monkeypatch):
    environment = environment_of(f"deepspeed_zero{stage}", prepare_deepspeed_cmd_env, monkeypatch)
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    plugin = DeepSpeedPlugin()
    config = plugin.deepspeed_config
    assert plugin.zero_stage == config["zero_optimization"]["stage"] == stage
    assert not plugin.zero3_init_flag and plugin.zero3_save_16bit_model == (stage == 3)
    assert config["gradient_accumulation_steps"] == config["gradient_clipping"] == config["train_batch_size"] == "auto"
    assert config["zero_optimization"]["offload_optimizer"]["device"] == "none"


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fsdp2", "deepspeed_zero2", "deepspeed_zero3"])
def test_two_steps_of_the_smallest_recipe(name, tmp_path):
    if name.startswith("deepspeed"):
        pytest.importorskip("deepspeed")
    processes = torch.cuda.device_count()
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{name}.yaml"),
        "--num_processes", str(processes), "recipes/train_text_vae.py", "--config", "recipes/text_vae/tiny_cpu.yaml",
        "--output_dir", str(tmp_path / "run"), "--use_cpu", "false", "--max_steps", "2", "--eval_steps", "2",
        "--save_steps", "2", "--logging_steps", "1", "--max_test_samples", "20",
        "--num_importance_samples", "2", "--num_generated", "2",
    ]  # fmt: skip
    finished = subprocess.run(
        command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert len(losses) == 2 and all(0 < loss < 1e4 for loss in losses)
