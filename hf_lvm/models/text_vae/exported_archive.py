"""What may stand in the file of an exported encoder: plain numbers, and a program that is data.

`torch.export.load` unpickles what an archive marks as pickled, and evaluates sizes that are written as formulas. Both would
run code of whoever wrote the file, so both are looked for before it is loaded.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DESCRIPTION = "hf_lvm_encoder.json"
_PROGRAM = "models/model.json"
_TENSORS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_EXAMPLES = "data/sample_inputs/model.pt"
_PLAIN_FILES = re.compile(r"data/weights/weight_\d+|data/constants/tensor_\d+|archive_\w+|byteorder|\.data/\w+")
_KNOWN = {_PROGRAM, _EXAMPLES, *_TENSORS, f"extra/{DESCRIPTION}"}
# A size, as torch writes it: names of sizes, numbers, arithmetic and a few functions of it.
_SYMBOL = r"Symbol\('[su]\d+'(?:, (?:positive|integer|nonnegative)=True)*\)"
_WORD = r"\d+|[su]\d+|Integer|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|Eq|Ne|true|false|int_oo"
_SIZE = re.compile(rf"(?:{_SYMBOL}|\b(?:{_WORD})\b|[ +\-*/(),<>=])*")


def check_archive(path: Path) -> None:
    """Raise a `ValueError` unless an archive holds plain numbers and a program alone."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{str(path)!r} is no archive of torch.export.")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        folders = {name.split("/", 1)[0] for name in names}
        content = {name.split("/", 1)[-1]: archive.getinfo(name) for name in names}
        if f"extra/{DESCRIPTION}" not in content or len(content) < len(names) or len(folders) > 1:
            raise ValueError(f"{str(path)!r} was not written by export_encoder.")
        unsafe = [name for name in content if name not in _KNOWN and not _PLAIN_FILES.fullmatch(name)]
        unsafe += [_EXAMPLES] if _EXAMPLES in content and content[_EXAMPLES].file_size else []
        for name in _TENSORS:
            for tensor in json.loads(archive.read(content[name]))["config"].values():
                is_plain = re.fullmatch(r"(weight|tensor)_\d+", tensor["path_name"]) and not tensor["use_pickle"]
                unsafe += [] if is_plain else [tensor["path_name"]]
        program = json.loads(archive.read(content[_PROGRAM]))
    if unsafe:
        raise ValueError(f"{str(path)!r} holds objects that can run code ({', '.join(unsafe)}): it is not loaded.")
    for formula in _formulas(program):
        if not _SIZE.fullmatch(formula):
            raise ValueError(f"{str(path)!r} holds {formula!r} in the place of a size, which can run code: it is not loaded.")


def _formulas(value: Any) -> Iterator[str]:
    """All texts in a program that torch evaluates: those of the key `expr_str`."""
    if isinstance(value, dict):
        if "expr_str" in value:
            yield str(value["expr_str"])
        for part in value.values():
            yield from _formulas(part)
    elif isinstance(value, list):
        for part in value:
            yield from _formulas(part)
