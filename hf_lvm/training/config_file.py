"""One flat YAML file and the command line, read into dataclasses: `--config run.yaml --learning_rate 3e-4`.

`HfArgumentParser` reads either of the two and forgives what it does not know. Here flags override the file, each value
is converted and checked by the same parser wherever it stands, and an unknown key is an error that names its nearest
neighbour.
"""

import dataclasses
import difflib
import json
import re
import textwrap
import typing
from argparse import Action
from collections.abc import Iterable, Sequence
from importlib.resources import as_file, files
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

from hf_lvm.training.flat_yaml import read_flat_yaml, read_scalar
from hf_lvm.training.mains import flag_value

# The parts that most models are made of; a class with `part_options` may name others as `_part_names`.
PARTS = ("encoder", "decoder")
# The few keys of `TrainingArguments` that almost every run sets; `--help` shows them, `--help-all` shows all.
COMMON_KEYS = (
    "output_dir",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "bf16",
    "seed",
    "report_to",
    "push_to_hub",
    "hub_model_id",
)


def parse(dataclass_types: Sequence[type], argv: Sequence[str], description: str, prog: str | None = None) -> tuple[Any, ...]:
    """Read `--config file.yaml` and flags into dataclasses; flags win.

    In a class with a field `part_options` (declared `field(init=False, default_factory=dict)`) the keys that start
    with `encoder_` or `decoder_` and are no fields are collected into it, such as `encoder_hidden_size: 192` into
    `{"encoder": {"hidden_size": 192}, "decoder": {}}`; its attribute `_part_names` names other parts. Whoever builds the parts
    checks them.

    Args:
        dataclass_types: classes whose fields are the keys; `--help` lists them in this order, and what they inherit
            from `TrainingArguments` last.
        argv: the command line without the name of the program.
        description: what the command does, for `--help`.
        prog: name of the command, for `--help`.

    Returns:
        One object per class, in order.

    Raises:
        FileNotFoundError: the file of `--config` does not exist.
        ValueError: an unknown or repeated key, a value of the wrong kind, or a value that a class refuses.
        SystemExit: `--help` or `--help-all` was asked for and printed.
    """
    parser = _ConfigParser(dataclass_types, description=description, prog=prog)
    if any(token in ("-h", "--help", "--help-all") for token in argv):
        parser.help_lists_all = "--help-all" in argv
        parser.print_help()
        raise SystemExit(0)
    path, argv = _take_config_path(argv)
    values, part_options = parser.read_file(path) if path is not None else ({}, parser.no_part_options())
    argv = parser.take_part_options(argv, part_options)
    values |= parser.read_flags(argv)
    missing = [key for key, action in parser.keys.items() if action.required and key not in values]
    if missing:
        raise ValueError(f"{', '.join(missing)} must be given: as --{missing[0]} or as a key of the --config file")
    objects = []
    for cls in dataclass_types:
        names = {field.name for field in dataclasses.fields(cls) if field.init}
        objects.append(cls(**{name: value for name, value in values.items() if name in names}))
        if _takes_part_options(cls):
            objects[-1].part_options = part_options
    return tuple(objects)


def parse_over_defaults(
    dataclass_types: Sequence[type], argv: Sequence[str], defaults: str, description: str, prog: str | None
) -> tuple[Any, ...]:
    """The arguments of a command line, over the packaged `defaults/<defaults>.yaml` where it names no `--config`.

    Args:
        dataclass_types, argv, description, prog: see `parse`.
        defaults: name of the packaged file.
    """
    with as_file(files("hf_lvm.training") / "defaults" / f"{defaults}.yaml") as path:
        config = [] if flag_value(argv, "--config") is not None else ["--config", str(path)]
        return parse(dataclass_types, [*config, *argv], description, prog)


