"""Train a referential game and report on it: the `main` behind `recipes/train_referential_game.py`."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_lvm.analysis.game_report import PlayedGames, play_games, report_games
from hf_lvm.analysis.language_report import LanguageReport, report_language, write_language_report
from hf_lvm.data import draw_games
from hf_lvm.metrics.language_structure.lexicon import Names, lexicon_table
from hf_lvm.models.referential_game import ReferentialGameModel
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.config_file import parse_over_defaults
from hf_lvm.training.referential_game_arguments import GameArguments, GameReportArguments, ReferentialGameArguments
from hf_lvm.training.referential_game_building import RunObjects, build_game, objects_of_run
from hf_lvm.training.referential_game_prior import fit_message_prior, messages_of_run
from hf_lvm.training.referential_game_trainer import GameTrainer
from hf_lvm.training.results import changed_settings, evaluations_of, results_of_run, write_results
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.run_parts import (
    begin_run,
    build_trainer,
    finish_run,
    log_model_size,
    refuse_keys,
    resumes,
    train_and_save,
)

logger = logging.getLogger(__name__)

ARGUMENTS = (ReferentialGameArguments, DataArguments, GameArguments, GameReportArguments, LatentTrainingArguments)
SHOWN_GAMES = 30
# Forms of a lexicon that results.json keeps; lexicon.json has all.
LEXICON_LINES = 40
# What results.json keeps of each evaluation.
WATCHED = ("accuracy", "message_length", "reconstruction", "kl", "bound")
# What a latent vector, a decoder of texts or an encoder that lags behind would use.
OTHERS_KEYS = ("aggressive", "free_bits", "word_dropout", "autoencoder_warmup_steps", "labelled_share", "collapse_guard")
# What weighs a KL term.
KL_KEYS = ("kl_schedule", "kl_end", "kl_target")

DESCRIPTION = """Train two agents that have to invent a language (Havrylov and Titov 2017): a sender sees an object and writes
a message, a receiver reads it and has to find the object among others.

Without a config they talk about combinations of attributes. Afterwards the output folder holds the model
(AutoModel.from_pretrained loads it after `import hf_lvm`), results.json, messages.txt, lexicon.txt and figures/."""


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> dict[str, Any]:
    """Train by the command line and return the results that are also written to `results.json`."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parse_over_defaults(ARGUMENTS, argv, "referential_game", DESCRIPTION, prog)
    trainer, told = prepare(*arguments)
    return train_and_report(trainer, told, *arguments, command=[prog or sys.argv[0], *argv])


def prepare(
    model_arguments: ReferentialGameArguments,
    data: DataArguments,
    games: GameArguments,
    report: GameReportArguments,
    args: LatentTrainingArguments,
) -> tuple[GameTrainer, dict[str, Any]]:
    """A trainer with its model and games, ready to train."""
    refuse_keys(args, OTHERS_KEYS, "A message is no latent vector and no text")
    if model_arguments.prior_type == "none" or not model_arguments.prior_weight:
        refuse_keys(args, KL_KEYS, "The loss of this game has no KL term (prior_type none, or prior_weight 0)")
    if args.per_device_train_batch_size <= games.num_distractors:
        raise ValueError(
            f"per_device_train_batch_size is {args.per_device_train_batch_size}, and a game has {games.num_distractors} "
            "distractors, which are others of its batch: make the batch larger, or lower num_distractors"
        )
    # A last batch that is smaller has too few of them.
    args.dataloader_drop_last = True
    begin_run(args)
    objects = objects_of_run(model_arguments, data, games)
    played = objects.games(games.num_distractors, games.object_seed)
    if len(played["train"]) < args.per_device_train_batch_size * args.world_size:
        raise ValueError(
            f"There are {len(played['train']):,} training objects, fewer than a batch of "
            f"{args.per_device_train_batch_size * args.world_size}: make the batch smaller"
        )
    model = build_game(model_arguments, games, objects)
    symbols = fit_prior(model, model_arguments, objects, args)
    trainer = build_trainer(model, args, played, objects.processor, GameTrainer, objects.collator())
    logger.info("Objects: %s.", objects.corpus)
    config = model.config
    size = f"{config.number_of_messages:,} messages of up to {config.max_length} of {config.num_symbols} symbols"
    log_model_size(model, size)
    return trainer, {"encoded": played, "corpus": objects.corpus, "objects": objects, "symbols": symbols}


def fit_prior(
    model: ReferentialGameModel, arguments: ReferentialGameArguments, objects: RunObjects, args: LatentTrainingArguments
) -> list[str] | None:
    """Train p(m) before all else where the run says so; the names that symbols have then."""
    if arguments.prior_messages is None:
        return None
    texts = objects.names if objects.are_texts else None
    train = None if texts is None else [texts[row] for row in objects.rows["train"]]
    messages = messages_of_run(arguments.prior_messages, train, model.config)
    # What was fitted before a checkpoint is in it.
    if not resumes(args):
        fit_message_prior(model, messages.rows, arguments.prior_epochs)
    return messages.names


