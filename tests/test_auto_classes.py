"""The Auto classes know the models after `import hf_lvm`, whatever came first, and importing it costs nothing."""

import subprocess
import sys

import pytest

from hf_lvm.auto_classes import MODEL_MODULES
from tests.tiny_parts import tiny_vae

USE = """
config = AutoConfig.from_pretrained(FOLDER)
assert type(config).__name__ == "TextVAEConfig", type(config)
model = AutoModel.from_pretrained(FOLDER)
assert type(model).__name__ == "TextVAEModel"
assert type(AutoProcessor.from_pretrained(FOLDER)).__name__ == "LatentTextProcessor"
assert AutoTokenizer.from_pretrained(FOLDER).bos_token == "<s>"
import hf_lvm
assert type(model) is hf_lvm.TextVAEModel
import sys
from transformers.pipelines import PIPELINE_REGISTRY
assert {"latent-encoding", "latent-generation"} <= set(PIPELINE_REGISTRY.get_supported_tasks())
assert "hf_lvm.pipelines" not in sys.modules
assert PIPELINE_REGISTRY.check_task("latent-encoding")[1]["impl"] is sys.modules["hf_lvm.pipelines"].LatentEncodingPipeline
"""
NAMES = "from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer\n"
ORDERS = {
    "hf_lvm first": "import hf_lvm\n" + NAMES,
    "transformers used first": NAMES + "AutoConfig.for_model('bert'); AutoModel._model_mapping.keys()\nimport hf_lvm\n",
    "a modeling file first": "import hf_lvm.models.text_vae.modeling_text_vae\n" + NAMES,
    "a processor first": "from hf_lvm.data import LatentTextProcessor\n" + NAMES,
}


# One process that has imported what transformers and the package stand on, and a fork of it for each order.
FORKS = """
import gc, os, sys, traceback
gc.disable()
import torch, datasets, accelerate, tokenizers, safetensors.torch, huggingface_hub
import torch.distributed.tensor, torch._dynamo, torch.onnx, jinja2, sympy, rich.console, sklearn.metrics, nltk
assert not {"transformers", "hf_lvm"} & set(sys.modules)
torch.set_num_threads(1)
for name, code in PROGRAMS.items():
    child = os.fork()
    if child == 0:
        try:
            exec(code, {})
        except BaseException:
            print(name, traceback.format_exc(limit=-3), flush=True)
        else:
            print("ok", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, word_processor):
    place = tmp_path_factory.mktemp("model")
    tiny_vae("bert", "t5").save_pretrained(place)
    word_processor.save_pretrained(place)
    return place


@pytest.mark.parametrize("names", [("transformers used first",), pytest.param(tuple(ORDERS), marks=pytest.mark.slow)])
def test_any_order_of_imports(folder, names):
    programs = {name: ORDERS[name] + USE.replace("FOLDER", repr(str(folder))) for name in names}
    finished = python(FORKS.replace("PROGRAMS", repr(programs)))
    assert finished.returncode == 0 and finished.stdout.split() == ["ok"] * len(names), finished.stdout + finished.stderr


def test_importing_it_imports_nothing_big():
    code = """
import sys, hf_lvm
heavy = {"torch", "transformers", "datasets", "numpy", "accelerate", "peft"} & set(sys.modules)
assert not heavy, heavy
assert "TextVAEModel" in dir(hf_lvm)
try:
    hf_lvm.NoSuchModel
except AttributeError as error:
    assert "no attribute 'NoSuchModel'" in str(error)
else:
    raise AssertionError("no error for a name that does not exist")
assert not {"torch", "transformers"} & set(sys.modules)
"""
    finished = python(code)
    assert finished.returncode == 0, finished.stderr[-2000:]


def test_every_listed_module_registers_its_type():
    from transformers import AutoConfig

    import hf_lvm  # noqa: F401

    for model_type in MODEL_MODULES:
        assert AutoConfig.for_model(model_type).model_type == model_type
    with pytest.raises(ValueError, match="Unrecognized model identifier"):
        AutoConfig.for_model("hf_lvm_no_such_model")


def test_a_module_that_registers_nothing_is_an_error_and_no_endless_loop(monkeypatch):
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    monkeypatch.setitem(MODEL_MODULES, "hf_lvm_forgotten", "hf_lvm.distributions")
    with pytest.raises(KeyError, match="does not register 'hf_lvm_forgotten'"):
        CONFIG_MAPPING["hf_lvm_forgotten"]