class _ConfigParser(HfArgumentParser):
    """Converts values of either origin and raises `ValueError` where argparse would print its usage and exit."""

    def __init__(self, dataclass_types: Sequence[type], **kwargs) -> None:
        super().__init__(dataclass_types, add_help=False, allow_abbrev=False, **kwargs)
        self.help_lists_all = False
        taking = [cls for cls in dataclass_types if _takes_part_options(cls)]
        self.parts = tuple(dict.fromkeys(part for cls in taking for part in getattr(cls, "_part_names", PARTS)))
        self.keys: dict[str, Action] = {}
        for action in self._actions:
            self.keys.setdefault(action.dest, action)
        self.types = {key: hint for cls in dataclass_types for key, hint in typing.get_type_hints(cls).items()}

    def error(self, message: str) -> None:
        raise ValueError(message)

    # ---- The file ----

    def read_file(self, path: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        values, part_options = {}, self.no_part_options()
        for key, (value, line) in read_flat_yaml(path).items():
            part = self._part_of(key)
            if part is not None:
                part_options[part][key.removeprefix(f"{part}_")] = value
                continue
            if key not in self.keys:
                raise ValueError(f"{path}, line {line}: unknown key {key}.{self._nearest(key)}")
            try:
                values[key] = self._convert(key, value)
            except Exception as error:  # argparse.ArgumentError, or whatever the type of the field raises
                raise ValueError(f"{path}, line {line}: {key}: {getattr(error, 'message', error)}") from error
        return values, part_options

    def _convert(self, key: str, value: Any) -> Any:
        """A value of the file, as the flag of the same name would give it."""
        action, kinds = self.keys[key], typing.get_args(self.types[key])
        if value is None:
            if type(None) not in kinds:
                raise ValueError("needs a value, and this line has none")
            return None
        if isinstance(value, dict):
            if dict not in kinds:
                raise ValueError("takes no keys of its own; the file is flat, one `key: value` a line")
            return json.dumps(value)
        if isinstance(value, list):
            if any(isinstance(item, (dict, list)) or item is None for item in value) or not value:
                raise ValueError(f"takes a list of plain values, got {value}")
            if action.nargs != "+" and list not in map(typing.get_origin, kinds):
                raise ValueError(f"takes one value, got the list {value}")
            return [self._convert_one(action, item) for item in value]
        converted = self._convert_one(action, value)
        return [converted] if action.nargs == "+" else converted

    def _convert_one(self, action: Action, value: Any) -> Any:
        converted = self._get_value(action, str(value))
        self._check_value(action, converted)
        return converted

    # ---- The flags ----

    def read_flags(self, argv: list[str]) -> dict[str, Any]:
        """The values given as flags, and no others."""
        given = set()
        for name in (token.split("=", 1)[0] for token in argv if token.startswith("--")):
            if name not in self._option_string_actions:
                raise ValueError(f"unknown flag {name}.{self._nearest(name[2:].replace('-', '_'), prefix='--')}")
            given.add(self._option_string_actions[name].dest)
        required = [action for action in self._actions if action.required]
        for action in required:  # may stand in the file
            action.required = False
        namespace, strays = self.parse_known_args(argv)
        for action in required:
            action.required = True
        if strays:
            raise ValueError(f"{' '.join(strays)}: there is no flag in front of it; options are given as --key value")
        return {key: value for key, value in vars(namespace).items() if key in given}

    def take_part_options(self, argv: Iterable[str], part_options: dict[str, dict[str, Any]]) -> list[str]:
        """Move `--encoder_hidden_size 192` and its like into `part_options`; returns the rest of the command line."""
        rest: list[str] = []
        found: dict[str, list[str]] = {}
        current = rest
        for token in argv:
            if token.startswith("--"):
                name, equals, value = token.partition("=")
                current = rest
                if self._part_of(name[2:].replace("-", "_")) is not None:
                    current = found[name] = [value] if equals else []
                    continue
            current.append(token)
        for name, values in found.items():
            if not values:
                raise ValueError(f"{name} needs a value behind it, such as {name} 192")
            key = name[2:].replace("-", "_")
            part = self._part_of(key)
            typed = [read_scalar(value) for value in values]
            part_options[part][key.removeprefix(f"{part}_")] = typed if len(typed) > 1 else typed[0]
        return rest

    def _part_of(self, key: str) -> str | None:
        if key in self.keys:
            return None
        return next((part for part in self.parts if key.startswith(f"{part}_") and key != f"{part}_"), None)

    def no_part_options(self) -> dict[str, dict[str, Any]]:
        return {part: {} for part in self.parts}

    def _nearest(self, key: str, prefix: str = "") -> str:
        close = difflib.get_close_matches(key, self.keys, n=1)
        return (f" Did you mean {prefix}{close[0]}?" if close else "") + " --help lists what there is"

    # ---- Help ----

    def format_help(self) -> str:
        blocks = [
            f"usage: {self.prog} [--config FILE.yaml] [--key value ...]",
            *(textwrap.fill(" ".join(text.split()), 100) for text in (self.description or "").split("\n\n")),
            "Each key below is a line `key: value` of the YAML file or a flag `--key value`; flags win over the file.",
        ]
        if self.parts:
            prefixes = [f"{part}_" for part in self.parts]
            text = (
                f"Further keys that start with {', '.join(prefixes[:-1])} or {prefixes[-1]} go to the configuration of that "
                "part, such as `encoder_hidden_size: 192`."
            )
            blocks[-1] += f"\n{textwrap.fill(text, 100, break_on_hyphens=False)}"
        inherited: list[str] = []
        for cls in self.dataclass_types:
            own = [field.name for field in dataclasses.fields(cls) if field.init]
            if issubclass(cls, TrainingArguments):
                changed = {key for base in cls.__mro__[: cls.__mro__.index(TrainingArguments)] for key in vars(base)}
                theirs = [field.name for field in dataclasses.fields(TrainingArguments)]
                inherited = [key for key in theirs if key not in changed]
                own = [key for key in own if key not in theirs] + [key for key in theirs if key in changed]
            if own:
                blocks.append("\n".join([f"{_title(cls)}:", *map(self._describe, own)]))
        if inherited:
            common = [key for key in COMMON_KEYS if key in inherited]
            others = [key for key in inherited if key not in common]
            lines = [*map(self._describe, common + others if self.help_lists_all else common)]
            if not self.help_lists_all:
                lines.append(
                    f"  The {len(others)} other keys of transformers.TrainingArguments are taken too; --help-all lists them."
                )
            blocks.append("\n".join(["Training, as in transformers.TrainingArguments:", *lines]))
        return "\n\n".join(blocks) + "\n"

    def _describe(self, key: str) -> str:
        action = self.keys[key]
        choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
        default = getattr(action.default, "value", action.default)
        if isinstance(default, bool):
            default = str(default).lower()
        if isinstance(default, (list, tuple)):
            default = " ".join(map(str, default))
        note = " (must be given)" if action.required else "" if default in (None, "") else f" (default: {default})"
        text = " ".join((action.help or "").split()) + note
        indent = " " * 8
        return f"  --{key}{choices}\n{textwrap.fill(text, 100, initial_indent=indent, subsequent_indent=indent)}"


def _title(cls: type) -> str:
    if hasattr(cls, "_argument_group_name"):
        return cls._argument_group_name
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", cls.__name__)).capitalize()


def _takes_part_options(cls: type) -> bool:
    return any(field.name == "part_options" for field in dataclasses.fields(cls))


def _take_config_path(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    path, rest, tokens = None, [], iter(argv)
    for token in tokens:
        if token != "--config" and not token.startswith("--config="):
            rest.append(token)
            continue
        value = token.partition("=")[2] if "=" in token else next(tokens, "")
        if not value or value.startswith("--"):
            raise ValueError("--config needs the path of a YAML file behind it")
        if path is not None:
            raise ValueError(f"--config was given twice ({path} and {value}); one file describes a run")
        path = value
    return path, rest
