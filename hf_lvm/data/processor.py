"""The processor of a latent-variable text model: texts in, tensors out, and generated ids back to text."""

import json
import os
from collections.abc import Sequence
from numbers import Integral
from typing import Any

from transformers import AutoProcessor, AutoTokenizer, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from hf_lvm.data.tokenization import check_special_tokens, end_token_id, start_token_id
from hf_lvm.data.word_alignment import NO_WORD, tokenize_words

IGNORED_LABEL = -100
PRIOR_FOLDER = "prior_tokenizer"
# Key in the saved processor that says whether there is a third tokenizer: without it, loading would look for one that is not
# there, or find one that an earlier save left in the folder.
_PRIOR_KEY = "prior_tokenizer_folder"


class LatentTextProcessor(ProcessorMixin):
    """Two tokenizers as one object: the first reads for the encoder, the second writes for the decoder.

    `save_pretrained` puts the first at the root of the folder, so `AutoTokenizer` loads it from there, and the second
    into `decoder_tokenizer/`. `AutoProcessor` loads both. Where one tokenizer serves both sides it is stored twice and
    comes back as two equal objects. A third tokenizer, where there is one, goes into `prior_tokenizer/`.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): makes `input_ids` and `attention_mask`, with its own special tokens.
        decoder_tokenizer (`PreTrainedTokenizerBase`, *optional*): makes `labels` and reads what the model generates;
            `None` means the first one.
        prior_tokenizer (`PreTrainedTokenizerBase`, *optional*): of a prior over texts that has a tokenizer of its own; `None`,
            as in most models, where there is no such prior. Nothing here uses it: the model asks for it.

    Raises:
        ValueError: when a tokenizer lacks a special token that its side needs; the message says how to mend it.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        decoder_tokenizer: PreTrainedTokenizerBase | None = None,
        prior_tokenizer: PreTrainedTokenizerBase | None = None,
    ):
        if tokenizer is None:
            raise ValueError("LatentTextProcessor needs a tokenizer; load_tokenizer or train_bpe_tokenizer makes one.")
        decoder_tokenizer = tokenizer if decoder_tokenizer is None else decoder_tokenizer
        super().__init__(tokenizer, decoder_tokenizer)
        check_special_tokens(tokenizer, "encoder")
        check_special_tokens(decoder_tokenizer, "decoder")
        self._prior_tokenizer = prior_tokenizer
        if prior_tokenizer is not None:
            start_token_id(prior_tokenizer)
            end_token_id(prior_tokenizer)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that are always there, which transformers saves and loads by itself."""
        return ["tokenizer", "decoder_tokenizer"]

    @property
    def prior_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The tokenizer of a prior over texts; None where it has none of its own."""
        return self._prior_tokenizer

    @property
    def start_token_id(self) -> int:
        """The id that the decoder starts from; the model puts it in front of the labels."""
        return start_token_id(self.decoder_tokenizer)

    @property
    def end_token_id(self) -> int:
        """The id that ends every row of labels."""
        return end_token_id(self.decoder_tokenizer)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "labels"]

    def shares_tokenizer(self) -> bool:
        """Whether both sides cut and number texts in the same way, so that embeddings can be tied."""
        return cut_alike(self.tokenizer, self.decoder_tokenizer)

    # ---- saved and loaded --------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> list[str]:
        """All tokenizers into a folder; see `ProcessorMixin.save_pretrained`."""
        if self._prior_tokenizer is not None:
            self._prior_tokenizer.save_pretrained(os.path.join(save_directory, PRIOR_FOLDER))
        return super().save_pretrained(save_directory, push_to_hub, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """What is saved beside the tokenizers."""
        output = super().to_dict()
        return output if self._prior_tokenizer is None else output | {_PRIOR_KEY: PRIOR_FOLDER}

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs) -> list:
        found = super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **kwargs)
        if (processor_dict or {}).get(_PRIOR_KEY):
            kwargs["subfolder"] = os.path.join(kwargs.get("subfolder", ""), PRIOR_FOLDER)
            found.append(AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **kwargs))
        return found

    def _get_files_timestamps(self, working_dir: str | os.PathLike) -> dict[str, float]:
        # transformers pushes what changed since it looked, and the third tokenizer is saved before it looks.
        return {name: time for name, time in super()._get_files_timestamps(working_dir).items() if name != PRIOR_FOLDER}

    # ---- texts and ids -----------------------------------------------------------------------------------------------

    def tokenize(
        self, texts: Sequence[str], decoder_texts: Sequence[str] | None = None
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Ids of both sides without padding: the encoder's with its special tokens, the labels with the end token.

        Raises:
            ValueError: when something else than strings comes, or the two lists differ in length.
        """
        _check_texts(texts, "texts")
        if decoder_texts is not None:
            _check_texts(decoder_texts, "decoder_texts")
            if len(decoder_texts) != len(texts):
                raise ValueError(f"{len(texts)} texts but {len(decoder_texts)} decoder_texts; give one for each text.")
        outputs = texts if decoder_texts is None else decoder_texts
        input_ids = self.tokenizer(list(texts), verbose=False)["input_ids"]
        label_ids = self.decoder_tokenizer(list(outputs), add_special_tokens=False, verbose=False)["input_ids"]
        end = self.end_token_id
        return input_ids, [[*ids, end] for ids in label_ids]

    def tokenize_conditions(self, conditions: Sequence[str], name: str = "conditions", first_row: int = 0) -> list[list[int]]:
        """Ids of the texts that a conditional model reads beside others, by the encoder's tokenizer, without padding.

        Args:
            name, first_row: What they are called in an error, and the number of the first.

        Raises:
            ValueError: something else than strings, or a condition without any token.
        """
        _check_texts(conditions, name, first_row)
        rows = self.tokenizer(list(conditions), verbose=False)["input_ids"]
        for row, (condition, ids) in enumerate(zip(conditions, rows, strict=True), first_row):
            if not ids or not condition.strip():
                raise ValueError(f"{name}[{row}] is {condition!r}: a condition is a text of one word or more.")
        return rows

    def tokenize_words(self, sentences: Sequence[Sequence[str]], name: str = "sentence") -> dict[str, list[list[int]]]:
        """Pieces of both sides for sentences of words, without padding, and the word that each piece belongs to.

        Args:
            sentences: N lists of words. They are cut as their text is, joined with one blank.
            name: what a row is called in an error.

        Returns:
            N rows each of `input_ids`, the encoder's with its special tokens; `word_ids`, for each the number of its word from
            0, -1 at special tokens; `labels`, the decoder's with the end token and without a start token; `decoder_word_ids`,
            likewise, -1 at the end token. Every word has at least one piece on either side.

        Raises:
            ValueError: with the row and the word named, what cannot be aligned
                ([`hf_lvm.data.word_alignment.tokenize_words`]), and a word that is read as the end of the sentence.
        """
        input_ids, word_ids = tokenize_words(self.tokenizer, sentences, name=name)
        labels, decoder_word_ids = tokenize_words(self.decoder_tokenizer, sentences, add_special_tokens=False, name=name)
        end = self.end_token_id
        for row, ids in enumerate(labels):
            if end in ids:
                word = sentences[row][decoder_word_ids[row][ids.index(end)]]
                raise ValueError(
                    f"{name} {row}: the word {word!r} is read as the token that ends a sentence "
                    f"({self.decoder_tokenizer.convert_ids_to_tokens(end)!r}): leave it out."
                )
        return {
            "input_ids": input_ids,
            "word_ids": word_ids,
            "labels": [[*ids, end] for ids in labels],
            "decoder_word_ids": [[*numbers, NO_WORD] for numbers in decoder_word_ids],
        }

    def __call__(
        self,
        texts: str | Sequence[str],
        decoder_texts: str | Sequence[str] | None = None,
        padding: bool = True,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = "pt",
        conditions: str | Sequence[str] | None = None,
    ) -> BatchFeature:
        """Turn texts into a batch for the model.

        Args:
            texts: One text (a batch of one) or B texts for the encoder.
            decoder_texts: What the decoder shall write; the same texts when left out.
            padding: Pad to the longest row; needed for tensors of more than one row.
            truncation: Cut both sides at `max_length` tokens, special tokens included; the end token stays.
            max_length: The longest row allowed; without `truncation`, a longer text is an error.
            return_tensors: `"pt"` for torch tensors, `None` for lists.
            conditions: Texts that a conditional model reads beside the texts, one for each.

        Returns:
            `BatchFeature` with `input_ids` (B, S), `attention_mask` (B, S) and `labels` (B, T): decoder tokens and the
            end token, no start token, -100 where padded. `input_ids` are padded on the tokenizer's `padding_side`. With
            conditions `condition_input_ids` and `condition_attention_mask` (B, C), padded likewise.

        Raises:
            ValueError: for input that is no text, texts longer than `max_length` without `truncation`, a `max_length` to cut
                at that has no room for a word, or conditions that are empty or not one for each text.
        """
        texts = [texts] if isinstance(texts, str) else texts
        decoder_texts = [decoder_texts] if isinstance(decoder_texts, str) else decoder_texts
        if truncation and max_length is None:
            raise ValueError("truncation=True needs max_length, the number of tokens to keep.")
        if return_tensors not in ("pt", None):
            raise ValueError(f"return_tensors={return_tensors!r} is not known; choose 'pt' or None.")
        input_ids, labels = self.tokenize(texts, decoder_texts)
        if max_length is not None:
            input_ids, labels = self._limit(texts, input_ids, labels, max_length, truncation)
        attention_mask = [[1] * len(ids) for ids in input_ids]
        if padding:
            side = self.tokenizer.padding_side
            input_ids = pad_rows(input_ids, self.tokenizer.pad_token_id, side)
            attention_mask = pad_rows(attention_mask, 0, side)
            labels = pad_rows(labels, IGNORED_LABEL)
        data = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        if conditions is not None:
            conditions = [conditions] if isinstance(conditions, str) else conditions
            if len(conditions) != len(texts):
                raise ValueError(f"{len(texts)} texts but {len(conditions)} conditions; give one for each text.")
            data |= self._read_conditions(conditions, padding, truncation, max_length)
        return BatchFeature(data, tensor_type=return_tensors)

    def _read_conditions(
        self, conditions: Sequence[str], padding: bool, truncation: bool, max_length: int | None
    ) -> dict[str, list[list[int]]]:
        ids = self.tokenize_conditions(conditions)
        for row, own in enumerate(ids):
            if max_length is not None and len(own) > max_length and not truncation:
                raise ValueError(
                    f"Condition {row} has {len(own)} tokens, more than max_length={max_length}; shorten it, raise max_length, "
                    "or pass truncation=True to cut it."
                )
        if truncation:
            ids = self._cut(conditions, max_length)
        return self.pad_conditions(ids, padding)

    def pad_conditions(self, ids: Sequence[Sequence[int]], padding: bool = True) -> dict[str, list[list[int]]]:
        """Ids of conditions as `condition_input_ids` and `condition_attention_mask`, padded on the encoder's side."""
        masks: list[list[int]] = [[1] * len(own) for own in ids]
        if padding:
            side = self.tokenizer.padding_side
            ids, masks = pad_rows(ids, self.tokenizer.pad_token_id, side), pad_rows(masks, 0, side)
        return {"condition_input_ids": list(map(list, ids)), "condition_attention_mask": masks}

    def _limit(
        self,
        texts: Sequence[str],
        input_ids: list[list[int]],
        labels: list[list[int]],
        max_length: int,
        truncation: bool,
    ) -> tuple[list[list[int]], list[list[int]]]:
        if not truncation:
            for index, (row, label_row) in enumerate(zip(input_ids, labels, strict=True)):
                if max(len(row), len(label_row)) > max_length:
                    raise ValueError(
                        f"Text {index} has {max(len(row), len(label_row))} tokens, more than max_length={max_length}; "
                        "shorten it, raise max_length, or pass truncation=True to cut it."
                    )
            return input_ids, labels
        cut = self._cut(texts, max_length)
        return cut, [row if len(row) <= max_length else [*row[: max_length - 1], row[-1]] for row in labels]

    def _cut(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        # A tokenizer knows which of its special tokens have to survive, and cuts nothing where there is no room for them.
        special = self.tokenizer.num_special_tokens_to_add()
        if max_length <= special:
            raise ValueError(
                f"max_length={max_length} has no room for a word beside the {special} special tokens of a text; set it to "
                f"{special + 1} or more."
            )
        return self.tokenizer(list(texts), truncation=True, max_length=max_length, verbose=False)["input_ids"]

    def decode(self, token_ids, skip_special_tokens: bool = True, **kwargs) -> str | list[str]:
        """One row of ids (a tensor, array or list) as text; rows of ids go to `batch_decode`.

        The start token, everything from the first end token on, and labels of -100 are left out. Of the special tokens
        only the unknown word stays visible: hiding it would make a sentence look better than it is.
        """
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else list(token_ids)
        if ids and not isinstance(ids[0], Integral):
            return self.batch_decode(ids, skip_special_tokens=skip_special_tokens, **kwargs)
        tokenizer = self.decoder_tokenizer
        ids = [index for index in ids if index >= 0]
        if skip_special_tokens:
            start, end, pad = self.start_token_id, self.end_token_id, tokenizer.pad_token_id
            first = next((n for n, index in enumerate(ids) if index not in (start, pad)), len(ids))
            ids = ids[first:]
            ids = ids[: ids.index(end)] if end in ids else ids
            hidden = {*tokenizer.all_special_ids, start, pad} - {tokenizer.unk_token_id}
            ids = [index for index in ids if index not in hidden]
        return tokenizer.decode(ids, **kwargs)

    def batch_decode(self, sequences, skip_special_tokens: bool = True, **kwargs) -> list[str]:
        """B rows of ids as B texts; see `decode`."""
        return [self.decode(row, skip_special_tokens=skip_special_tokens, **kwargs) for row in sequences]


def pad_rows(rows: Sequence[Sequence[int]], value: int, side: str = "right") -> list[list[int]]:
    """Fill rows of ids with `value` up to the longest of them, on the `"right"` or the `"left"`."""
    longest = max(map(len, rows), default=0)
    if side == "left":
        return [[value] * (longest - len(row)) + list(row) for row in rows]
    return [list(row) + [value] * (longest - len(row)) for row in rows]


def split_texts(texts: str | Sequence[str | Sequence[str]]) -> list[list[str]]:
    """Texts as lists of words: strings are split at blanks, lists of words are taken as they are.

    Raises:
        ValueError: something else than strings and lists of strings.
    """
    texts = [texts] if isinstance(texts, str) else texts
    sentences = []
    for row, text in enumerate(texts):
        words = text.split() if isinstance(text, str) else list(text) if isinstance(text, (list, tuple)) else [None]
        if not all(isinstance(word, str) for word in words):
            raise ValueError(f"Text {row} is {text!r}: give a string, or a list of words that are strings.")
        sentences.append(words)
    return sentences


def _check_texts(texts: Sequence[str], name: str, first_row: int = 0) -> None:
    if len(texts) == 0:
        raise ValueError(f"{name} is empty: give at least one string.")
    if isinstance(texts, str):
        raise ValueError(f"{name} is one string where a list of strings is needed.")
    for index, text in enumerate(texts, first_row):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{index}] is {type(text).__name__}, not a string.")


def cut_alike(first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers cut and number every text in the same way, special tokens included."""
    return first is second or _behaviour(first) == _behaviour(second)


def _behaviour(tokenizer: PreTrainedTokenizerBase) -> tuple:
    """What decides how a tokenizer cuts and numbers texts; the padding and truncation of its last call do not."""
    backend = None
    if tokenizer.is_fast:
        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        backend = {key: value for key, value in backend.items() if key not in ("padding", "truncation")}
    return tokenizer.get_vocab(), tokenizer.special_tokens_map, backend


# AutoProcessor finds a class by the name in the saved files among those registered. Its key is a config class where a
# model brings one; the processor serves many models, so it is its own key.
AutoProcessor.register(LatentTextProcessor, LatentTextProcessor, exist_ok=True)
