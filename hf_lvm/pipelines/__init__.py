"""Pipelines of transformers: texts to latents and latents to texts, by the name of a task.

After `import hf_lvm`, `transformers.pipeline` knows two more tasks:

| task | input | output |
|---|---|---|
| `latent-encoding` | a text | its latent, and how sure q(z\\|x) is of it |
| `latent-generation` | a latent, a text whose latent is found first, or nothing | new text |

They are known without being imported (see `hf_lvm.auto_classes`), and leave no trace in a checkpoint: it is saved as model and
processor, and loaded without remote code.
"""

from hf_lvm.pipelines.latent_encoding import LatentEncodingPipeline
from hf_lvm.pipelines.latent_generation import LatentGenerationPipeline

__all__ = ["LatentEncodingPipeline", "LatentGenerationPipeline"]
