"""What a grammar costs while a decoder writes, and while it scores.

ours:    seconds a step of `generate` with a GrammarLogitsProcessor for Python files, sampling and with beams; seconds of a
         `log_prob` with its gradient of SymbolSequences over a GrammarDecoder.
theirs:  `generate` of the same decoder with the same options for as many steps, its end token switched off; `log_prob` of
         SymbolSequences over the decoder itself, of the same sequences.

The decoder has random weights, so that it wanders into states of the grammar that it has never been in, which are then made,
far more than a trained one would. So samples are timed twice: the same ones again and again, whose states are known, which is
what the target is for, and others each time. Everything that is sampled has to be a tree.
"""

import ast
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch
from measured_models import START, build_bare_decoder
from paired_timing import Comparison, add_threads, argument_parser, interleaved, run_comparisons, seconds
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel

from hf_lvm.generation.cached_decoder import CachedDecoder
from hf_lvm.generation.grammar_decoder import GrammarDecoder
from hf_lvm.generation.grammar_logits_processor import GrammarLogitsProcessor
from hf_lvm.generation.symbol_sequences import SymbolSequences
from hf_lvm.grammars.python_syntax import from_ast, python_grammar, python_lexicons
from hf_lvm.grammars.transition_system import END, PAD, ActionVocabulary, Automaton, tree_of

BATCH_SIZE = 32
NUM_BEAMS = 5
LIMIT = 64
NUM_PIECES = 5000
SIZES = {
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
AT_MOST = 1.10
# Of the standard library: enough for as many pieces.
NUM_FILES = 60


def python_automaton() -> Automaton:
    """Of whole files, so that few trees are whole long before the limit; the names and strings of the standard library."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:NUM_FILES]
    grammar = python_grammar("mod")
    values = grammar.values(from_ast(ast.parse(path.read_bytes()), "mod") for path in paths)
    return Automaton(ActionVocabulary(grammar, python_lexicons(values, NUM_PIECES)))


class CountedSteps(LogitsProcessor):
    """How many steps `generate` made: with beams more than the sequence is long that comes out best."""

    def __init__(self):
        self.count = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return scores


def generation(
    model: PreTrainedModel, automaton: Automaton, num_pairs: int, batch_size: int, same: bool = True, **options
) -> list[tuple[float, float]]:
    """Pairs of seconds a step, after two that do not count; of the same samples each time, or of others."""
    start = torch.full((batch_size, 1), START)
    settings = {"attention_mask": torch.ones_like(start), **options}
    pairs = []
    for pair in range(2 + num_pairs):
        torch.manual_seed(0 if same else pair)
        made = CountedSteps()
        processors = LogitsProcessorList([GrammarLogitsProcessor(automaton, LIMIT), made])
        written = []

        def ours(processors=processors, written=written):
            written.append(model.generate(start, logits_processor=processors, max_new_tokens=LIMIT + 1, **settings))

        model.generation_config.eos_token_id = END
        taken = seconds(ours)
        steps = made.count
        for row in written[0].tolist():
            tree_of(automaton.vocabulary, row)
        model.generation_config.eos_token_id = None
        bare = seconds(lambda steps=steps: model.generate(start, max_new_tokens=steps, **settings))
        pairs.append((taken / steps, bare / steps))
    return pairs[2:]


def scoring(model: PreTrainedModel, automaton: Automaton) -> tuple[Callable[[], None], Callable[[], None]]:
    """log q of sampled trees with its gradient, under the grammar and without."""
    start = torch.full((BATCH_SIZE, 1), START)
    q, bare = (
        SymbolSequences(decoder, END, LIMIT, pad_token_id=PAD)
        for decoder in (GrammarDecoder(CachedDecoder(model, start), automaton, LIMIT), CachedDecoder(model, start))
    )
    sequences = q.sample()
    return lambda: q.log_prob(sequences).sum().backward(), lambda: bare.log_prob(sequences).sum().backward()


def compare(num_pairs: int) -> list[Comparison]:
    automaton = python_automaton()
    size = len(automaton.vocabulary)
    print(f"{size} actions, at most {LIMIT} of them in a tree")
    model = build_bare_decoder("gpt2", SIZES | {"vocab_size": size}).eval()
    model.generation_config.pad_token_id = PAD
    new = generation(model, automaton, num_pairs, BATCH_SIZE, same=False, do_sample=True, top_k=0)
    known = generation(model, automaton, num_pairs, BATCH_SIZE, do_sample=True, top_k=0)
    # As many rows, in beams.
    beams = generation(model, automaton, num_pairs, BATCH_SIZE // NUM_BEAMS, do_sample=False, num_beams=NUM_BEAMS)
    rows = [
        Comparison(f"generate, {BATCH_SIZE} samples", "gpt2", "s/step", known, at_most=AT_MOST),
        Comparison(f"generate, {BATCH_SIZE} other samples each time", "gpt2", "s/step", new),
        Comparison(f"generate, {BATCH_SIZE // NUM_BEAMS} x {NUM_BEAMS} beams", "gpt2", "s/step", beams, at_most=AT_MOST),
    ]
    ours, theirs = scoring(model, automaton)
    rows.append(Comparison(f"log_prob, {BATCH_SIZE} trees", "gpt2", "s", interleaved(ours, theirs, num_pairs)))
    return rows


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=9)
    add_threads(parser)
    shapes = {"batch_size": BATCH_SIZE, "num_beams": NUM_BEAMS, "limit": LIMIT, "num_pieces": NUM_PIECES, "dtype": "float32"}
    run_comparisons(parser.parse_args(), compare, SIZES | shapes)


if __name__ == "__main__":
    main()
