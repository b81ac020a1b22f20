"""The log-probabilities of a few words under many contexts, without a table of all words for each of them."""

import torch
from torch import nn
from torch.nn import functional


class WordSoftmax(nn.Module):
    """log p(word | context) = log softmax(W h + b), some words excluded, read off at the words of a sentence.

    The vocabulary is summed over once a context; beside that sum only the words asked for are computed.

    Args:
        hidden_size: of a context.
        vocab_size: words.
        excluded: ids that are no words; they have probability 0, and the others share theirs.
    """

    def __init__(self, hidden_size: int, vocab_size: int, excluded: tuple[int, ...] = ()):
        super().__init__()
        self.output = nn.Linear(hidden_size, vocab_size)
        self.excluded = tuple(sorted({token for token in excluded if token is not None and 0 <= token < vocab_size}))

    def logits(self, contexts: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of contexts (..., H), -inf at the excluded, in float32 or better."""
        weight, bias = self._weights()
        with torch.autocast(contexts.device.type, enabled=False):
            return functional.linear(contexts.to(weight.dtype), weight, bias)

    def forward(self, contexts: torch.Tensor, words: torch.Tensor, read: torch.Tensor | None = None) -> torch.Tensor:
        """log p(word | context) of every word (B, T) under every context (B, C, H) of its row: (B, C, T).

        Args:
            read: (B, C), the word that each context was made of and of nothing else, noise included, if so: contexts of the
                same word are the same, and one sum over the vocabulary serves them all.
        """
        weight, bias = self._weights()
        with torch.autocast(contexts.device.type, enabled=False):
            contexts = contexts.to(weight.dtype)
            if read is None:
                total = _log_total(contexts, weight, bias)
            else:
                # Any context of a word stands for the others, for their part of the gradient of the parameters, too.
                different, place = read.flatten().unique(return_inverse=True)
                one = torch.zeros_like(different).scatter_(0, place, torch.arange(len(place), device=place.device))
                total = _log_total(contexts.flatten(0, 1)[one], weight, bias)[place].view(*read.shape, 1)
            return contexts @ weight[words].mT + bias[words].unsqueeze(1) - total

    def _weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = torch.promote_types(self.output.weight.dtype, torch.float32)
        weight, bias = self.output.weight.to(dtype), self.output.bias.to(dtype)
        if self.excluded:
            wrong = torch.zeros(len(bias), dtype=torch.bool, device=bias.device)
            wrong[list(self.excluded)] = True
            bias = bias.masked_fill(wrong, -torch.inf)
        return weight, bias


def _log_total(contexts: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(functional.linear(contexts, weight, bias), dim=-1, keepdim=True)


def log_not(log_probability: torch.Tensor) -> torch.Tensor:
    """log(1 - p) from log p, where 1 - p is not so small that it has no digits left."""
    return torch.log(-torch.expm1(log_probability.clamp(max=-1e-6)))
