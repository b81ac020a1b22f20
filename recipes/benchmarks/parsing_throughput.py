"""How many sentences a second a StructVAE parses with a beam, many at once / one after the other.

ours:    `model.parse` of all sentences with batches of 32, or of 64.
theirs:  the same of the same model, with batches of one.

Shapes are those of ATIS (Yin et al. 2018): LSTMs of 256 units, the parser with input feeding and copying, some 110 actions,
sentences of 10 words, trees of up to 50 actions, a beam of 5. The weights are random, so that hardly any beam ends early: the
limit closes the trees. Both sides have to find the same trees. The time is that of the processor, not of the clock: on a
machine with other work the clock says how busy that is.
"""

import argparse
import gc
import random
import time

import torch
from paired_timing import Comparison, add_threads, argument_parser, run_comparisons

from hf_lvm import StructVAEModel
from hf_lvm.data import LatentTextProcessor, synthetic_meanings, train_word_tokenizer, trees_of
from hf_lvm.grammars.languages import build_language
from hf_lvm.grammars.transition_system import ActionVocabulary, ClosedLexicon
from hf_lvm.training.building import decoder_of_run, encoder_of_run
from hf_lvm.training.struct_vae_building import part_over_actions

AT_LEAST = 5.0
BATCHES = (32, 64)
# So many sentences are parsed in a measurement: the largest batch.
SENTENCES = 64
NUM_WORDS, VOCABULARY = 10, 500
SIZES = {"hidden_size": 256, "embedding_size": 128, "initializer_range": 0.1}


def build(options: argparse.Namespace) -> tuple[StructVAEModel, LatentTextProcessor, list[str]]:
    """The model, its processor, and the sentences."""
    torch.manual_seed(0)
    generator = random.Random(0)
    words = [f"w{number}" for number in range(VOCABULARY)]
    tokenizer = train_word_tokenizer([" ".join(words)])
    processor = LatentTextProcessor(tokenizer, tokenizer)
    language = build_language("lambda_calculus")
    lexicons = language.lexicons(trees_of(language, synthetic_meanings.load(200)["train"]["meaning"][:]))
    # The grammar has its own actions; predicates make up the number.
    own = ActionVocabulary(language.grammar, lexicons).first_copy
    more = [f"predicate{number}" for number in range(max(options.actions - own, 0))]
    lexicons["predicate"] = ClosedLexicon([*lexicons["predicate"].pieces, *more])
    vocabulary = ActionVocabulary(language.grammar, lexicons, options.words, language.copied)
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": processor.start_token_id,
        "eos_token_id": processor.end_token_id,
    }
    parts = {name: part_over_actions(name, "lstm", vocabulary, dict(SIZES)) for name in ("reader", "prior")}
    model = StructVAEModel.from_encoder_decoder_pretrained(
        encoder_of_run("lstm", processor, bidirectional=True, **SIZES),
        decoder_of_run("lstm", processor, cross_attention=True, **SIZES),
        parser=part_over_actions("parser", "lstm", vocabulary, SIZES | {"input_feeding": True}),
        **parts,
        actions=vocabulary.to_dict(),
        language=language.to_dict(),
        max_actions=options.limit,
        **ids,
    ).eval()
    sentences = [" ".join(generator.choices(words, k=options.words)) for _ in range(options.sentences)]
    return model, processor, sentences


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=5)
    add_threads(parser)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=list(BATCHES), help="sentences parsed at once (default: 32 64)"
    )
    for name, value, what in (
        ("sentences", SENTENCES, "that are parsed"), ("words", NUM_WORDS, "of each"), ("actions", 110, "of the grammar"),
        ("limit", 50, "actions of a tree at most"), ("beams", 5, "of the search"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{what} (default: {value})")
    options = parser.parse_args()
    model, processor, sentences = build(options)

    def parse(batch_size: int) -> list[str]:
        found = model.parse(sentences, processor=processor, num_beams=options.beams, batch_size=batch_size)
        return [str(each.tree) for each in found]

    def rate(batch_size: int) -> float:
        gc.collect()
        start = time.process_time()
        parse(batch_size)
        return len(sentences) / (time.process_time() - start)

    def compare(num_pairs: int) -> list[Comparison]:
        alone = parse(1)
        comparisons = []
        for size in options.batches:
            together = parse(size)
            if same := sum(map(str.__ne__, together, alone)):
                # Sums of another order can turn a tie, and of random weights there are some.
                print(f"{same} of {len(alone)} trees differ between batches of {size} and of one")
            pairs = [(rate(size), rate(1)) for _ in range(num_pairs)]
            name = f"{size} sentences at once, {options.beams} beams"
            comparisons.append(Comparison(name, "one at a time", "sentences/s", pairs, at_least=AT_LEAST))
        return comparisons

    shapes = {key: getattr(options, key) for key in ("sentences", "words", "limit", "beams", "batches")}
    shapes |= {"actions": model.grammar.size, "dtype": "float32", **SIZES}
    run_comparisons(options, compare, shapes)


if __name__ == "__main__":
    main()
