"""Save many models, load them all in one new process through AutoModel after nothing but `import hf_lvm`.

Tests register a function that builds a model when they are imported; the first test that asks saves and loads all of
them. Run as a script, this file is the new process.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

MODELS: dict[str, Callable[[], tuple[torch.nn.Module, dict[str, torch.Tensor]]]] = {}
NEW_TOKENS = 4


def register(name: str, build: Callable[[], tuple[torch.nn.Module, dict[str, torch.Tensor]]]) -> None:
    """Have a model saved and loaded; `build` gives the model and what its forward takes."""
    if name in MODELS:
        raise ValueError(f"Two models are called {name!r}.")
    MODELS[name] = build


@dataclass
class Reloaded:
    """The same model before it was saved and after it was loaded elsewhere."""

    tensors_before: dict[str, str]
    tensors_after: dict[str, str]
    outputs_before: dict[str, torch.Tensor]
    outputs_after: dict[str, torch.Tensor]
    files: dict[str, list[int]]
    config_before: dict
    config_after: dict


def fingerprints(model: torch.nn.Module) -> dict[str, str]:
    """A hash of the bytes of every tensor in the state dict."""
    return {
        name: hashlib.sha256(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, value in model.state_dict().items()
    }


@torch.no_grad()
def outputs(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Everything that must come back: a bound with sampled latents, logits, and generated tokens."""
    torch.manual_seed(0)
    output = model.eval()(**inputs)
    result = {"loss": output.loss.reshape(1)}
    if output.get("logits") is not None:
        result["logits"] = output.logits
    if model.can_generate():
        given = {key: inputs[key] for key in ("input_ids", "attention_mask")}
        result["generated"] = model.generate(**given, max_new_tokens=NEW_TOKENS, eos_token_id=None)
    return {name: value.contiguous() for name, value in result.items()}


def load_in_fresh_process(folder: Path) -> dict[str, Reloaded]:
    """Build and save every registered model, load all of them in one new process, and bring back what it saw."""
    before = {}
    for number, (name, build) in enumerate(MODELS.items()):
        model, inputs = build()
        place = folder / str(number)
        model.save_pretrained(place)
        save_file(inputs, place / "inputs.safetensors")
        before[name] = place, fingerprints(model), outputs(model, inputs), model.config.to_dict()
    finished = subprocess.run(
        [sys.executable, __file__, *(str(place) for place, *_ in before.values())], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return {
        name: Reloaded(
            tensors_before=tensors,
            tensors_after=json.loads((place / "tensors.json").read_text()),
            outputs_before=seen,
            outputs_after=load_file(place / "outputs.safetensors"),
            files={key: list(value.shape) for key, value in load_file(place / "model.safetensors").items()},
            config_before=config,
            config_after=json.loads((place / "config_after.json").read_text()),
        )
        for name, (place, tensors, seen, config) in before.items()
    }


def main() -> None:
    from transformers import AutoModel

    import hf_lvm  # noqa: F401

    torch.set_num_threads(1)
    for place in map(Path, sys.argv[1:]):
        model, loading = AutoModel.from_pretrained(place, output_loading_info=True)
        assert not loading["missing_keys"] and not loading["unexpected_keys"], (place, loading)
        (place / "tensors.json").write_text(json.dumps(fingerprints(model)))
        (place / "config_after.json").write_text(json.dumps(model.config.to_dict()))
        save_file(outputs(model, load_file(place / "inputs.safetensors")), place / "outputs.safetensors")


if __name__ == "__main__":
    main()
