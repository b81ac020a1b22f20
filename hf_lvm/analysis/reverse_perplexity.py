"""Reverse and forward perplexity: samples of a model judged by language models trained for the purpose.

Reverse perplexity (Zhao et al. 2018) is that of held-out text under a language model trained on samples of the model: it is
high when the samples are bad and when they are good but lack variety. Forward perplexity is that of the samples under a
language model trained on real text: it is high only when they are bad, and a model that always says the same easy sentence
beats real text. Neither means anything without the third number given here: held-out text under a language model trained on
as much real text, which is what reverse perplexity would be for perfect samples.

The numbers depend on everything about that language model and on how many samples it is given, so the protocol is part of
the result, and numbers of different protocols cannot be compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils import clip_grad_norm_

from hf_lvm.analysis.corpus import likelihood_in_units
from hf_lvm.analysis.global_seed import global_seed
from hf_lvm.backbones.lstm_decoder import LSTMDecoderConfig, LSTMDecoderModel
from hf_lvm.data import LatentTextProcessor, LengthBucketedSampler
from hf_lvm.data.processor import pad_rows
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.metrics.text_likelihood.text_likelihood import compute_text_likelihood
from hf_lvm.objectives.likelihood import IGNORED, sentence_nll, shift_right

SAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class JudgeProtocol:
    """The language model that judges: an LSTM over the decoder's tokens, trained with Adam for a fixed number of steps.

    Attributes:
        num_texts: texts it is trained on, samples or real ones; fewer where the training split is smaller.
        steps: updates, whatever the loss; the last model is the one that judges.
        batch_size: sentences a step, of similar length.
        learning_rate: of Adam, the same at all steps.
        max_grad_norm: gradients are clipped to this norm.
        embedding_size, hidden_size, num_hidden_layers, dropout: of the LSTM; dropout on embeddings and on outputs.
        max_new_tokens: longest sample.
    """

    num_texts: int = 10_000
    steps: int = 1_000
    batch_size: int = 32
    learning_rate: float = 1e-3
    max_grad_norm: float = 5.0
    embedding_size: int = 256
    hidden_size: int = 256
    num_hidden_layers: int = 1
    dropout: float = 0.2
    max_new_tokens: int = 64


def train_judge(
    rows: Sequence[Sequence[int]],
    processor: LatentTextProcessor,
    protocol: JudgeProtocol,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> LSTMDecoderModel:
    """A language model of token rows that end with the end token, in evaluation mode.

    The same seed gives the same model on the same machine; the global random generators are left as they were.
    """
    device = torch.device(device)
    with global_seed(seed, device):
        config = LSTMDecoderConfig(
            vocab_size=len(processor.decoder_tokenizer),
            embedding_size=protocol.embedding_size,
            hidden_size=protocol.hidden_size,
            num_hidden_layers=protocol.num_hidden_layers,
            embedding_dropout=protocol.dropout,
            dropout=protocol.dropout,
        )
        judge = LSTMDecoderModel(config).to(device).train()
        optimizer = torch.optim.Adam(judge.parameters(), lr=protocol.learning_rate)
        sampler = LengthBucketedSampler([len(row) for row in rows], protocol.batch_size, seed)
        for indices in _batches(sampler, protocol):
            labels = torch.tensor(pad_rows([rows[index] for index in indices], IGNORED), device=device)
            loss = _nll(judge, labels, processor).sum() / (labels != IGNORED).sum()
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(judge.parameters(), protocol.max_grad_norm)
            optimizer.step()
    return judge.eval()


def score_rows(
    judge: LSTMDecoderModel, rows: Sequence[Sequence[int]], processor: LatentTextProcessor, batch_size: int = 64
) -> torch.Tensor:
    """-log p of token rows that end with the end token, nats per sentence: (N,) float64 on the CPU."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    scores = torch.zeros(len(rows), dtype=torch.float64)
    with in_evaluation_mode(judge):
        for begin in range(0, len(order), batch_size):
            indices = order[begin : begin + batch_size]
            labels = torch.tensor(pad_rows([rows[index] for index in indices], IGNORED), device=judge.device)
            scores[indices] = _nll(judge, labels, processor).double().cpu()
    return scores


