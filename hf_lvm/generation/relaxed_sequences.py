"""The differentiable decoding loop: relaxed samples of sequences of symbols, through a decoder with a cache.

A sample of a symbol is the argmax of its log-probabilities plus Gumbel noise. With a softmax in the place of the argmax it is
a point of the simplex, which the decoder reads in its turn as a mean of embeddings, so that the gradient of a loss of the
sequence flows back through all steps, as in Havrylov and Titov (2017, section 2.2). A relaxed sequence ends nowhere for
certain but everywhere with some weight, and its loss is the mean over the ends (as in EGG, Kharitonov et al. 2019).

Both forms are biased as gradients of a loss of discrete sequences:

- Soft points (Maddison et al. 2017; Jang et al. 2017): value and gradient are those of another objective, the relaxed one, and
  without bias for that. It differs from the discrete one as much as decoder and loss do between a mean of embeddings and an
  embedding; as the temperature falls the difference goes to 0 and the variance of the gradient grows.
- Straight-through: the points are corners, an exact sample of q at every temperature, and the value is that of the discrete
  objective without bias. The gradient puts the derivative of the softmax in the place of that of the argmax, which is 0; it
  is the gradient of no function, and not even its sign is certain.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from hf_lvm.distributions.noise import Generators, as_gumbel, noise_of_positions
from hf_lvm.estimators.temperature import check_temperature
from hf_lvm.generation.symbol_sequences import SymbolSequences


class RelaxedSequences(NamedTuple):
    """Relaxed samples of sequences. T = max_length + 1.

    Attributes:
        points: (..., B, T, V), of simplices; the last one is EOS. What stands behind an end is written as if the sequence had
            not ended there. Where they are corners, `points.argmax(-1)` is a value of the distribution.
        end_weights: (..., B, T), the probability that a sequence ends at each position, y_t[EOS] * prod over s < t of
            (1 - y_s[EOS]); they sum to 1.
        log_probs: (..., B, max_length, V), log q of each symbol after the points before it, in nats. By the chain rule
            KL(q||p) is the mean over corners of sum over t of (weight of reading t) * KL(step t of q || step t of p); the EOS
            behind max_length symbols, free in q, comes on top where p has it not for free.
    """

    points: torch.Tensor
    end_weights: torch.Tensor
    log_probs: torch.Tensor


class OpenSequences(NamedTuple):
    """Relaxed samples of sequences that go on behind their ends. T = max_length + 1.

    Attributes:
        points, end_weights, log_probs: as of `RelaxedSequences`, but that steps are given `symbols`, and not `points`.
        symbols: (..., B, max_length, V), points of what is written at each position if the sequence does not end there, EOS
            with weight 0. Up to an end they are `points`.
    """

    points: torch.Tensor
    end_weights: torch.Tensor
    log_probs: torch.Tensor
    symbols: torch.Tensor


class EmbeddedSequences(NamedTuple):
    """Relaxed sequences as another part reads them.

    Attributes:
        embeds: (..., B, T, E), the means of the part's own embeddings.
        weights: (..., B, T), from 0 to 1: how much there is of each position, with a gradient. 0 or 1 for corners.
    """

    embeds: torch.Tensor
    weights: torch.Tensor


def relaxed_sequences(
    q: SymbolSequences,
    temperature: float | torch.Tensor,
    sample_shape: Sequence[int] = torch.Size(),
    generator: Generators = None,
    straight_through: bool = False,
) -> RelaxedSequences:
    """Relaxed samples of q, differentiable in all that its decoder was made of: weights, prompts, the encoder's states.

    The prompt and the source are read once for all samples of a row, and each step reads one point with the cache of those
    before; the graph of gradients runs through the cache. All rules of q (lengths, forbidden symbols, its own temperature)
    hold: what cannot be has weight 0 exactly. All `max_length` steps are always made, since an end has a gradient from what
    would have followed.

    Args:
        q: the distribution. Its decoder is used in the mode it is in.
        temperature: of the softmax: a positive number, or one for each row, a tensor of B numbers in any shape, as
            `GumbelSoftmax.temperature_of` predicts them; it may have a gradient.
        generator: None, one generator, or a list of B generators, one a row, which makes a row's samples independent of the
            others, of padding and of `max_length`.
        straight_through: corners whose gradient is that of the soft points.

    Returns:
        Points (*sample_shape, B, T, V), weights and log-probabilities; in the type of the logits, float32 at least.

    Raises:
        ValueError: a temperature that is not positive, or not one a row.
    """
    return RelaxedSequences(*_relaxed(q, temperature, sample_shape, generator, straight_through, past_end=False)[:3])


def open_sequences(
    q: SymbolSequences,
    temperature: float | torch.Tensor,
    sample_shape: Sequence[int] = torch.Size(),
    generator: Generators = None,
    straight_through: bool = False,
) -> OpenSequences:
    """Relaxed samples of q whose decoder goes on, behind an end, with what it would have written if it had not ended there.

    That is the best of the other symbols by the same noise, or their soft point. A mean over ends then compares an
    end with sequences that go on as those of q do, and each symbol is judged given that it is read. `relaxed_sequences` reads
    EOS where it stands: what it writes behind it belongs to no sequence, and a mean over ends would make the end seem better
    than what is never read. Samples themselves, and what noise they are made of, are the same.

    Args:
        q, temperature, sample_shape, generator, straight_through: as of `relaxed_sequences`.
    """
    return OpenSequences(*_relaxed(q, temperature, sample_shape, generator, straight_through, past_end=True))


def _relaxed(
    q: SymbolSequences,
    temperature: float | torch.Tensor,
    sample_shape: Sequence[int],
    generator: Generators,
    straight_through: bool,
    past_end: bool,
) -> tuple[torch.Tensor, ...]:
    """Points, weights of ends, log-probabilities and symbols; without `past_end` no symbols."""
    count, batch = math.prod(sample_shape), q.batch_shape[0]
    temperature = _temperature_of_rows(temperature, batch, count)
    state = q.decoder.begin().repeat(count)
    vocabulary = state.logits.shape[-1]
    noise = noise_of_positions((count,), batch, q.max_length * vocabulary, generator, q.decoder.device)
    noise = noise.transpose(0, 1).reshape(batch * count, q.max_length, vocabulary)  # rows as `repeat` orders them
    points, symbols, steps = [], [], []
    ends = torch.arange(vocabulary, device=noise.device) == q.eos_token_id
    for step in range(q.max_length):
        if step:
            _, state = q.decoder.advance_points(state, (symbols if past_end else points)[-1].unsqueeze(1))
        log_probs, gumbel = q.step_log_probs(state.logits.unsqueeze(1), step).squeeze(1), as_gumbel(noise[:, step])
        points.append(_point(log_probs, gumbel, temperature, straight_through))
        if past_end:
            symbols.append(_point(log_probs.masked_fill(ends, -torch.inf), gumbel, temperature, straight_through))
        steps.append(log_probs)
    end = torch.zeros_like(points[0])
    end[:, q.eos_token_id] = 1.0
    points = torch.stack([*points, end], dim=1)

    def shaped(rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(0, (batch, count)).transpose(0, 1).reshape(*sample_shape, batch, *rows.shape[1:])

    made = [points, end_weights(points[..., q.eos_token_id]), torch.stack(steps, dim=1)]
    return tuple(map(shaped, [*made, torch.stack(symbols, dim=1)] if past_end else made))


def end_weights(ends: torch.Tensor) -> torch.Tensor:
    """The probability that a sequence ends at each position: (..., T), which sums to 1.

    Args:
        ends: (..., T), the probability of EOS at each position if the sequence comes so far. The last position takes the rest.
    """
    before = (1.0 - ends[..., :-1]).cumprod(-1)
    before = torch.cat([torch.ones_like(ends[..., :1]), before], dim=-1)
    return torch.cat([before[..., :-1] * ends[..., :-1], before[..., -1:]], dim=-1)


def reading_weights(end_weights: torch.Tensor, with_end: bool = True) -> torch.Tensor:
    """How much there is of each position, (..., T): the probability that the sequence has not ended before it.

    Args:
        end_weights: (..., T), of `RelaxedSequences`.
        with_end: whether the end itself is read; otherwise the position at which a sequence ends does not count.
    """
    # For corners, where one weight is 1 and the others 0, these sums are exactly 0 or 1.
    from_here = end_weights.flip(-1).cumsum(-1).flip(-1)
    return from_here if with_end else functional.pad(from_here[..., 1:], (0, 1))


def embed_sequences(relaxed: RelaxedSequences, table: torch.Tensor, with_end: bool = True) -> EmbeddedSequences:
    """Relaxed sequences as the embeddings of another part that knows the same symbols by the same ids.

    Where its ids are others, put the table in order first: `PriorBridge.reordered` of `hf_lvm.generation.token_bridge`. The
    weights are to enter what the part computes, or an end gets no gradient: as `attention_bias(weights)` where it attends, or
    as factors of losses a position. A loss that exists for every end (a receiver that answers at each position) is averaged
    with `end_weights` instead.

    Args:
        table: (V or more, E), what the part reads in the place of each symbol, scale included; (B, V or more, E) where a
            symbol is something else in each row, such as a place of its source.
        with_end: whether it reads EOS too.

    Raises:
        ValueError: a table with fewer rows than there are symbols.
    """
    vocabulary = relaxed.points.shape[-1]
    if table.dim() not in (2, 3) or table.shape[-2] < vocabulary:
        raise ValueError(
            f"The table has shape {tuple(table.shape)} and the points have {vocabulary} symbols: (V, E) with a row for each "
            "symbol is needed. The part must know the symbols by the same ids."
        )
    embeds = relaxed.points.to(table.dtype) @ table[..., :vocabulary, :]
    return EmbeddedSequences(embeds, reading_weights(relaxed.end_weights, with_end))


def attention_bias(weights: torch.Tensor) -> torch.Tensor:
    """What to add to attention scores so that a position takes part by its weight: (N, 1, 1, T) from (N, T), log w.

    An encoder of transformers takes it as `attention_mask`: of weights 0 and 1 it is the usual mask, between them it moves
    continuously from one to the other. Positions of weight 0 get no gradient: straight-through sequences feel what it costs to
    end earlier, not what they would gain by ending later, which only a mean over ends tells them.
    """
    lowest = torch.finfo(weights.dtype).min
    # The logarithm of 0 has no usable gradient.
    present = weights > torch.finfo(weights.dtype).tiny
    bias = torch.where(present, torch.where(present, weights, 1.0).log(), lowest)
    return bias[:, None, None, :]


def _point(
    log_probs: torch.Tensor, gumbel: torch.Tensor, temperature: float | torch.Tensor, straight_through: bool
) -> torch.Tensor:
    """Points (N, V) from log-probabilities and Gumbel noise (N, V)."""
    impossible = log_probs == -torch.inf
    # -inf comes after the division, as its derivative with respect to the temperature would be nan.
    scores = log_probs.masked_fill(impossible, 0.0) + gumbel.to(log_probs.dtype)
    scores = (scores / temperature).to(log_probs.dtype).masked_fill(impossible, -torch.inf)
    soft = scores.softmax(-1)
    if not straight_through:
        return soft
    corners = functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(soft.dtype)
    # In this order the value is a corner to the last bit.
    return corners + (soft - soft.detach())


def _temperature_of_rows(temperature: float | torch.Tensor, batch: int, count: int) -> float | torch.Tensor:
    """One for all, or (B * count, 1)."""
    if not isinstance(temperature, torch.Tensor):
        check_temperature(temperature)
        return temperature
    if temperature.numel() not in (1, batch):
        raise ValueError(
            f"temperature has shape {tuple(temperature.shape)}: one number is needed, or one a row, {batch} in all."
        )
    if temperature.device.type == "cpu" and not torch.compiler.is_compiling():
        for value in temperature.detach().flatten().tolist():
            check_temperature(value)
    return temperature.reshape(-1).expand(batch).repeat_interleave(count).unsqueeze(1)
