"""Nothing unpickles, nothing runs code from a file, and what a folder says cannot lead out of it."""

import ast
import contextlib
import json
import pickle
import re
import shutil
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

import hf_lvm
from hf_lvm.analysis.trained_model import load_trained
from hf_lvm.backbones.encoders import load_encoder
from tests.hub.conftest import CONTRACTS, saved_models  # noqa: F401
from tests.tiny_parts import tiny_vae

PACKAGE = Path(hf_lvm.__file__).parent
FORBIDDEN_MODULES = {"pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "subprocess", "runpy"}
DANGEROUS = ("trust_remote_code", "weights_only", "allow_pickle")
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
# Most files have nothing to look at; parsing them all takes seconds.
SUSPICIOUS = re.compile(
    "|".join(
        [
            *FORBIDDEN_MODULES,
            *DANGEROUS,
            *(f"\\b{call}\\(" for call in FORBIDDEN_CALLS),
            r"\w*load(_all)?\(",
            "os.system",
            "os.popen",
        ]
    )
)
# What opens a file that could hold code, and where it stands for the reason that is given.
ALLOWED = {
    ("training/flat_yaml.py", "yaml.load"): "by a subclass of yaml.SafeLoader that refuses tags",
    ("data/game_objects.py", "np.load"): "with allow_pickle=False",
    ("models/text_vae/export.py", "torch.export.load"): "of an archive that exported_archive.py has found without code in it",
}


def _dotted(node: ast.AST) -> str:
    """The name of a function as it is called, such as torch.load."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def test_no_module_of_the_package_can_run_what_a_file_holds():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        name, source = path.relative_to(PACKAGE).as_posix(), path.read_text()
        nodes = list(ast.walk(ast.parse(source))) if SUSPICIOUS.search(source) else []
        for node in nodes:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not FORBIDDEN_MODULES & {module.split(".")[0] for module in modules}, f"{name}:{node.lineno}"
        for node in (node for node in nodes if isinstance(node, ast.Call)):
            function = _dotted(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg in DANGEROUS}
            place = f"{name}:{node.lineno}: {function}"
            assert function not in FORBIDDEN_CALLS and function not in ("os.system", "os.popen"), place
            assert keywords.get("trust_remote_code", "False") in ("False", "None"), place
            assert keywords.get("weights_only", "True") == "True", place
            assert keywords.get("allow_pickle", "False") == "False", place
            if function.endswith(("load", "load_all", "unsafe_load", "full_load")) and function.split(".")[0] in (
                "torch", "np", "numpy", "yaml",
            ):  # fmt: skip
                found.add((name, function))
                assert (name, function) != ("data/game_objects.py", "np.load") or keywords["allow_pickle"] == "False"
    assert found == set(ALLOWED)


def test_the_yaml_loader_is_a_safe_one(tmp_path):
    import yaml

    from hf_lvm.training.flat_yaml import _Yaml12Loader

    assert issubclass(_Yaml12Loader, yaml.SafeLoader)
    assert {tag for tag in _Yaml12Loader.yaml_constructors if tag} <= {*yaml.SafeLoader.yaml_constructors}
    assert not _Yaml12Loader.yaml_multi_constructors


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("name", CONTRACTS)
def test_pickled_weights_are_refused_and_pickles_beside_weights_are_not_read(saved_models, name, tmp_path):  # noqa: F811
    folder, marker = shutil.copytree(saved_models[name].folder, tmp_path / "model"), tmp_path / "code-was-run"
    bomb = pickle.dumps(Bomb(marker))
    for file in ("training_args.bin", "optimizer.pt", "rng_state.pth", "pytorch_model.bin", "adapter_model.bin"):
        (folder / file).write_bytes(bomb)
    with opened_files() as opened:
        AutoModel.from_pretrained(folder)
    assert not [path for path in opened if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    (folder / "model.safetensors").unlink()
    with opened_files() as opened, pytest.raises(OSError, match="model.safetensors"):
        AutoModel.from_pretrained(folder)
    assert not [path for path in opened if path.suffix in (".bin", ".pt", ".pth", ".pkl")]
    with pytest.raises(ValueError, match="never read from a pickle"):
        AutoModel.from_pretrained(folder, use_safetensors=False)
    assert not marker.exists()


def test_a_pretrained_part_is_read_from_safetensors_alone(tmp_path):
    tiny_vae().encoder.save_pretrained(tmp_path)
    assert load_encoder(str(tmp_path)).config.model_type == "bert"
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "code-was-run")))
    with pytest.raises(OSError, match="model.safetensors"):
        load_encoder(str(tmp_path))
    assert not (tmp_path / "code-was-run").exists()


# ---- Files that name other files ----

_RECORDERS: list[list[Path]] = []


def _record(event: str, arguments: tuple) -> None:
    if event == "open" and _RECORDERS and isinstance(arguments[0], (str, bytes)):
        path = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode(errors="replace")
        for recorder in _RECORDERS:
            recorder.append(Path(path))


@contextlib.contextmanager
def opened_files():
    """Paths that Python opens meanwhile; those that safetensors and tokenizers open by themselves are not seen."""
    if not getattr(_record, "installed", False):
        sys.addaudithook(_record)  # which cannot be taken away again, and costs a comparison
        _record.installed = True
    recorder: list[Path] = []
    _RECORDERS.append(recorder)
    try:
        yield recorder
    finally:
        _RECORDERS.remove(recorder)


AUTO_CLASSES = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoTokenizer", "AutoProcessor")


def poisoned(value, outside: Path):
    """A config whose every level says that its code and its files are elsewhere."""
    if isinstance(value, list):
        return [poisoned(item, outside) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: poisoned(item, outside) for key, item in value.items()} | {
        "auto_map": dict.fromkeys(AUTO_CLASSES, f"{outside}--evil.Evil"),
        "_name_or_path": str(outside),
        "name_or_path": str(outside),
        "custom_pipelines": {"latent-encoding": {"impl": "evil.Evil", "pt": ["AutoModel"]}},
        "tokenizer_file": str(outside / "tokenizer.json"),
    }


def plant(outside: Path, marker: Path, model: Path) -> None:
    """A folder that holds everything that loading could ask for, code among it."""
    shutil.copytree(model, outside)
    (outside / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Evil: pass\n")


def inside(opened: list[Path], outside: Path) -> list[Path]:
    return [path for path in opened if path.resolve().is_relative_to(outside.resolve())]


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_config_cannot_run_code_or_read_elsewhere(saved_models, name, tmp_path, monkeypatch):  # noqa: F811
    folder, marker = shutil.copytree(saved_models[name].folder, tmp_path / "model"), tmp_path / "code-was-run"
    outside = tmp_path / "elsewhere"
    plant(outside, marker, folder)
    (folder / "evil.py").write_text((outside / "evil.py").read_text())
    monkeypatch.syspath_prepend(tmp_path / "nothing")
    for file in folder.rglob("*config.json"):
        if file.parent in (folder, folder / "decoder_tokenizer"):
            content = poisoned(json.loads(file.read_text()), outside)
            # Of a level that is a part, `auto_map` and the like are keys that the family does not know, and ignores.
            file.write_text(json.dumps(content))
    before = saved_models[name].model.state_dict()
    with opened_files() as opened:
        for load in (AutoConfig, AutoModel, AutoTokenizer, AutoProcessor):
            with contextlib.suppress(ValueError, OSError, TypeError):  # refused, or loaded without what it points to
                loaded = load.from_pretrained(folder)
                if load is AutoModel:
                    assert all(value.equal(before[key]) for key, value in loaded.state_dict().items())
        with contextlib.suppress(ValueError, OSError, TypeError):
            load_trained(str(folder), "forward")
    assert not inside(opened, outside) and not marker.exists()
    assert "evil" not in sys.modules


def test_an_index_of_shards_cannot_lead_out_of_its_folder(tmp_path):
    model, folder = tiny_vae(), tmp_path / "model"
    model.save_pretrained(folder, max_shard_size="5KB")
    index = folder / "model.safetensors.index.json"
    shards = json.loads(index.read_text())
    assert AutoModel.from_pretrained(folder).config.model_type == "hf_lvm_text_vae"
    stolen = next(iter(shards["weight_map"].values()))
    (folder / stolen).rename(tmp_path / stolen)
    for path in (f"../{stolen}", str(tmp_path / stolen), f"x/../../{stolen}", f"..\\{stolen}"):
        moved = {key: path if shard == stolen else shard for key, shard in shards["weight_map"].items()}
        index.write_text(json.dumps(shards | {"weight_map": moved}))
        with pytest.raises(ValueError, match="which is no file of its folder"):
            AutoModel.from_pretrained(folder)
    index.write_text('{"weight_map": 3}')
    with pytest.raises(ValueError, match="no index of weights"):
        AutoModel.from_pretrained(folder)


def test_a_part_cannot_be_named_by_a_path_in_a_config(saved_models, tmp_path):  # noqa: F811
    """A string where the config of a part belongs is not a place to load from."""
    for name, saved in saved_models.items():
        folder = shutil.copytree(saved.folder, tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        parts = [key for key, value in config.items() if isinstance(value, dict) and "model_type" in value]
        for part in parts:
            (folder / "config.json").write_text(json.dumps(config | {part: str(tmp_path / "elsewhere")}))
            with opened_files() as opened, pytest.raises(ValueError):
                load_trained(str(folder), "forward")
            assert not inside(opened, tmp_path / "elsewhere"), (name, part)
