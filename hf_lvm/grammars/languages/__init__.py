"""Languages that meanings are written in, each chosen by a name.

    language = build_language("lambda_calculus")
    tree = language.parse("( lambda $0 e ( and ( boat $0 ) ( red $0 ) ) )")

| name | options | texts |
|---|---|---|
| `lambda_calculus` | `prefix`, `spaced` | `( lambda $0 e ( boat $0 ) )` |
| `s_expressions` | `spaced`, `unordered` | `( f x ( g y ) )`, whatever is in brackets |
| `python` | `root`: `stmt`, `expr` or `mod`; `complete_lines` | of the Python that runs |
| `ebnf` | `text`, `patterns` | of a grammar that the user writes |
"""

import inspect
from collections.abc import Mapping
from typing import Any

from hf_lvm.grammars.languages.ebnf import EBNFMeanings
from hf_lvm.grammars.languages.lambda_calculus import LambdaCalculusMeanings
from hf_lvm.grammars.languages.language import CANONICAL_RULES, Language
from hf_lvm.grammars.languages.python import PythonMeanings
from hf_lvm.grammars.languages.s_expressions import SExpressionMeanings

LANGUAGES = {cls.language_name: cls for cls in (LambdaCalculusMeanings, SExpressionMeanings, PythonMeanings, EBNFMeanings)}


def build_language(name: str, **options) -> Language:
    """The language of a name.

    Args:
        name: one of `LANGUAGES`.
        options: its own, see the table of this module.

    Raises:
        ValueError: another name or option, one that is missing, or what the language refuses.
    """
    if name not in LANGUAGES:
        raise ValueError(f"There is no language {name!r}: {', '.join(LANGUAGES)} are there.")
    cls = LANGUAGES[name]
    known = inspect.signature(cls).parameters
    needed = [option for option, each in known.items() if each.default is inspect.Parameter.empty]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"The language {name!r} has no option {unknown[0]!r}: it has {', '.join(known)}.")
    if missing := [option for option in needed if option not in options]:
        raise ValueError(f"The language {name!r} needs the option {missing[0]!r}.")
    for option, value in options.items():
        default = known[option].default
        # Flags and strings are checked here, once; a row or a mapping by its language.
        kind = str if default is inspect.Parameter.empty else type(default)
        if kind in (str, bool) and not isinstance(value, kind):
            raise ValueError(f"The option {option} of the language {name!r} is {value!r}: a {kind.__name__} is needed.")
    return cls(**options)


def language_from_dict(saved: Mapping[str, Any]) -> Language:
    """The language that `to_dict` saved. Nothing in it is run: a name of the table, and its options.

    Raises:
        ValueError: as `build_language`, and what is no mapping with `name` and `options`.
    """
    is_saved = isinstance(saved, Mapping) and {"name"} <= saved.keys() <= {"name", "options"}
    options = (saved.get("options") or {}) if is_saved else None
    if not isinstance(options, Mapping):
        raise ValueError(f"{saved!r} is no saved language: a mapping with 'name' and 'options' is, the options a mapping too.")
    return build_language(saved["name"], **options)


__all__ = [
    "CANONICAL_RULES",
    "LANGUAGES",
    "EBNFMeanings",
    "LambdaCalculusMeanings",
    "Language",
    "PythonMeanings",
    "SExpressionMeanings",
    "build_language",
    "language_from_dict",
]