def draw_samples(
    model,
    processor: LatentTextProcessor,
    count: int,
    seed: int = 0,
    conditions: Sequence[str] | None = None,
    **options,
) -> list[str]:
    """`count` texts: z from the prior, words from p(x|z) by ancestral sampling at temperature 1.

    Args:
        conditions: of a conditional model, the texts c of p(z|c), one a text in turn, from the first again where there are
            fewer.
        options: of `generate`, such as `max_new_tokens`.
    """
    generator = torch.Generator().manual_seed(seed)
    samples: list[str] = []
    with global_seed(seed, model.device):
        for begin in range(0, count, SAMPLES_AT_ONCE):
            size = min(SAMPLES_AT_ONCE, count - begin)
            if conditions is not None:
                options["conditions"] = [conditions[place % len(conditions)] for place in range(begin, begin + size)]
            number = size if conditions is None else 1
            samples += model.sample(number, processor=processor, generator=generator, **options)
    return samples


def measure_reverse_perplexity(
    model,
    processor: LatentTextProcessor,
    train: Dataset,
    held_out: Dataset,
    protocol: JudgeProtocol | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Reverse and forward perplexity of a text VAE, and the same language model's on real text.

    Args:
        model: a text VAE.
        train, held_out: real texts encoded by `encode_dataset`; those to train judges on and those to measure on. Of a
            conditional model with the column `condition`: its samples are written from conditions of the training texts.
        protocol: of the judges; the default one where it is not given.
        seed: of the samples, of the choice of real texts and of both judges.

    Returns:
        `reverse` (held-out text, judge trained on samples), `real` (held-out text, judge trained on as many real texts)
        and `forward` (as many samples as there are held-out texts, judge trained on real texts), each with the keys of
        `compute_text_likelihood`; and `protocol`, with the number of texts that were there.

    Raises:
        ValueError: fewer than two texts to train a judge on.
    """
    protocol = protocol or JudgeProtocol()
    count = min(protocol.num_texts, len(train))
    if count < 2:
        raise ValueError(
            f"reverse perplexity would train a language model on {count} texts; give at least 2 in train, and "
            "num_texts of 2 or more"
        )
    limit = model.positions_left
    max_new_tokens = protocol.max_new_tokens if limit is None else min(protocol.max_new_tokens, limit - 1)
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    conditions = train.select(chosen)["condition"][:] if "condition" in train.column_names else None
    samples = draw_samples(
        model, processor, max(count, len(held_out)), seed, conditions=conditions, max_new_tokens=max_new_tokens
    )
    _, sample_rows = processor.tokenize(samples)
    real_rows, held_out_rows = train.select(chosen)["labels"][:], held_out["labels"][:]
    of_samples = train_judge(sample_rows[:count], processor, protocol, model.device, seed)
    of_real = train_judge(real_rows, processor, protocol, model.device, seed)
    judged = samples[: len(held_out)]
    return {
        "reverse": likelihood_in_units(score_rows(of_samples, held_out_rows, processor), held_out),
        "real": likelihood_in_units(score_rows(of_real, held_out_rows, processor), held_out),
        "forward": compute_text_likelihood(
            score_rows(of_real, sample_rows[: len(judged)], processor).tolist(),
            num_tokens=[len(row) for row in sample_rows[: len(judged)]],
            num_words=[len(text.split()) for text in judged],
            num_bytes=[len(text.encode()) for text in judged],
        ),
        "protocol": asdict(protocol) | {"num_texts": count, "max_new_tokens": max_new_tokens, "seed": seed},
    }


def _nll(judge: LSTMDecoderModel, labels: torch.Tensor, processor: LatentTextProcessor) -> torch.Tensor:
    logits = judge(input_ids=shift_right(labels, processor.start_token_id), use_cache=False).logits
    return sentence_nll(logits, labels)


def _batches(sampler: LengthBucketedSampler, protocol: JudgeProtocol) -> Iterator[list[int]]:
    """Row numbers of `protocol.steps` batches, epoch after epoch."""
    step = epoch = 0
    while step < protocol.steps:
        sampler.set_epoch(epoch)
        order = list(sampler)
        for begin in range(0, len(order), protocol.batch_size):
            if step == protocol.steps:
                return
            yield order[begin : begin + protocol.batch_size]
            step += 1
        epoch += 1