def train_and_report(
    trainer: GameTrainer,
    told: dict[str, Any],
    model_arguments: ReferentialGameArguments,
    data: DataArguments,
    games: GameArguments,
    report: GameReportArguments,
    args: LatentTrainingArguments,
    *,
    command: list[str],
) -> dict[str, Any]:
    """Train, save, measure on the test split, and write everything into the output folder."""
    seconds = train_and_save(trainer)
    if not trainer.is_world_process_zero():
        return {}
    model, objects = trainer.accelerator.unwrap_model(trainer.model), told["objects"]
    options = {"batch_size": args.per_device_eval_batch_size, "num_beams": report.report_beams}
    test = report_games(
        model,
        told["encoded"]["test"],
        objects.collator(),
        num_importance_samples=report.num_importance_samples,
        seed=args.seed,
        **options,
    )
    language, _ = language_of(model, objects, games, report.language_objects, symbols=told["symbols"], **options)
    settings = {
        **asdict(model_arguments), **asdict(data), **asdict(games), **asdict(report), **changed_settings(args),
    }  # fmt: skip
    results = {
        **results_of_run(trainer, command, settings, seconds, objects.corpus),
        "evaluations": evaluations_of(trainer.state.log_history, WATCHED),
        "test": test,
        "language": language.metrics,
        "lexicon": {
            unit: lexicon_table(rows, max_forms=LEXICON_LINES).splitlines() for unit, rows in language.lexicons.items() if rows
        },
    }
    output = Path(args.output_dir)
    write_results(output / "results.json", results)
    shown = play_games(
        model, told["encoded"]["test"].select(range(min(SHOWN_GAMES, test["games"]))), objects.collator(), **options
    )
    (output / "messages.txt").write_text(
        describe_games(shown, objects, objects.rows["test"], Names(symbols=told["symbols"])), encoding="utf-8"
    )
    write_language_report(language, output)
    write_results(output / "lexicon.json", language.lexicons)
    finish_run(trainer, summary(test, language.metrics))
    return results


def language_of(
    model,
    objects: RunObjects,
    games: GameArguments,
    most: int,
    batch_size: int,
    num_beams: int,
    symbols: Sequence[str] | None = None,
) -> tuple[LanguageReport, PlayedGames]:
    """The language, measured on up to `most` objects: the test objects first, then others at random; in games among these.

    Of attributes with their lexicon; of texts and their latents the lexicon is told in the words of the texts.

    Args:
        symbols: what symbols are called.
    """
    test = objects.rows["test"]
    others = [*objects.rows["train"], *objects.rows["validation"]]
    order = np.random.default_rng(games.object_seed).permutation(len(others))[: max(most - len(test), 0)]
    numbers = [*list(test)[:most], *sorted(others[row] for row in order)]
    drawn = draw_games(objects.objects, min(games.num_distractors, len(numbers) - 1), seed=games.object_seed, among=numbers)
    played = play_games(model, drawn, objects.collator(), batch_size, num_beams=num_beams)
    words = [objects.names[number].lower().split() for number in numbers]
    kind = "attributes" if games.objects == "attributes" else "vectors"
    options: dict[str, Any] = {"correct": played.is_right.astype(float), "meaning_type": kind}
    options["names"] = Names(symbols=symbols)
    if games.objects == "attributes":
        meanings = objects.objects[torch.tensor(numbers)].numpy()
    elif games.objects == "text":
        meanings = bags_of_words(words)
    else:
        meanings = objects.objects[torch.tensor(numbers)].double().numpy()
    if objects.are_texts:
        options["lexicon_meanings"] = words
        options["min_count"] = 5
    return report_language(played.messages, meanings, **options), played


def bags_of_words(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """Which words each of N texts has, (N, V), for the distances of texts."""
    numbers = {word: place for place, word in enumerate(sorted({word for text in texts for word in text}))}
    bags = np.zeros((len(texts), len(numbers)))
    for row, text in enumerate(texts):
        bags[row, [numbers[word] for word in text]] = 1.0
    return bags


def describe_games(played: PlayedGames, objects: RunObjects, rows: Sequence[int], names: Names) -> str:
    """A few unseen objects and what is said of them; games that are lost are marked."""
    lines = ["Objects that were not seen in training, and what the sender says of them", ""]
    for number, message, right in zip(rows, played.messages, played.is_right, strict=False):
        said = " ".join(map(names.symbol, message)) or "(nothing)"
        lines.append(f"{objects.names[number]}  ->  {said}{'' if right else '   (not found)'}")
    return "\n".join(lines) + "\n"


def summary(test: dict[str, Any], language: dict[str, Any]) -> str:
    """The results on the test split in a few lines, each unit named."""
    lines = [
        f"On the test split, {test['games']:,} games of {test['candidates']:.0f} candidates (chance {test['chance']:.1%}):",
        f"  accuracy {test['accuracy']:.1%}, of messages that are drawn {test['sampled_accuracy']:.1%}",
        f"  {test['mean_length']:.2f} symbols a message, {test['distinct_messages']:,} different messages",
    ]
    if "bound" in test:
        bound = test["bound"]
        lines.append(
            f"  -log p(x|m) {bound['reconstruction']:.2f} nats/game, KL to p(m) {bound['kl']:.2f}, together the negative bound"
        )
    if language["topographic_similarity"] is not None:
        lines.append(f"  topographic similarity {language['topographic_similarity']:.3f} on {language['messages']:,} objects")
    return "\n".join(lines)
