"""The encoder of a text VAE as a program of `torch.export`: q(z|x) without the classes of this package or of transformers.

The program takes `input_ids` and `attention_mask`, (B, S) each, and gives the mean and the standard deviation of q(z|x), (B,
D) each; B and S are open. Of a conditional VAE it takes `condition_input_ids` and `condition_attention_mask`, (B, C), behind
them. With `torch.export.load` it runs, and compiles, wherever torch does.

Tried, with batch and length left open and outputs equal at other shapes: bert, roberta, distilbert, albert, electra, mpnet,
deberta-v2, modernbert, t5, bart, gpt2, llama, qwen3 and `hf_lvm_bag_of_words_encoder`. An LSTM (`hf_lvm_lstm_encoder`) is
written out step by step in a program, so it needs a `length`, up to which shorter texts are padded; and mamba is not exported
with the length left open.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from hf_lvm.backbones.encoders import encoder_positions
from hf_lvm.distributions import DiagonalGaussian
from hf_lvm.layers.decoder_interface import in_evaluation_mode
from hf_lvm.layers.posteriors import GaussianPosterior
from hf_lvm.models.text_vae.exported_archive import DESCRIPTION, check_archive

# Families whose program has a step for each token.
UNROLLED = ("hf_lvm_lstm_encoder",)
LARGEST_BATCH = 2**20
LONGEST = 2**20


@dataclass(frozen=True)
class ExportedEncoder:
    """q(z|x) of a text VAE, loaded from a file by `load_encoder`.

    Attributes:
        program: what `torch.export` made of it; `program.module()` takes `input_ids` and `attention_mask` by position.
        latent_size: D.
        longest: tokens of the longest text; None without a limit.
        length: number of tokens that the program always reads; None where it reads as many as come.
        conditional: whether it reads a condition beside each text.
    """

    program: ExportedProgram
    latent_size: int
    longest: int | None
    length: int | None
    conditional: bool = False

    def __post_init__(self):
        object.__setattr__(self, "_run", self.program.module())

    @torch.no_grad()
    def encode(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        condition_input_ids: torch.Tensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> DiagonalGaussian:
        """q(z|x) of texts (B, S), padded on either side: a distribution over (B, D), as `TextVAEModel.encode` gives it.

        Args:
            condition_input_ids, condition_attention_mask: (B, C), of a conditional VAE.

        Raises:
            ValueError: texts that are longer than the program reads; conditions for a program that reads none, none for one
                that does, or another number of them.
        """
        if self.conditional == (condition_input_ids is None):
            what = "pass condition_input_ids, one row a text" if self.conditional else "leave condition_input_ids out"
            raise ValueError(f"This encoder reads {'a' if self.conditional else 'no'} condition beside each text: {what}.")
        inputs = self._as_read(input_ids, attention_mask)
        if condition_input_ids is not None:
            if len(condition_input_ids) != len(input_ids):
                raise ValueError(f"Got {len(condition_input_ids)} conditions for {len(input_ids)} texts: give one a text.")
            inputs += self._as_read(condition_input_ids, condition_attention_mask)
        mean, stddev = self._run(*inputs)
        return DiagonalGaussian(mean, stddev)

    def _as_read(self, ids: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask as the program takes them: padded to its length, where it has one."""
        mask = torch.ones_like(ids) if mask is None else mask
        size, most = ids.shape[1], self.length or self.longest
        if most is not None and size > most:
            raise ValueError(f"A batch of texts of {size} tokens is longer than the {most} that this encoder reads.")
        room = 0 if self.length is None else self.length - size
        return functional.pad(ids, (0, room)), functional.pad(mask, (0, room))


