"""What both pipelines share: the processor in the place of a tokenizer, and how they are saved."""

import os
from collections.abc import Mapping
from typing import Any

from transformers import Pipeline

from hf_lvm.analysis.feature_extraction import reads_conditions
from hf_lvm.data import LatentTextProcessor


class LatentPipeline(Pipeline):
    """A pipeline of a model with a latent and its `LatentTextProcessor`.

    The processor makes the batches, so that what it pads and cuts is the same here as everywhere: `preprocess` only looks at
    an input, and a batch reaches `_forward` as a list.

    Raises:
        ValueError: no processor, or another one.
    """

    _load_processor = True
    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_video_processor = False

    def __init__(self, model, *args, processor: LatentTextProcessor | None = None, **options):
        if not isinstance(processor, LatentTextProcessor):
            raise ValueError(
                f"This pipeline needs the LatentTextProcessor of its model, and got {type(processor).__name__}: pass "
                "processor=..., or give the model by the folder of a run, where both are."
            )
        super().__init__(model, *args, processor=processor, **options)
        self.model.eval()

    def __call__(self, inputs, *args, **options) -> Any:
        """Run one input, or a list or a data set of them."""
        if isinstance(inputs, list | tuple) and not inputs:
            return []
        return super().__call__(list(inputs) if isinstance(inputs, tuple) else inputs, *args, **options)

    @property
    def reads_conditions(self) -> bool:
        """Whether each input needs a condition: those of a conditional text VAE."""
        return reads_conditions(self.model)

    def check_condition(self, condition: Any) -> None:
        """Raise a `ValueError` for a condition that the model does not read, or none where it reads one."""
        if condition is not None and not self.reads_conditions:
            raise ValueError(f"This {self.model.config.model_type!r} model reads no condition: leave it out.")
        if self.reads_conditions and not isinstance(condition, str):
            raise ValueError(
                f"prior_type {self.model.config.prior_type!r} reads a condition, a text, beside each: pass a dict with the "
                f"key 'condition'; got {'none' if condition is None else type(condition).__name__}."
            )

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Model and processor into a folder, with which `AutoModel`, `AutoProcessor` and `pipeline` load them again.

        Nothing of the pipeline itself: transformers would write its class into the config as remote code, and the checkpoint
        could then not be loaded without trusting it.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)


def as_rows(inputs: Mapping[str, Any]) -> list[Any]:
    """The inputs of a batch, under the key `row`: transformers hands one over alone and several as a list."""
    return inputs["row"] if isinstance(inputs["row"], list) else [inputs["row"]]
