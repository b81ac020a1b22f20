"""A prior over compressions whose tokenizer is not that of the compressor, with the divergence still an upper bound.

Where both tokenizers cut texts alike and only number the pieces differently, as BART and GPT-2 do, a sequence is scored under
the prior's ids, and nothing is approximate. Otherwise the text is the bridge: it is decoded, cut again by the prior's
tokenizer into u, and p(u) is the probability of a string. But q is over sequences of tokens, of which many write the same
string. E_q[log q(tokens) - log p(string)] would be too small by the information in the choice among them, and no bound. So
the choice is charged, by a channel r from the prior's sequences to those of the compressor:

    p(tokens) := p(u) r(tokens | u),    r = 1 - eps                     for the canonical tokens of the text of u,
                                            eps 2^-(n - 1)              for another cut of the same n characters,
                                            eps 2^-(n - 1) s(tokens)    for anything else, spelled out by the code s.

n counts the characters of the joined token strings, which for a byte-level tokenizer are the bytes of the text; they can be
cut in 2^(n - 1) ways. s spends 9 bits a byte of these characters, one for the end and one a place to cut. Each u has
sum over tokens of r <= 1, so that p(tokens) sums to 1 at most, whatever the two tokenizers do to a text (lower case, unknown
words, bytes that are no characters). Hence the divergence from it is at least that of the texts as the prior reads them:
KL(q(tokens) || p(tokens)) >= KL(q(u) || p(u)), by the data-processing inequality.
"""

import logging
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from hf_lvm.distributions.lengths import may_look
from hf_lvm.generation.cached_decoder import CachedDecoder, SymbolDecoder
from hf_lvm.generation.symbol_sequences import SymbolSequences

logger = logging.getLogger(__name__)

# How many tokens of a vocabulary are joined to a text, to see whether two tokenizers cut it alike.
PROBE_LENGTH = 16
# How many tokens are tried to see whether a tokenizer begins every text with a blank.
BLANK_PROBES = 1000
UNDECODABLE = "\ufffd"


class BridgedScore(NamedTuple):
    """Sequences under a prior.

    Attributes:
        log_prob: (..., B), log p(tokens) in nats, EOS once, the charge taken off.
        charge: (..., B), -log r in nats; 0 where ids are mapped.
        canonical: (..., B), whether the tokens are those that the compressor's tokenizer makes of the text; True where ids are
            mapped, since nothing depends on it.
        spelled: (..., B), whether they had to be spelled out, as the prior's text is another.
    """

    log_prob: torch.Tensor
    charge: torch.Tensor
    canonical: torch.Tensor
    spelled: torch.Tensor

    @property
    def non_canonical_share(self) -> float:
        """The share of sequences that are charged for their segmentation."""
        return 1.0 - self.canonical.double().mean().item()


