"""The StructVAE of a run: its actions, its parts, loaded or built from scratch."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from datasets import Dataset
from transformers import PreTrainedConfig

from hf_lvm.backbones.decoders import as_decoder_config
from hf_lvm.backbones.encoders import as_encoder_config
from hf_lvm.backbones.sources import check_exists, config_from_scratch, full_name, is_from_scratch
from hf_lvm.data import LatentTextProcessor, trees_of
from hf_lvm.grammars.languages import Language
from hf_lvm.grammars.transition_system import ActionVocabulary, Source, actions_of
from hf_lvm.models.struct_vae import StructVAEModel
from hf_lvm.models.struct_vae.configuration_struct_vae import ACTION_IDS
from hf_lvm.training.building import SCRATCH_SIZES, decoder_of_run, encoder_of_run
from hf_lvm.training.struct_vae_arguments import StructVAEArguments

# A word is copied only where it can be spelled in so many steps, on average over the steps of the longest tree.
COPIED_STEPS = 8
# Which kind of part each part over actions is.
KINDS = {"parser": "decoder", "reader": "encoder", "prior": "decoder"}


def build_struct_vae(
    arguments: StructVAEArguments,
    processor: LatentTextProcessor,
    language: Language,
    meanings: Sequence[str],
    labelled: Dataset,
) -> StructVAEModel:
    """A new model: each part loaded or built from scratch.

    Args:
        language: of the meanings.
        meanings: whose values its lexicons have: those of the labelled rows, and what else its prior may read.
        labelled: rows with `text` and `meaning`, which say how long a tree is.
    """
    options = {part: dict(arguments.part_options.get(part, {})) for part in arguments._part_names}
    slots = arguments.copy_slots
    vocabulary = ActionVocabulary(
        language.grammar,
        language.lexicons(trees_of(language, meanings), arguments.num_pieces),
        slots,
        language.copied if slots else None,
    )
    tokenizer = processor.decoder_tokenizer
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": processor.start_token_id,
        "eos_token_id": processor.end_token_id,
    }
    own = StructVAEModel.config_class.own_keys()
    left = {"prior", "parser", "reader", "language_model", "max_actions", "max_spelled_actions"}
    settings: dict[str, Any] = {key: value for key, value in asdict(arguments).items() if key in own - left}
    parts = {
        name: part_over_actions(name, getattr(arguments, name), vocabulary, options[name])
        for name in ("parser", "reader", *(("prior",) if arguments.prior_type == "model" else ()))
    }
    most = arguments.max_actions or room_for(vocabulary, language, labelled)
    spelled = arguments.max_spelled_actions
    if spelled is None and all(isinstance(part, PreTrainedConfig) and _is_endless(part) for part in parts.values()):
        spelled = room_for_spelled(vocabulary, language, meanings, most)
    if arguments.language_model is not None:
        parts["language_model"] = decoder_of_run(arguments.language_model, processor, **options["language_model"])
    return StructVAEModel.from_encoder_decoder_pretrained(
        encoder_of_run(arguments.encoder, processor, **options["encoder"]),
        decoder_of_run(arguments.decoder, processor, cross_attention=True, **options["decoder"]),
        **parts,
        processor=processor if arguments.copy_from_meaning else None,
        actions=vocabulary.to_dict(),
        language=language.to_dict(),
        max_actions=most,
        max_spelled_actions=spelled,
        **settings,
        **ids,
    )


def part_over_actions(name: str, source: str, vocabulary: ActionVocabulary, options: dict[str, Any]) -> str | PreTrainedConfig:
    """A parser, a reader or a prior: the name of a pretrained one, or the config of one from scratch.

    Raises:
        ValueError: options of a pretrained part, which it does not take here, or that its family does not have.
    """
    kind = KINDS[name]
    source = full_name(kind, source)
    check_exists(source)
    if not is_from_scratch(source):
        if options:
            raise ValueError(f"{name}_{next(iter(options))} is for a {name} built from scratch, and {source} is pretrained.")
        return source
    sizes = {} if source.startswith("hf_lvm_") else SCRATCH_SIZES
    config = config_from_scratch(source, sizes | {"vocab_size": vocabulary.first_copy, **ACTION_IDS}, **options)
    return as_encoder_config(config) if kind == "encoder" else as_decoder_config(config, cross_attention=name == "parser")


def room_for(vocabulary: ActionVocabulary, language: Language, labelled: Dataset) -> int:
    """Steps of the longest meaning of labelled rows, and a fifth more; a copied word may count twice."""
    longest = 1
    for text, meaning in zip(labelled["text"][:], labelled["meaning"][:], strict=True):
        source = Source(vocabulary, text.split()) if vocabulary.copy_slots else None
        actions = actions_of(vocabulary, language.parse(meaning), source)
        longest = max(longest, len(actions) + sum(action >= vocabulary.first_copy for action in actions))
    return longest + longest // 5 + 1


def room_for_spelled(vocabulary: ActionVocabulary, language: Language, meanings: Sequence[str], most: int) -> int:
    """Likewise without copies, of all meanings; and so many that a copied word may take `COPIED_STEPS` for each of its own."""
    spelled = ActionVocabulary(vocabulary.grammar, vocabulary.lexicons)
    longest = max(len(actions_of(spelled, tree)) for tree in trees_of(language, meanings))
    is_open = any(vocabulary.lexicons[type_].is_open for type_ in vocabulary.copied)
    return max(longest + longest // 5 + 1, most * (COPIED_STEPS if is_open else 1))


def _is_endless(part: PreTrainedConfig) -> bool:
    """Whether a part reads on without positions, so that nothing but a limit ends the trees that an untrained p(z) draws."""
    return part.model_type in ("hf_lvm_lstm_encoder", "hf_lvm_lstm_decoder")


def add_language_model(model: StructVAEModel, arguments: StructVAEArguments, processor: LatentTextProcessor) -> None:
    """Give a trained model the language model of its baseline."""
    options = arguments.part_options.get("language_model", {})
    model.language_model = decoder_of_run(arguments.language_model, processor, **options).to(model.device)
    model.config.language_model = model.language_model.config
