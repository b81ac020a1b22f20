"""What a training step of a summarizer that samples costs, beside generating the samples and one pass through its parts.

ours:    forward and backward pass of LatentSummarizerModel with a pointer posterior, K = 8 compressions of each sentence and
         `rloo`: the source is encoded once, the compressions come from one cached pass and are scored by one teacher-forced
         pass of the pointer, one of the decoder and one of the prior.
theirs:  the same samples, drawn without a gradient from the same posterior, whose encoder then reads the source for them; and
         one forward and backward pass of the same parts on them: the bare encoder, the pointer's `log_prob`, the bare decoder
         on compression, start and sentence, the prior. No learning signal, no bound.

The time is that of the processor, not of the clock: on a machine with other work the clock says how busy that is. Also told
is how often each part was called in one of our steps, and where its time goes.
"""

import argparse
import gc
import time
from collections.abc import Callable

import torch
from measured_models import END, PAD, START
from paired_timing import Comparison, add_threads, argument_parser, run_comparisons
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from hf_lvm import LatentSummarizerConfig, LatentSummarizerModel
from hf_lvm.backbones.sources import config_from_scratch, full_name
from hf_lvm.models.latent_summarizer.posterior_heads import EncodedWords

SAMPLES = 8
FAMILIES = {"transformers": ("bert", "gpt2"), "lstm": ("lstm", "lstm")}
KINDS = {
    "products of matrices": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "softmax and its gradient": ("softmax", "aten::exp", "logsumexp", "aten::log"),
    "LSTM": ("rnn", "lstm"),
    "gathering and putting in place": ("index", "gather", "scatter", "aten::cat", "aten::copy_", "sort"),
}


def build(family: str, options: argparse.Namespace) -> LatentSummarizerModel:
    torch.manual_seed(0)
    special = {"pad_token_id": PAD, "bos_token_id": START, "eos_token_id": END, "vocab_size": options.words}
    sizes = {"num_hidden_layers": options.layers, "hidden_size": options.width}
    if family == "transformers":
        sizes |= {"num_attention_heads": 4, "max_position_embeddings": 2 * options.length + 8}
    encoder, decoder = (full_name(part, name) for part, name in zip(("encoder", "decoder"), FAMILIES[family], strict=True))
    # Dropout would be drawn anew on each side; the costs of the masks are not what is measured.
    dropout = {
        "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "gpt2": {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0},
    }
    own = [config_from_scratch(name, special, **sizes, **dropout.get(name, {})) for name in (encoder, decoder)]
    config = LatentSummarizerConfig(
        encoder=own[0], decoder=own[1], posterior_type="pointer", estimator="rloo", num_samples=SAMPLES,
        max_summary_words=options.length // 4, min_summary_words=options.length // 4,
        pad_token_id=PAD, bos_token_id=START, eos_token_id=END,
    )  # fmt: skip
    return LatentSummarizerModel(config).train()


def batch_of(options: argparse.Namespace) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(5, options.words, (options.batch, options.length), generator=generator)
    labels = functional.pad(words, (0, 1), value=END)
    return {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": labels}


def our_step(model: LatentSummarizerModel, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    def run() -> None:
        model(**batch, generator=torch.Generator().manual_seed(1)).loss.backward()
        model.zero_grad()

    return run


def their_step(model: LatentSummarizerModel, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    source = model.source_of(batch["labels"], None)

    def encoded() -> EncodedWords:
        states = model.encoder(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return EncodedWords(states, states.mean(1))

    def run() -> None:
        with torch.no_grad():
            drawn = model.posterior_head(encoded(), source, None).sample((SAMPLES,), torch.Generator().manual_seed(1))
            compressions = model.posterior_head.labels_of(drawn, source)
        log_q = model.posterior_head(encoded(), source, None).log_prob(drawn)
        labels = batch["labels"].repeat(SAMPLES, 1)
        mask = (compressions != -100).flatten(0, 1)
        start = torch.full_like(labels[:, :1], START)
        read = torch.cat([compressions.flatten(0, 1).masked_fill(~mask, PAD), start, labels[:, :-1]], 1)
        seen = torch.cat([mask.long(), torch.ones_like(labels)], 1)
        logits = model.decoder(read, attention_mask=seen, logits_to_keep=labels.shape[1], use_cache=False).logits
        log_x = -functional.cross_entropy(logits.transpose(1, 2), labels, reduction="sum")
        (log_q.sum() + log_x + model.log_prior(source, drawn).sum()).backward()
        model.zero_grad()

    return run


def calls_of(model: LatentSummarizerModel, step: Callable[[], None]) -> dict[str, int]:
    """How often each part is called in a step."""
    counts = dict.fromkeys(("encoder", "decoder", "prior"), 0)

    def count(name: str) -> Callable:
        def hook(*_) -> None:
            counts[name] += 1

        return hook

    hooks = [getattr(model, name).register_forward_pre_hook(count(name)) for name in counts]
    step()
    for hook in hooks:
        hook.remove()
    return counts


def where_time_goes(step: Callable[[], None]) -> dict[str, float]:
    """Share of a step by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as record:
        step()
    totals = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in record.key_averages():
        kind = next((kind for kind, names in KINDS.items() if any(name in event.key for name in names)), "everything else")
        totals[kind] += event.self_cpu_time_total
    whole = sum(totals.values())
    return {kind: spent / whole for kind, spent in sorted(totals.items(), key=lambda pair: -pair[1])}


def processor_seconds(run: Callable[[], None]) -> float:
    gc.collect()
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argument_parser(__doc__, default_pairs=7)
    add_threads(parser)
    parser.add_argument("--family", choices=FAMILIES, nargs="+", default=list(FAMILIES), help="of encoder and decoder")
    for name, value, what in (
        ("layers", 4, "of encoder and decoder"), ("width", 256, "of their states"), ("words", 8000, "of the vocabulary"),
        ("batch", 32, "sentences"), ("length", 64, "words of each; a compression has a quarter of them"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{what} (default: {value})")
    options = parser.parse_args()
    calls, profiles = {}, {}

    def compare(num_pairs: int) -> list[Comparison]:
        comparisons, batch = [], batch_of(options)
        for family in options.family:
            model = build(family, options)
            ours, theirs = our_step(model, batch), their_step(model, batch)
            calls[family] = calls_of(model, ours)
            theirs()
            pairs = [(processor_seconds(ours), processor_seconds(theirs)) for _ in range(num_pairs)]
            name, other = f"{family}, K = {SAMPLES}, rloo", "the samples, and one pass through the same parts"
            comparisons.append(Comparison(name, other, "s of the processor", pairs, at_most=1.3))
            profiles[family] = where_time_goes(ours)
        return comparisons

    shapes = {key: getattr(options, key) for key in ("layers", "width", "words", "batch", "length")}
    run_comparisons(options, compare, shapes | {"samples": SAMPLES, "dtype": "float32"}, calls=calls, profile=profiles)
    for family, own in calls.items():
        print(f"{family}: calls in one of our steps: {', '.join(f'{part} {count}' for part, count in own.items())}; time: "
              + ", ".join(f"{kind} {share:.0%}" for kind, share in profiles[family].items()))  # fmt: skip


if __name__ == "__main__":
    main()