class PriorBridge:
    """Scores a compressor's sequences under a prior with a tokenizer of its own.

    Args:
        compressor_tokenizer: reads the sequences. Its EOS ends them.
        prior_tokenizer: of the prior. Its EOS is scored, once, at the end of each sequence.
        epsilon: the share of probability for tokens that are not canonical, where the text is the bridge: canonical ones cost
            -log(1 - epsilon), others -log epsilon and .69 nats a byte.
        vocabulary_size: how many symbols the compressor's decoder has; as many as the tokenizer if it is None.
        start_token_id: what the prior begins with; the BOS of its tokenizer if it is None.

    Attributes:
        kind: "same" or "permutation" where ids are mapped and the score is exact, "text" where the text is the bridge.
        reason: why it is "text"; None otherwise.
        unscorable: ids that the prior cannot score: padding behind the tokenizer's vocabulary, and where ids are mapped also
            special tokens that only the compressor has. Give them to `SymbolSequences` as `forbidden`.

    Raises:
        ValueError: no EOS or start token, an EOS outside `vocabulary_size`, or an epsilon outside (0, .5].
    """

    def __init__(
        self,
        compressor_tokenizer: PreTrainedTokenizerBase,
        prior_tokenizer: PreTrainedTokenizerBase,
        *,
        epsilon: float = 0.01,
        vocabulary_size: int | None = None,
        start_token_id: int | None = None,
    ):
        if not 0.0 < epsilon <= 0.5:
            raise ValueError(
                f"epsilon is {epsilon}: it is the share of tokens that are not canonical, above 0 and .5 at most."
            )
        self.compressor_tokenizer, self.prior_tokenizer, self.epsilon = compressor_tokenizer, prior_tokenizer, epsilon
        self.eos_token_id = _end_of(compressor_tokenizer, "compressor")
        self.prior_eos_token_id = _end_of(prior_tokenizer, "prior")
        self.start_token_id = prior_tokenizer.bos_token_id if start_token_id is None else start_token_id
        if self.start_token_id is None:
            raise ValueError("The prior's tokenizer has no BOS: pass start_token_id, the id that the prior begins with.")
        size = len(compressor_tokenizer) if vocabulary_size is None else vocabulary_size
        if self.eos_token_id >= size:
            raise ValueError(f"The compressor's EOS is {self.eos_token_id}, outside its vocabulary_size of {size}.")
        self._tokens = _tokens_of(compressor_tokenizer, size)
        ids = self._counterparts()
        self.reason = self._difference(ids)
        self.kind: Literal["same", "permutation", "text"] = "text"
        if self.reason is None:
            self.kind = "same" if all(other in (index, -1) for index, other in enumerate(ids)) else "permutation"
            self.unscorable = tuple(index for index, other in enumerate(ids) if other < 0)
        else:
            logger.info("The prior scores texts, not tokens, and charges segmentations: %s", self.reason)
            self.unscorable = tuple(index for index, token in enumerate(self._tokens) if not token)
            self._blanks = tuple(self._puts_a_blank(tokenizer) for tokenizer in (compressor_tokenizer, prior_tokenizer))
        self._ids = torch.tensor(ids)

    # ---- scores ------------------------------------------------------------------------------------------------------

    def log_prob(self, prior: nn.Module | SymbolDecoder, sequences: torch.LongTensor) -> torch.Tensor:
        """log p(sequences) in nats, EOS included and the charge taken off: (..., B); see `score`."""
        return self.score(prior, sequences).log_prob

    def score(self, prior: nn.Module | SymbolDecoder, sequences: torch.LongTensor) -> BridgedScore:
        """Sequences (..., B, L) of the compressor's ids under the prior, each with its EOS and anything behind it.

        One pass of the prior over all of them, in the mode it is in, with a gradient to its weights.

        Args:
            prior: a causal language model; or a `CachedDecoder` of one row, or of B, for one that begins with something else.

        Raises:
            ValueError: a sequence without EOS, or with a symbol that is `unscorable`.
        """
        ends = (sequences == self.eos_token_id).cumsum(-1) > 0
        if self.kind != "text":
            known = sequences.clamp(0, len(self._ids) - 1)
            mapped = self._ids.to(sequences.device)[known]
            impossible = (~ends & ((known != sequences) | (mapped < 0))) | ~ends[..., -1:]
            if may_look(sequences, False) and impossible.any():
                self._refuse(sequences, ends)
            log_prob = self._under(prior, mapped.masked_fill(ends, self.prior_eos_token_id).clamp(min=0))
            log_prob = log_prob.masked_fill(impossible.any(-1), -torch.inf)
            true = torch.ones_like(log_prob, dtype=torch.bool)
            return BridgedScore(log_prob, torch.zeros_like(log_prob), true, ~true)
        size, unscorable = len(self._tokens), torch.tensor(self.unscorable, dtype=torch.long, device=sequences.device)
        wrong = ~ends & ((sequences < 0) | (sequences >= size) | torch.isin(sequences, unscorable))
        if wrong.any() or not ends[..., -1].all():
            self._refuse(sequences, ends)
        lengths = (~ends).sum(-1).flatten().tolist()
        rows = [row[:length] for row, length in zip(sequences.flatten(0, -2).tolist(), lengths, strict=True)]
        prior_rows, charges, canonical, spelled = self._through_text(rows)
        value = torch.full((len(rows), max(map(len, prior_rows), default=0) + 1), self.prior_eos_token_id)
        for index, row in enumerate(prior_rows):
            value[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        device, shape = sequences.device, sequences.shape[:-1]
        log_string = self._under(prior, value.to(device).view(*shape, -1))
        charge = torch.tensor(charges, dtype=log_string.dtype, device=device).view(shape)
        flags = (torch.tensor(flag, dtype=torch.bool, device=device).view(shape) for flag in (canonical, spelled))
        return BridgedScore(log_string - charge, charge, *flags)

    def reordered(self, table: torch.Tensor) -> torch.Tensor:
        """Rows of a table of the prior, such as its embeddings (V', E), in the order of the compressor's ids: (V, E).

        What `embed_sequences` asks for, so that the prior reads relaxed sequences. Zeros where the prior has no such symbol.

        Raises:
            ValueError: the text is the bridge, which points of simplices cannot cross.
        """
        if self.kind == "text":
            raise ValueError(
                f"Relaxed sequences need a prior whose symbols are those of the compressor, and {self.reason} Choose a prior "
                "with the compressor's tokenizer, or an estimator that scores samples, such as 'rloo'."
            )
        return reordered(table, self._ids)

    @property
    def ids(self) -> torch.LongTensor:
        """(V,), the prior's id of each symbol of the compressor; -1 where it has none, or where the text is the bridge."""
        return self._ids if self.kind != "text" else torch.full_like(self._ids, -1)

    def _under(self, prior: nn.Module | SymbolDecoder, value: torch.Tensor) -> torch.Tensor:
        """log p of sequences (..., B, L) of the prior's ids with their EOS: (..., B)."""
        if isinstance(prior, nn.Module):
            prior = CachedDecoder(prior, prompt=torch.full((1, 1), self.start_token_id, device=value.device))
        # A max_length that no sequence reaches, so that every EOS is scored.
        p = SymbolSequences(prior, self.prior_eos_token_id, max_length=value.shape[-1])
        if prior.batch_size == 1:
            return p.log_prob(value.reshape(-1, 1, value.shape[-1])).view(value.shape[:-1])
        return p.log_prob(value)

    def _refuse(self, sequences: torch.Tensor, ends: torch.Tensor) -> None:
        if not ends[..., -1].all():
            raise ValueError("A sequence has no EOS, which the prior scores too: append it, also where it was cut.")
        scorable = set(range(len(self._tokens))) - set(self.unscorable)
        found = sorted(set(sequences[~ends].tolist()) - scorable)
        raise ValueError(
            f"The prior cannot score the symbol(s) {found[:10]} of the compressor: keep them out of samples by "
            "SymbolSequences(..., forbidden=bridge.unscorable)."
        )

    # ---- by way of the text ------------------------------------------------------------------------------------------

    def _through_text(self, rows: list[list[int]]) -> tuple[list[list[int]], list[float], list[bool], list[bool]]:
        """For rows of the compressor's ids without EOS: the prior's ids, -log r, whether canonical, whether spelled out."""
        texts = _decoded(self.compressor_tokenizer, rows)
        # A blank that a tokenizer itself puts in front is no part of the text, or the other would read it as one.
        prior_rows = _encoded(self.prior_tokenizer, _without_blank(texts) if self._blanks[0] else texts)
        # Its own EOS inside a text ends what the prior scores; r then sees only what stands before.
        end = self.prior_eos_token_id
        prior_rows = [row[: row.index(end)] if end in row else row for row in prior_rows]
        texts = _decoded(self.prior_tokenizer, prior_rows)
        canonical_rows = _encoded(self.compressor_tokenizer, _without_blank(texts) if self._blanks[1] else texts)
        charges, canonical, spelled = [], [], []
        for row, best in zip(rows, canonical_rows, strict=True):
            characters, expected = (self._characters(ids) for ids in (row, best))
            canonical.append(row == best)
            spelled.append(characters != expected)
            if canonical[-1]:
                charges.append(-math.log1p(-self.epsilon))
                continue
            bits = max(len(expected) - 1, 0)
            if spelled[-1]:
                bits += 9 * len(characters.encode("utf-8", "surrogatepass")) + 1 + max(len(characters) - 1, 0)
            charges.append(bits * math.log(2.0) - math.log(self.epsilon))
        return prior_rows, charges, canonical, spelled

    def _characters(self, ids: Sequence[int]) -> str:
        """The joined token strings. With the places of the cuts they give the tokens back, as no two have the same string."""
        return "".join(self._tokens[index] if index < len(self._tokens) else "" for index in ids)

    def _puts_a_blank(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether a text comes back from the tokenizer with a blank in front of its first word."""
        known = [index for index, token in enumerate(self._tokens) if token and index != self.eos_token_id]
        texts = _decoded(self.compressor_tokenizer, [[index] for index in known[:BLANK_PROBES]])
        texts = [text for text in (text.strip() for text in texts) if text]
        return any(
            f" {text}" == back for text, back in zip(texts, _decoded(tokenizer, _encoded(tokenizer, texts)), strict=True)
        )

    # ---- what the tokenizers have in common --------------------------------------------------------------------------

    def _counterparts(self) -> list[int]:
        """For each symbol of the compressor the prior's id of the same token string, EOS for EOS; -1 where there is none."""
        vocabulary = self.prior_tokenizer.get_vocab()
        ids = [vocabulary.get(token, -1) if token else -1 for token in self._tokens]
        # What the prior reads as its end cannot stand inside a sequence.
        ids = [-1 if index == self.prior_eos_token_id else index for index in ids]
        ids[self.eos_token_id] = self.prior_eos_token_id
        return ids

    def _difference(self, ids: list[int]) -> str | None:
        """Why ids cannot be mapped, or None: every token of texts needs a counterpart, and both must cut texts alike."""
        compressor, prior = self.compressor_tokenizer, self.prior_tokenizer
        special = set(compressor.all_special_ids)
        missing = [i for i, other in enumerate(ids) if other < 0 and self._tokens[i] and i not in special]
        for block in _blocks(missing, 1000):
            # A token that no text is cut into, such as a placeholder, may be missing: it is left to `unscorable`.
            texts = _decoded(compressor, [[index] for index in block])
            for index, cut in zip(block, _encoded(compressor, texts), strict=True):
                if index in cut:
                    return f"the prior's vocabulary lacks the token {self._tokens[index]!r}."
        ordinary = [index for index, other in enumerate(ids) if other >= 0 and index not in special]
        blocks = list(_blocks(ordinary, PROBE_LENGTH))
        mapped = [[ids[index] for index in block] for block in blocks]
        texts = _decoded(compressor, blocks)
        for text, other in zip(texts, _decoded(prior, mapped), strict=True):
            if text != other:
                return f"the same tokens are read as {text!r} by the compressor's tokenizer and as {other!r} by the prior's."
        own = set(prior.all_special_ids)
        others = sorted(index for index in prior.get_vocab().values() if index not in own)
        texts += _decoded(prior, _blocks(others, PROBE_LENGTH))
        texts += [" ".join(_decoded(compressor, [[index] for index in block])) for block in blocks]
        # Whatever stands for bytes that are no character need not be in a small vocabulary.
        texts = [text.replace(UNDECODABLE, "") for text in texts]
        for text, cut, other in zip(texts, _encoded(compressor, texts), _encoded(prior, texts), strict=True):
            if [ids[index] if index < len(ids) else -1 for index in cut] != other:
                first, second = compressor.convert_ids_to_tokens(cut), prior.convert_ids_to_tokens(other)
                return f"{text!r} is cut into {first} by the compressor's tokenizer and into {second} by the prior's."
        return None


def reordered(table: torch.Tensor, ids: torch.LongTensor) -> torch.Tensor:
    """Rows of a table (V', E) by ids (V,) of other symbols: (V, E); zeros where the id is -1."""
    ids = ids.to(table.device)
    return table[ids.clamp(min=0)].masked_fill((ids < 0).unsqueeze(-1), 0.0)


def _blocks(ids: Sequence[int], length: int) -> list[list[int]]:
    return [list(ids[start : start + length]) for start in range(0, len(ids), length)]


def _decoded(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    """Texts with nothing left out and nothing tidied up."""
    return [tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False) for row in rows]


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []


def _without_blank(texts: list[str]) -> list[str]:
    return [text.removeprefix(" ") for text in texts]


def _tokens_of(tokenizer: PreTrainedTokenizerBase, size: int) -> list[str]:
    """The token strings of ids from 0 to size - 1; empty where there is none."""
    tokens = [""] * size
    for token, index in tokenizer.get_vocab().items():
        if index < size:
            tokens[index] = token
    return tokens


def _end_of(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if end is None:
        raise ValueError(f"The {name}'s tokenizer has neither EOS nor SEP to end a sequence with: set its eos_token.")
    return end
