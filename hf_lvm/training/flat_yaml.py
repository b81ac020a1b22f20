"""Flat YAML files with YAML 1.2 numbers, line numbers, and no key given twice."""

import os
import re
from pathlib import Path
from typing import Any

import yaml

# Of lists in lists; a flat file needs two levels, and a file that means harm may have thousands.
MAX_DEPTH = 16


def read_flat_yaml(path: str | os.PathLike) -> dict[str, tuple[Any, int]]:
    """Read a YAML file of `key: value` lines: key -> (value, line number).

    Numbers and booleans follow YAML 1.2: `1e-4` and `012` are numbers, `no` a string, only `true` and `false` are booleans.
    Tags, anchors and aliases are refused: they have no place in a flat file, and can make a few lines fill the memory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not YAML, not a mapping, or gives a key twice.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--config {path}: there is no such file (looked in {Path.cwd()})")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error}): save it as such") from error
    try:
        loader = _Yaml12Loader(text)
        root = loader.get_single_node()
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise ValueError(f"{path} must be lines of `key: value`, but its top level is a {root.id}")
        entries: dict[str, tuple[Any, int]] = {}
        for key_node, value_node in root.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ValueError(f"{path}, line {line}: a key is a word, and this one is a {key_node.id}")
            key = key_node.value
            if key in entries:
                raise ValueError(f"{path}, line {line}: {key} was already given in line {entries[key][1]}")
            entries[key] = (loader.construct_object(value_node, deep=True), line)
        return entries
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def read_scalar(text: str) -> Any:
    """The value that `text` would have behind a key of a YAML file.

    Raises:
        ValueError: it is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Yaml12Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{text} is not valid YAML: {' '.join(str(error).split())}") from error


class _Yaml12Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _depth = 0

    def compose_node(self, parent, index):
        event = self.peek_event()
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases (& and *) are not taken: write it out", mark)
        if event.tag is not None:
            raise yaml.composer.ComposerError(None, None, f"tags such as {event.tag} are not taken: leave it out", mark)
        if self._depth == MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"lists are nested more than {MAX_DEPTH} times", mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_yaml_int(self, node):
        text = self.construct_scalar(node)
        try:
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        except ValueError as error:  # which Python gives up after some thousand digits
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(text):,} digits is too long", node.start_mark
            ) from error


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _Yaml12Loader.construct_yaml_int)
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"([-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))|\.(nan|NaN|NAN))$"),
    list("-+.0123456789"),
)
_Yaml12Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|True|false|False)$"), list("tTfF"))