class _MeanAndStddev(nn.Module):
    def __init__(self, model):
        super().__init__()
        for name in model.posterior_parts:
            setattr(self, name, getattr(model, name))
        # The methods of the model, on the parts that they need alone: a program holds no decoder and no prior.
        self._methods = type(model)
        self.config = model.config
        self.prior = SimpleNamespace(needs_condition=model.prior.needs_condition)

    def pooled(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self._methods.pooled(self, *inputs)

    def pooled_condition(self, *inputs: torch.Tensor | int | None) -> torch.Tensor | None:
        return self._methods.pooled_condition(self, *inputs)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        condition_input_ids: torch.Tensor | None = None,
        condition_attention_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = self._methods.encode(self, input_ids, attention_mask, condition_input_ids, condition_attention_mask)
        return posterior.mean, posterior.stddev


def export_encoder(model, path: str | Path, length: int | None = None, tolerance: float = 1e-5) -> Path:
    """Write the encoder of a text VAE, its pooling and its posterior head, as a program of `torch.export`.

    The file, an archive of torch (`.pt2`), holds weights as plain numbers and the program as JSON; nothing in it is pickled.
    The program is compared with the model at other shapes before it is written.

    Args:
        model: a text VAE with a Gaussian posterior, on the device that the program shall run on.
        path: of the file, which ends in `.pt2`; folders are made as needed.
        length: read so many tokens always, shorter texts padded, and conditions likewise; None for any number of them.
        tolerance: how far the outputs may be from the model's, relative to 1 or their size.

    Returns:
        The path.

    Raises:
        ValueError: a posterior that is no Gaussian of one pass through the encoder; an encoder that cannot be exported, or not
            without a `length`; outputs that differ.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"The path of an exported encoder ends in .pt2, and {str(path)!r} does not.")
    _check_posterior(model)
    family, longest = model.config.encoder.model_type, encoder_positions(model.encoder)
    if length is None and family in UNROLLED:
        raise ValueError(
            f"A {family!r} encoder is exported step by step, for a length that is known: pass length=..., the tokens of the "
            "longest text; shorter ones are padded."
        )
    if length is not None and (length < 1 or (longest is not None and length > longest)):
        raise ValueError(
            f"length is {length}: it must be at least 1, and at most {longest or LONGEST}, the encoder's positions."
        )
    part = _MeanAndStddev(model)
    is_conditional, batch = part.prior.needs_condition, Dim("batch", min=1, max=LARGEST_BATCH)
    sizes = []
    for name in ("length", "condition_length") if is_conditional else ("length",):
        own = {0: batch}
        if length is None:
            own[1] = Dim(name, min=1, max=LONGEST if longest is None else longest)
        sizes += [own, own]
    part.training = False
    with in_evaluation_mode(model), warnings.catch_warnings():
        # torch's own LSTM keeps its weights in a list too, of which the export has to make a copy.
        warnings.filterwarnings("ignore", message="The tensor attributes .* were assigned during export")
        try:
            example = _inputs(model, 3, length or 5, length or 6)
            program = torch.export.export(part, example, dynamic_shapes=tuple(sizes), strict=False)
        except Exception as error:  # torch raises whatever the code of a family happens to run into
            hint = "" if length is not None else ", or pass length=..., which a program of one length may do with"
            raise ValueError(
                f"torch.export makes no program of a {family!r} encoder ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}): choose another family, such as 'bert'{hint}."
            ) from error
        # torch would pickle them.
        program._example_inputs = None
        exported = ExportedEncoder(program, model.config.latent_size, longest, length, is_conditional)
        for count, size in ((1, 1), (2, length or 4), (7, min(length or 9, longest or 9))):
            _compare(model, exported, _inputs(model, count, size, max(1, size - 1)), tolerance)
    path.parent.mkdir(parents=True, exist_ok=True)
    described = {name: getattr(exported, name) for name in ("latent_size", "longest", "length", "conditional")}
    torch.export.save(program, path, extra_files={DESCRIPTION: json.dumps(described)})
    return path


def load_encoder(path: str | Path) -> ExportedEncoder:
    """An encoder that `export_encoder` wrote, on the device that it was on.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that `export_encoder` did not write, or one with pickled objects or code in it, which would run as
            it is loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}: export_encoder writes one.")
    check_archive(path)
    description = {DESCRIPTION: ""}
    program = torch.export.load(path, extra_files=description)
    return ExportedEncoder(program, **json.loads(description[DESCRIPTION]))


def _check_posterior(model) -> None:
    if not hasattr(model, "posterior_head") or not isinstance(model.posterior_head, GaussianPosterior):
        raise ValueError(
            f"A mean and a standard deviation are those of a Gaussian q(z|x), and this {model.config.model_type!r} model has "
            f"posterior_type {getattr(model.config, 'posterior_type', None)!r}: give a text VAE with 'gaussian', 'batch_norm' "
            "or 'delta'."
        )
    if model.config.semi_amortized_steps:
        raise ValueError(
            "semi_amortized_steps refine q(z|x) through the decoder, and what is exported is the encoder: set them to 0 to "
            "export what it says by itself."
        )


def _inputs(model, count: int, size: int, condition_size: int) -> tuple[torch.Tensor, ...]:
    """Tokens and a mask of texts (count, size); of a conditional VAE then those of conditions (count, condition_size)."""
    texts = _texts(model, count, size)
    return (*texts, *_texts(model, count, condition_size)) if model.prior.needs_condition else texts


def _texts(model, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and a mask (count, size) of several lengths, padded on the left and on the right by turns."""
    generator = torch.Generator().manual_seed(size)
    ids = torch.randint(model.config.encoder.vocab_size, (count, size), generator=generator)
    place, lengths = torch.arange(size), (size - torch.arange(count) % size).unsqueeze(1)
    is_left = (torch.arange(count) % 2 == 1).unsqueeze(1)
    mask = torch.where(is_left, place >= size - lengths, place < lengths).long()
    return ids.to(model.device), mask.to(model.device)


def _compare(model, exported: ExportedEncoder, texts: tuple[torch.Tensor, ...], tolerance: float) -> None:
    posterior, found = model.encode(*texts), exported.encode(*texts)
    for name in ("mean", "stddev"):
        expected, got = getattr(posterior, name), getattr(found, name)
        if not torch.allclose(got, expected, rtol=tolerance, atol=tolerance):
            raise ValueError(
                f"The exported program of a {model.config.encoder.model_type!r} encoder gives another {name} for texts of "
                f"shape {tuple(texts[0].shape)}: it differs by {(got - expected).abs().max().item():.1e}. It is not written."
            )
