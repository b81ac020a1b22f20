"""Ancestral sampling of a hidden Markov model: a state, its word, the next state, until the end."""

import torch


@torch.no_grad()
def sample_sentences(
    start: torch.Tensor,
    transitions: torch.Tensor,
    emissions: torch.Tensor,
    count: int,
    max_tokens: int,
    *,
    padding: int,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Sentences with their end token, (count, L), L at most `max_tokens`; `padding` behind the end.

    Args:
        start: (C + 1,), log p(z_1); the last state is the end.
        transitions: (C + 1, C + 1), log p(z_t+1 | z_t) as [from, to].
        emissions: (C + 1, V), log p(word | state).
    """
    end = len(start) - 1
    start, transitions, emissions = (log_probs.exp() for log_probs in (start, transitions, emissions))
    state = torch.multinomial(start.expand(count, -1), 1, generator=generator).squeeze(1)
    ended = torch.zeros_like(state, dtype=torch.bool)
    sentence = []
    for _ in range(max_tokens):
        word = torch.multinomial(emissions[state], 1, generator=generator).squeeze(1)
        sentence.append(word.masked_fill(ended, padding))
        ended = ended | (state == end)
        if ended.all():
            break
        state = torch.multinomial(transitions[state], 1, generator=generator).squeeze(1)
    return torch.stack(sentence, dim=1)
