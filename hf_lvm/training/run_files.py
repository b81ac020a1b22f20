"""Which files of a run make up what it found, and whether the folder is whole.

A run folder holds more than a model: checkpoints with the state of the optimizer, logs, leftovers of a save that was stopped.
What is shared is what stands in the lists below, so that a file nobody thought of stays where it is.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from safetensors import SafetensorError, safe_open

# What a save that was stopped leaves behind; see `hf_lvm.training.checkpoints`.
INCOMPLETE_PREFIX = ".incomplete-"
REPLACED_PREFIX = ".replaced-"
COMPLETE_MODEL = ".complete-model"

CARD = "README.md"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt",
    "merges.txt", "*.model", "chat_template.jinja",
)  # fmt: skip
_TOKENIZER_FOLDERS = ("decoder_tokenizer", "prior_tokenizer")
# What `from_pretrained` reads: left over in a repository from an earlier model it would be read with the new one.
LOADED = (
    "config.json", "generation_config.json", WEIGHTS, INDEX, "model-?????-of-?????.safetensors", "processor_config.json",
    *_TOKENIZER, *(f"{folder}/{name}" for folder in _TOKENIZER_FOLDERS for name in _TOKENIZER),
)  # fmt: skip
# What the recipes report without showing texts of the corpus: numbers, curves, and lists of single words, which the tokenizer
# holds as well. A report that is not listed here may show texts.
WITHOUT_TEXTS = (
    CARD, "results.json", "states.txt", "topics.txt", "figures/training_curves.png", "figures/kl_per_dimension.png",
    "figures/message_lengths.png", "figures/length_accuracy.png", "figures/position_information.png",
)  # fmt: skip
# All that the recipes report, each file under the name that its recipe gives it. Not report.html, which repeats them: whoever
# leaves out examples.txt does not want its texts shared by another name, and `hf-lvm report` makes it of what is there.
REPORTED = (
    *WITHOUT_TEXTS, "examples.txt", "classes.txt", "trees.txt", "summaries.txt", "parses.txt", "messages.txt", "dialogs.txt",
    "lexicon.txt", "lexicon.json", "figures/*.png", "figures/*.svg",
)  # fmt: skip
_ACCESS_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")


@dataclass(frozen=True)
class RunFiles:
    """What of a run is shared, and what stays.

    Attributes:
        folder: of the run.
        shared: path of each file that is shared, relative to the folder and with "/", and its size in bytes; sorted.
        kept: what stays in the folder: files and, by one entry with a "/" at its end, folders.
    """

    folder: Path
    shared: dict[str, int]
    kept: list[str]

    def __str__(self) -> str:
        width = max(len(readable_size(size)) for size in self.shared.values())
        lines = [f"{readable_size(size):>{width}}  {path}" for path, size in self.shared.items()]
        total = sum(self.shared.values())
        lines.append(f"{readable_size(total):>{width}}  in all, {len(self.shared)} files of {self.folder}")
        return "\n".join([*lines, *([f"not shared: {', '.join(self.kept)}"] if self.kept else [])])


def run_files(folder: str | Path, exclude: Sequence[str] = (), without_texts: bool = False) -> RunFiles:
    """What of a run is shared: model, processor, card, figures and results.

    Args:
        folder: `output_dir` of a run, or any folder that `save_pretrained` wrote into.
        exclude: patterns of files to leave out, such as `examples.txt` or `figures/*`.
        without_texts: leave out every report that may show texts of the corpus, see `WITHOUT_TEXTS`. Single words stay, in
            the tokenizer too, and so does whatever somebody wrote into the card by hand.

    Raises:
        FileNotFoundError: no such folder, no model in it, or a part of the model is missing.
        ValueError: a save was stopped, a file of the model is damaged, a pattern means nothing or would leave out a part of
            the model, or a file to share holds an access token.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}: give the output_dir of a run")
    needed = _parts_of_model(folder)
    present = {path.relative_to(folder).as_posix(): path for path in _files_below(folder)}
    listed = (*LOADED, *(WITHOUT_TEXTS if without_texts else REPORTED))
    shared = {name for name in present if name in needed or (_is_one_of(name, listed) and not _is_weight(name))}
    for pattern in exclude:
        left_out = {name for name in shared if fnmatchcase(name, pattern)}
        if not left_out:
            raise ValueError(f"there is nothing to leave out by {pattern!r}: of {folder} there is {', '.join(sorted(shared))}")
        if any(_is_one_of(name, LOADED) for name in left_out):
            raise ValueError(f"{pattern!r} would leave out a part of the model ({min(left_out)}): it could not be loaded")
        shared -= left_out
    for name in sorted(shared):
        if not name.endswith(".safetensors") and _ACCESS_TOKEN.search(present[name].read_bytes()):
            raise ValueError(f"{folder / name} holds what looks like an access token (hf_...): take it out, then share it")
    above = {name.split("/")[0] for name in shared if "/" in name}
    others = (f"{name.split('/')[0]}/" if "/" in name and name.split("/")[0] not in above else name for name in present)
    kept = sorted({name for name in others if name not in shared})
    return RunFiles(folder, {name: present[name].stat().st_size for name in sorted(shared)}, kept)


