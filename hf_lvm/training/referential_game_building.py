"""The objects and the model of a run of referential games: made, loaded, or built from scratch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedConfig, PreTrainedModel

from hf_lvm.analysis.text_latents import distinct_texts, text_latents
from hf_lvm.backbones.decoders import as_decoder_config, load_decoder
from hf_lvm.backbones.encoders import as_encoder_config, encoder_positions, load_encoder
from hf_lvm.backbones.sources import check_exists, config_from_scratch, full_name, is_from_scratch
from hf_lvm.data import (
    GameCollator,
    LatentTextProcessor,
    attribute_objects,
    draw_games,
    games_in_batch,
    load_feature_objects,
    split_objects,
)
from hf_lvm.data.splits import SPLITS
from hf_lvm.models.referential_game import ReferentialGameConfig, ReferentialGameModel
from hf_lvm.models.referential_game.configuration_referential_game import EXTRA_IDS, SCRATCH
from hf_lvm.training.building import SCRATCH_SIZES, build_processor, encoder_of_run, load_run_texts
from hf_lvm.training.referential_game_arguments import FILES, GameArguments, ReferentialGameArguments
from hf_lvm.training.results import describe_corpus
from hf_lvm.training.run_arguments import DataArguments

logger = logging.getLogger(__name__)

# Which kind of part each part over symbols is.
KINDS = {"sender": "decoder", "receiver": "encoder", "prior": "decoder"}


@dataclass(frozen=True)
class RunObjects:
    """What a run talks about.

    Attributes:
        objects: all of them, (N, A) integers, (N, F) floats, or N lists of token ids; train, validation, test.
        rows: split -> numbers of its objects.
        names: N texts that say what each is.
        corpus: one line on all of them.
        processor: of texts that an encoder reads.
        are_texts: whether they are sentences, which `names` then are.
    """

    objects: torch.Tensor | list[list[int]]
    rows: dict[str, range]
    names: list[str]
    corpus: str
    processor: LatentTextProcessor | None = None
    are_texts: bool = False

    def of_split(self, split: str) -> torch.Tensor | list[list[int]]:
        """The objects of one split."""
        rows = self.rows[split]
        return self.objects[rows.start : rows.stop]

    def collator(self) -> GameCollator:
        """What makes batches of games about them."""
        padding = 0 if self.processor is None else self.processor.tokenizer.pad_token_id
        return GameCollator(self.objects, padding)

    def games(self, num_distractors: int, seed: int) -> dict[str, Dataset]:
        """Games of training objects against those of their batch, and of held-out ones against others of their split.

        Raises:
            ValueError: a split with fewer objects than are asked for; it is named.
        """
        games = {"train": games_in_batch(self.rows["train"])}
        for split in ("validation", "test"):
            try:
                games[split] = draw_games(self.objects, num_distractors, seed=seed, among=self.rows[split])
            except ValueError as error:
                raise ValueError(f"The {split} split: {error}") from error
        if len(self.rows["train"]) <= num_distractors:
            raise ValueError(
                f"num_distractors is {num_distractors}, and there are {len(self.rows['train']):,} training objects: lower it."
            )
        return games


def objects_of_run(model_arguments: ReferentialGameArguments, data: DataArguments, games: GameArguments) -> RunObjects:
    """The objects that the arguments name, split in three."""
    key = FILES.get(games.objects)
    if key is not None and getattr(games, key) is None:
        raise ValueError(f"objects is {games.objects}: name what they are read from by {key}")
    fractions = {
        "validation_fraction": games.validation_fraction, "test_fraction": games.test_fraction, "seed": games.object_seed,
    }  # fmt: skip
    if games.objects == "attributes":
        splits = attribute_objects(games.attribute_sizes, **fractions)
        names = {split: [" ".join(map(str, row)) for row in rows.tolist()] for split, rows in splits.items()}
        return _joined(
            splits, names, f"combinations of {len(games.attribute_sizes)} attributes of {games.attribute_sizes} values"
        )
    if games.objects == "features":
        splits = split_objects(load_feature_objects(games.features), **fractions)
        names = {split: [f"{split} {row}" for row in range(len(rows))] for split, rows in splits.items()}
        return _joined(splits, names, f"vectors of {Path(games.features).name}")
    texts = load_run_texts(data)
    described = describe_corpus(data, texts)
    if games.objects == "text_latents":
        found = text_latents(games.text_vae, texts, games.near_duplicates)
        what = f"latents of {games.text_vae}; {described}; {_left_out(found.left_out, games.near_duplicates)}"
        return _joined(found.vectors, found.texts, what, are_texts=True)
    kept, left_out = distinct_texts({split: rows["text"][:] for split, rows in texts.items()}, games.near_duplicates)
    processor = build_processor(data, model_arguments.object_encoder, model_arguments.object_encoder, texts)
    ids = {split: processor(own)["input_ids"] for split, own in kept.items()}
    masks = {split: processor(own)["attention_mask"] for split, own in kept.items()}
    rows = {split: [own[mask != 0].tolist() for own, mask in zip(ids[split], masks[split], strict=True)] for split in ids}
    return _joined(rows, kept, f"texts; {described}; {_left_out(left_out, games.near_duplicates)}", processor, True)


def _left_out(counts: dict[str, int], near_duplicates: float) -> str:
    each = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return f"without repetitions, and held-out ones that share {near_duplicates:g} of their words with others ({each})"


def _joined(
    splits: dict[str, Any],
    names: dict[str, list[str]],
    what: str,
    processor: LatentTextProcessor | None = None,
    are_texts: bool = False,
) -> RunObjects:
    """All objects behind each other, with the places of each split."""
    rows, start = {}, 0
    for split in SPLITS:
        rows[split] = range(start, start + len(splits[split]))
        start = rows[split].stop
    parts = [splits[split] for split in SPLITS]
    objects = torch.cat(parts) if isinstance(parts[0], torch.Tensor) else [row for part in parts for row in part]
    sizes = ", ".join(f"{len(rows[split]):,} {split}" for split in SPLITS)
    every = [name for split in SPLITS for name in names[split]]
    return RunObjects(objects, rows, every, f"{what}: {sizes}", processor, are_texts)


def build_game(arguments: ReferentialGameArguments, games: GameArguments, objects: RunObjects) -> ReferentialGameModel:
    """A new model: each part loaded or built from scratch.

    Raises:
        ValueError: options of a pretrained part, or that a family does not have; parts that do not go together.
    """
    options = {part: dict(arguments.part_options.get(part, {})) for part in arguments._part_names}
    used = ["sender", "receiver", *(["prior"] if arguments.prior_type == "model" else [])]
    used += ["object_encoder"] if games.objects == "text" else []
    unused = [part for part in arguments._part_names if part not in used and options[part]]
    if unused:
        key = f"{unused[0]}_{next(iter(options[unused[0]]))}"
        raise ValueError(f"{key} is for a part that this game does not have: leave it out")
    settings: dict[str, Any] = {
        item.name: getattr(arguments, item.name)
        for item in fields(arguments)
        if item.name in ReferentialGameConfig.own_keys() and item.name not in arguments._part_names
    }
    settings["injection"] = arguments.injection[0] if len(arguments.injection) == 1 else arguments.injection
    settings |= {
        "max_length": arguments.max_message_length,
        "min_length": arguments.min_message_length,
        "num_distractors": games.num_distractors,
    }
    given: dict[str, PreTrainedModel] = {}
    kind = {"attributes": "attributes", "text": "text"}.get(games.objects, "features")
    if kind == "attributes":
        settings["attribute_sizes"] = games.attribute_sizes
    elif kind == "features":
        settings["feature_size"] = objects.objects.shape[1]
    else:
        usual = SCRATCH.get(full_name("encoder", arguments.object_encoder), {})
        given["object_encoder"] = encoder_of_run(
            arguments.object_encoder, objects.processor, **usual | options["object_encoder"]
        )
        settings["object_encoder"] = given["object_encoder"].config
        check_room(given["object_encoder"], objects.objects)
    for name in used:
        if name == "object_encoder":
            continue
        part = part_over_symbols(name, getattr(arguments, name), arguments, options[name])
        if isinstance(part, PreTrainedModel):
            given[name] = part
            part = part.config
        settings[name] = part
    model = ReferentialGameModel(ReferentialGameConfig(object_type=kind, **settings), **given)
    if kind == "features":
        model.fit_features(objects.of_split("train"))
    return model


def check_room(encoder: PreTrainedModel, texts: Sequence[Sequence[int]]) -> None:
    """Raise a `ValueError` for texts that are longer than the positions of the encoder."""
    room, longest = encoder_positions(encoder), max(map(len, texts))
    if room is not None and longest > room:
        raise ValueError(
            f"A text has {longest} tokens, and the object_encoder, a {encoder.config.model_type!r} model, has room for "
            f"{room}: leave long texts out (max_words), or choose an encoder with more positions."
        )


def part_over_symbols(
    name: str, source: str, arguments: ReferentialGameArguments, options: dict[str, Any]
) -> PreTrainedConfig | PreTrainedModel:
    """A sender, a receiver or a prior: a pretrained one with new embeddings, or the config of one from scratch.

    Raises:
        ValueError: options of a pretrained part, which it does not take here, or that its family does not have.
    """
    kind, symbols = KINDS[name], arguments.num_symbols
    source = full_name(kind, source)
    check_exists(source)
    ids = dict(zip(("eos_token_id", "bos_token_id", "pad_token_id"), range(symbols, symbols + EXTRA_IDS), strict=True))
    sizes = {"vocab_size": symbols + EXTRA_IDS, **ids}
    attends = name == "sender" and "cross_attention" in arguments.injection
    if not is_from_scratch(source):
        if options:
            raise ValueError(f"{name}_{next(iter(options))} is for a {name} built from scratch, and {source} is pretrained.")
        if name == "prior":
            # Its symbols are what it was trained on.
            return load_decoder(source)
        sizes["ignore_mismatched_sizes"] = True
        return load_encoder(source, **sizes) if kind == "encoder" else load_decoder(source, cross_attention=attends, **sizes)
    usual = SCRATCH.get(source, SCRATCH_SIZES)
    config = config_from_scratch(source, usual | sizes, **options)
    if kind == "encoder":
        return as_encoder_config(config)
    wide = arguments.object_size if name == "sender" and "concatenation" in arguments.injection else None
    return as_decoder_config(config, attends, wide)
