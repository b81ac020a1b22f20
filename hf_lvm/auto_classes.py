"""The models of this package, known to transformers' Auto classes but imported only when one is asked for.

transformers keeps the classes that others register in a dictionary beside its own. This one looks the same and brings in the
modeling file, which registers itself at its bottom, the first time its model type is looked up. The dictionaries are put in
place right after transformers' own modules are first imported, so that neither import waits for the other. In the same way
`transformers.pipeline` knows the tasks of this package.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType

# model_type -> module that registers it
MODEL_MODULES = {
    "hf_lvm_bag_of_words_encoder": "hf_lvm.backbones.bag_of_words_encoder",
    "hf_lvm_bigram_decoder": "hf_lvm.backbones.bigram_decoder",
    "hf_lvm_dilated_cnn_decoder": "hf_lvm.backbones.dilated_cnn_decoder",
    "hf_lvm_latent_class": "hf_lvm.models.latent_class",
    "hf_lvm_latent_summarizer": "hf_lvm.models.latent_summarizer",
    "hf_lvm_lstm_decoder": "hf_lvm.backbones.lstm_decoder",
    "hf_lvm_lstm_encoder": "hf_lvm.backbones.lstm_encoder",
    "hf_lvm_neural_hmm": "hf_lvm.models.neural_hmm",
    "hf_lvm_neural_topic": "hf_lvm.models.neural_topic",
    "hf_lvm_referential_game": "hf_lvm.models.referential_game",
    "hf_lvm_rnng_decoder": "hf_lvm.backbones.rnng_decoder",
    "hf_lvm_segment_decoder": "hf_lvm.backbones.segment_decoder",
    "hf_lvm_struct_vae": "hf_lvm.models.struct_vae",
    "hf_lvm_t5_decoder": "hf_lvm.backbones.t5_decoder",
    "hf_lvm_task_and_talk": "hf_lvm.models.task_and_talk",
    "hf_lvm_text_vae": "hf_lvm.models.text_vae",
    "hf_lvm_urnng": "hf_lvm.models.urnng",
    "hf_lvm_transformer_grammar_decoder": "hf_lvm.backbones.transformer_grammar_decoder",
}

# task of `transformers.pipeline` -> module and class
PIPELINES = {
    "latent-encoding": ("hf_lvm.pipelines", "LatentEncodingPipeline"),
    "latent-generation": ("hf_lvm.pipelines", "LatentGenerationPipeline"),
}


class _OnDemand(dict):
    """Registered classes by model type; one of ours is imported when it is looked up."""

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in MODEL_MODULES

    def __getitem__(self, key):
        return super().__getitem__(key) if super().__contains__(key) else self.__missing__(key)

    def __missing__(self, key):
        if key not in MODEL_MODULES:
            raise KeyError(key)
        importlib.import_module(MODEL_MODULES[key])
        # `get`, because a key that is still missing would lead here again.
        if self.get(key) is None:
            raise KeyError(f"{MODEL_MODULES[key]} does not register {key!r}")
        return self.get(key)


class _Processors(dict):
    """Registered processors; ours are imported when somebody looks through them all for a class name."""

    def values(self):
        for module in MODEL_MODULES.values():
            importlib.import_module(module)
        return super().values()


class _Task(dict):
    """What transformers knows of one of our tasks; its pipeline is imported when it is looked up.

    Put into the registry as it is, and not by `register_pipeline`, which marks a class as one to be saved as remote code.
    """

    def __missing__(self, key):
        if key == "impl":
            module, name = PIPELINES[self["task"]]
            return getattr(importlib.import_module(module), name)
        if key == "default":
            raise ValueError(
                f"The task {self['task']!r} has no default model: pass model=..., the folder of a run or a hub id."
            )
        raise KeyError(key)


def _watch_configurations(module: ModuleType) -> None:
    module.CONFIG_MAPPING._extra_content = _OnDemand(module.CONFIG_MAPPING._extra_content)


def _watch_processors(module: ModuleType) -> None:
    module.PROCESSOR_MAPPING._extra_content = _Processors(module.PROCESSOR_MAPPING._extra_content)


def _add_tasks(module: ModuleType) -> None:
    for task in PIPELINES:
        entry = _Task(task=task, pt=(module.AutoModel,), type="text")
        module.PIPELINE_REGISTRY.supported_tasks.setdefault(task, entry)


_HOOKS: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _watch_configurations,
    "transformers.models.auto.processing_auto": _watch_processors,
    "transformers.pipelines": _add_tasks,
}


class _PostImport(importlib.abc.MetaPathFinder):
    """Runs a hook right after a module is imported for the first time."""

    def find_spec(self, name, path=None, target=None):
        if name not in _HOOKS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_hook(module: ModuleType) -> None:
            execute(module)
            _HOOKS[name](module)

        spec.loader.exec_module = execute_and_hook
        return spec


def install() -> None:
    """Watch transformers' auto modules, those already imported and those still to come."""
    if any(isinstance(finder, _PostImport) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _PostImport())
    for name, hook in _HOOKS.items():
        if name in sys.modules:
            hook(sys.modules[name])
