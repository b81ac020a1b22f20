"""Save many models, load them all in one new process through AutoModel after nothing but `import hf_lvm`.

Tests register a function that builds a model when they are imported; the first test that asks saves and loads all of
them. Run as a script, this file is the new process.
"""

import gc
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


def load_in_fresh_process(folder: Path) -> None:
    """Build and save every registered model below the folder, and load all of them in one new process."""
    for name, build in MODELS.items():
        model, inputs = build()
        place = folder / name
        model.save_pretrained(place)
        save_file(inputs, place / "inputs.safetensors")
        _write(place, "before", model, inputs)
    finished = subprocess.run(
        [sys.executable, __file__, *(str(folder / name) for name in MODELS)], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr[-3000:]


def read_reloaded(folder: Path) -> dict[str, Reloaded]:
    """What was seen of every registered model."""
    return {name: _read(folder / name) for name in MODELS}


def _write(place: Path, when: str, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    (place / f"tensors_{when}.json").write_text(json.dumps(fingerprints(model)))
    (place / f"config_{when}.json").write_text(json.dumps(model.config.to_dict()))
    save_file(outputs(model, inputs), place / f"outputs_{when}.safetensors")


def _read(place: Path) -> Reloaded:
    seen = {}
    for when in ("before", "after"):
        seen[f"tensors_{when}"] = json.loads((place / f"tensors_{when}.json").read_text())
        seen[f"config_{when}"] = json.loads((place / f"config_{when}.json").read_text())
        seen[f"outputs_{when}"] = load_file(place / f"outputs_{when}.safetensors")
    return Reloaded(files={key: list(value.shape) for key, value in load_file(place / "model.safetensors").items()}, **seen)


def main() -> None:
    from transformers import AutoModel

    import hf_lvm  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()  # as in conftest.py
    for place in map(Path, sys.argv[1:]):
        model, loading = AutoModel.from_pretrained(place, output_loading_info=True)
        assert not loading["missing_keys"] and not loading["unexpected_keys"], (place, loading)
        _write(place, "after", model, load_file(place / "inputs.safetensors"))


if __name__ == "__main__":
    main()
