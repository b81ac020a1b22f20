"""Flat YAML files with YAML 1.2 numbers, line numbers, and no key given twice."""

import os
import re
from pathlib import Path
from typing import Any

import yaml


def read_flat_yaml(path: str | os.PathLike) -> dict[str, tuple[Any, int]]:
    """Read a YAML file of `key: value` lines: key -> (value, line number).

    Numbers and booleans follow YAML 1.2: `1e-4` is a number, `no` a string, only `true` and `false` are booleans.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not YAML, not a mapping, or gives a key twice.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--config {path}: there is no such file (looked in {Path.cwd()})")
    loader = _Yaml12Loader(Path(path).read_text(encoding="utf-8"))
    try:
        root = loader.get_single_node()
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise ValueError(f"{path} must be lines of `key: value`, but its top level is a {root.id}")
        entries: dict[str, tuple[Any, int]] = {}
        for key_node, value_node in root.value:
            key, line = str(loader.construct_object(key_node, deep=True)), key_node.start_mark.line + 1
            if key in entries:
                raise ValueError(f"{path}, line {line}: {key} was already given in line {entries[key][1]}")
            entries[key] = (loader.construct_object(value_node, deep=True), line)
        return entries
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def read_scalar(text: str) -> Any:
    """The value that `text` would have behind a key of a YAML file."""
    return yaml.load(text, Loader=_Yaml12Loader)


class _Yaml12Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":float", ":bool", ":timestamp"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|True|false|False)$"), list("tTfF"))
