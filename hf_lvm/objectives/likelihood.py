"""-log p of token sequences: what is read, what is scored, and the sum that makes it nats per sentence."""

from typing import Any

import torch
from torch.nn import functional

# Labels that are not scored: the padding behind a sentence.
IGNORED = -100
# Below this a sum of products in float32 has lost terms to underflow.
SMALLEST_SUM = 1e-30


def sentence_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over the tokens of a sentence of -log p, in nats: (B,) from logits (B, T, V) and labels (B, T).

    Computed in float32 or better. Labels of -100 count nothing, so neither padding nor other sentences matter.
    """
    return _TokenNLL.apply(logits.flatten(0, 1), labels.flatten()).view_as(labels).sum(-1)


def biased_sentence_nll(logits: torch.Tensor, biases: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log p of sentences under K biases on their logits, in nats: (K, B), the V logits of a token exponentiated once.

    A bias b turns probabilities p into p_v e^(b_v) / sum over w of p_w e^(b_w), so the K sums of a token are a product of
    matrices. The same as `sentence_nll(logits + biases[k], labels)` for each k, without K times as many logits.

    Args:
        logits: (B, T, V).
        biases: (K, B, V), or (K, 1, V) where all sentences have the same.
        labels: (B, T), -100 where nothing counts.
    """
    with torch.autocast(logits.device.type, enabled=False):
        biases = biases.to(torch.promote_types(logits.dtype, torch.float32))
        nll = _BiasedTokenNLL.apply(logits, biases, labels)
    return nll.masked_fill(labels == IGNORED, 0.0).sum(-1)


def _one_by_one(logits: torch.Tensor, biases: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log p of the tokens under each bias, (K, B, T), from K times as many logits; any autograd, any size of a bias."""
    return torch.stack(
        [
            -(logits + bias.unsqueeze(1)).log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            for bias in biases
        ]
    )


class _BiasedTokenNLL(torch.autograd.Function):
    """-log p of the tokens under each bias, (K, B, T), from (B, T, V), (K, B or 1, V) and (B, T).

    Autograd would hold and pass over the logits three times as often, and they are most of the time and of the memory.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, biases: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        targets = labels.clamp(min=0)
        log_probabilities = torch.log_softmax(logits, -1, dtype=biases.dtype)
        unbiased = log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        probabilities = log_probabilities.exp_()
        highest = biases.amax(-1, keepdim=True)
        factors = (biases - highest).exp_().permute(1, 2, 0)  # (B or 1, V, K)
        sums = torch.matmul(probabilities, factors[0] if len(factors) == 1 else factors)  # (B, T, K)
        ctx.underflow = bool((sums < SMALLEST_SUM).any())
        ctx.save_for_backward(logits, biases, targets, probabilities, factors, sums)
        if ctx.underflow:
            return _one_by_one(logits.to(biases.dtype), biases, labels)
        added = biases.expand(-1, len(labels), -1).gather(-1, targets.expand(len(biases), -1, -1))
        return sums.permute(2, 0, 1).log() + highest - added - unbiased

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        logits, biases, targets, probabilities, factors, sums = ctx.saved_tensors
        if ctx.underflow or torch.is_grad_enabled():
            # After an underflow, and where it is differentiated twice (a posterior refined by gradients): the graph is built
            # anew from the logits, which the second pass has to reach.
            twice = torch.is_grad_enabled()
            with torch.enable_grad():
                inputs = (logits, biases) if twice else (logits.detach().requires_grad_(), biases.detach().requires_grad_())
                nll = _one_by_one(inputs[0].to(biases.dtype), inputs[1], targets)
                return *torch.autograd.grad(nll, inputs, gradient, create_graph=twice), None
        shares = gradient.permute(1, 2, 0) / sums
        of_logits = of_biases = None
        if ctx.needs_input_grad[0]:
            of_logits = torch.matmul(shares, factors.mT[0] if len(factors) == 1 else factors.mT).mul_(probabilities)
            of_logits.scatter_add_(-1, targets.unsqueeze(-1), -gradient.sum(0).unsqueeze(-1))
            of_logits = of_logits.to(logits.dtype)
        if ctx.needs_input_grad[1]:
            if len(factors) == 1:
                summed = (probabilities.flatten(0, 1).T @ shares.flatten(0, 1)).unsqueeze(0)
                targets = targets.view(1, -1)
                gradient = gradient.flatten(1).unsqueeze(1)
            else:
                summed = torch.matmul(probabilities.mT, shares)
            of_biases = summed.mul_(factors).permute(2, 0, 1).contiguous()
            of_biases.scatter_add_(-1, targets.expand(len(biases), -1, -1), -gradient)
        return of_logits, of_biases, None


class _TokenNLL(torch.autograd.Function):
    """-log softmax(logits)[label] of each token, (N,) from (N, V) and (N,); 0 where the label is -100.

    The same as `cross_entropy`, whose backward pass first writes zeros for all V logits of a token and then the gradient of
    one of them: with 10,000 words that is a twentieth of a whole training step on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        log_probabilities = torch.log_softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))
        ctx.save_for_backward(logits, labels, log_probabilities)
        nll = -log_probabilities.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return nll.masked_fill_(labels == IGNORED, 0.0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, labels, log_probabilities = ctx.saved_tensors
        gradient = gradient.masked_fill(labels == IGNORED, 0.0).unsqueeze(-1)
        if torch.is_grad_enabled():
            # Differentiated twice (a posterior refined by gradients): from the logits, which the second pass has to reach.
            probabilities = torch.softmax(logits.to(log_probabilities.dtype), -1)
            target = functional.one_hot(labels.clamp(min=0), logits.shape[-1])
            return ((probabilities - target) * gradient).to(logits.dtype), None
        result = log_probabilities.exp().mul_(gradient)
        result.scatter_add_(-1, labels.clamp(min=0).unsqueeze(-1), -gradient)
        return result.to(logits.dtype), None


def shift_right(labels: torch.Tensor, start_token_id: int, filler_id: int | None = None) -> torch.Tensor:
    """What a decoder reads to predict labels (B, T): the start token, then all labels but the last.

    Args:
        filler_id: read where the labels are padding, after the end of a sentence, where nothing is scored; the start token
            where it is not given.

    Raises:
        ValueError: padding before a token (looked for on the CPU only, where it costs no wait).
    """
    if labels.device.type == "cpu" and bool(((labels[:, :-1] == IGNORED) & (labels[:, 1:] != IGNORED)).any()):
        raise ValueError("Labels are padded with -100 on the right only; here a -100 stands before a token.")
    start = labels.new_full((labels.shape[0], 1), start_token_id)
    padding = functional.pad(labels[:, :-1] == IGNORED, (1, 0), value=False)
    filler_id = start_token_id if filler_id is None else filler_id
    return torch.cat([start, labels[:, :-1]], dim=1).masked_fill_(padding, filler_id)