def readable_size(size: int) -> str:
    """A size in bytes as people read it: 512 B, 1.5 kB, 23.4 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} B"


def is_loaded(name: str) -> bool:
    """Whether `from_pretrained` reads a file of this name."""
    return _is_one_of(name, LOADED)


def _parts_of_model(folder: Path) -> set[str]:
    """The files that hold config and weights, after a check that they are all there and whole."""
    for pattern in (f"{INCOMPLETE_PREFIX}*", f"{REPLACED_PREFIX}*", COMPLETE_MODEL):
        for left_over in sorted(folder.glob(pattern)):
            raise ValueError(
                f"{folder} was left while it was saved ({left_over.name} is there), so its files may belong to two models: "
                "resume the run with --resume_from_checkpoint true, which clears that up"
            )
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no config.json, so it is no trained model: give the output_dir of a run that has come to its end"
        )
    config = _read_json(folder / "config.json")
    if not config.get("model_type"):
        raise ValueError(f"{folder / 'config.json'} names no model_type, so nobody could load it: save the model again")
    weights = _weight_files(folder)
    for name in weights:
        if name.endswith(".safetensors"):
            _check_weights(folder / name)
    if (folder / "processor_config.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        raise FileNotFoundError(f"{folder} holds a processor without its tokenizer (tokenizer_config.json): save it again")
    return {"config.json", *weights}


def _weight_files(folder: Path) -> list[str]:
    """The weights that `from_pretrained` reads: one file, or an index with its shards; none that an older model left."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if not (folder / INDEX).is_file():
        others = sorted(path.name for path in folder.glob("*.bin") if path.name.startswith(("pytorch_model", "adapter_model")))
        raise FileNotFoundError(
            f"{folder} holds no {WEIGHTS}, so the model is not whole: "
            + (f"load it from {others[0]} and save it again with save_pretrained" if others else "let its run come to its end")
        )
    shards = sorted(set(_read_json(folder / INDEX).get("weight_map", {}).values()))
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing or not shards:
        raise FileNotFoundError(
            f"{folder} holds only a part of its model: {INDEX} names {missing[0] if missing else 'no file'}, "
            "which is not there. Save the model again"
        )
    return [INDEX, *shards]


def _check_weights(path: Path) -> None:
    try:
        with safe_open(path, framework="pt"):  # reads the header and compares it with the length of the file
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or cut off ({error}): save the model again") from error


def _read_json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): save the model again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object: save the model again")
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _is_one_of(name: str, patterns: Sequence[str]) -> bool:
    # `*` of fnmatch also stands for a "/", which no file name here may hold beside the one of its folder.
    return any(name.count("/") == pattern.count("/") and fnmatchcase(name, pattern) for pattern in patterns)


def _is_weight(name: str) -> bool:
    return name == INDEX or name.endswith(".safetensors")
