"""An encoder, a decoder and a latent between them: all of such a model but the latent itself.

A model with another kind of latent subclasses `ComposedModel` and `ComposedConfig`, and says what q(z|x) and p(z) are, how a
latent becomes the vector that the decoder is conditioned on, and what its bound is.

| file | holds |
|---|---|
| `configuration.py` | the keys that all such models share |
| `modeling.py` | the model: its parts, one decoding step |
| `parts.py` | where encoder and decoder come from, how one begins anew |
| `adapter_checkpoints.py` | checkpoints of adapters and heads beside a named base |
| `adapter_bases.py` | the weights beside an adapter: described, known again, taken over |
| `own_card.py` | the card that `push_to_hub` shares |
| `scoring.py` | p(x|z) of sentences |
| `text_operations.py` | text in, text out |
"""

from hf_lvm.backbones.composition.configuration import ComposedConfig
from hf_lvm.backbones.composition.modeling import ComposedModel, ComposedOutput
from hf_lvm.backbones.composition.text_operations import TextOperations

__all__ = ["ComposedConfig", "ComposedModel", "ComposedOutput", "TextOperations"]
