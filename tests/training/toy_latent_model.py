"""The smallest model that honours the contract `LatentTrainer` relies on, and data for it: tests run in milliseconds.

`build` and `corpus` are the only names the tests use, so that any other model can stand here.
"""

from dataclasses import dataclass

import datasets
import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal, kl_divergence
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from hf_lvm.objectives.free_bits import free_bits_kl
from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.trainer import LatentTrainer

PAD, START, END, UNKNOWN = 0, 1, 2, 3


@dataclass
class ToyOutput(ModelOutput):
    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    kl_per_dimension: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    latents: torch.Tensor | None = None
    posterior: Distribution | None = None


class ToyConfig(PreTrainedConfig):
    model_type = "toy_latent_model"
    keys_to_ignore_at_inference = ["kl_per_dimension", "logits", "latents", "posterior"]

    vocab_size: int = 23
    latent_size: int = 4
    hidden_size: int = 16


class ToyModel(PreTrainedModel):
    config: ToyConfig
    accepts_loss_kwargs = False

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.posterior_head = nn.Linear(config.hidden_size, 2 * config.latent_size)
        self.decoder_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.injection = nn.Linear(config.latent_size, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.5)

    def inference_parameters(self):
        return (pair for pair in self.named_parameters() if pair[0].startswith(("embedding", "posterior_head")))

    def generative_parameters(self):
        return (pair for pair in self.named_parameters() if pair[0].startswith(("decoder_embedding", "injection", "head")))

    def injection_parameters(self):
        return (pair for pair in self.named_parameters() if pair[0].startswith("injection"))

    def reset_decoder(self, seed: int = 0) -> None:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            for _, parameter in self.generative_parameters():
                parameter.normal_(std=0.5)

    def shift_right(self, labels: torch.Tensor) -> torch.Tensor:
        start = torch.full_like(labels[:, :1], START)
        return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == -100, PAD)], dim=1)

    def encode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Distribution:
        weights = attention_mask.unsqueeze(-1) / attention_mask.sum(1)[:, None, None]
        mean, log_stddev = self.posterior_head((self.embedding(input_ids) * weights).sum(1)).float().chunk(2, -1)
        return Independent(Normal(mean, log_stddev.clamp(-5, 2).exp()), 1)

    def decode(self, latents: torch.Tensor, decoder_input_ids: torch.Tensor, labels: torch.Tensor):
        logits = self.head(self.decoder_embedding(decoder_input_ids) + self.injection(latents).unsqueeze(1))
        return logits, nn.functional.cross_entropy(logits.transpose(1, 2).float(), labels, reduction="none").sum(1)

    def forward(
        self, input_ids=None, attention_mask=None, labels=None, *, latents=None, decoder_input_ids=None,
        sample_posterior=True, generator=None, kl_weight=1.0, free_bits=0.0, free_bits_mode="none",
    ) -> ToyOutput:  # fmt: skip
        posterior = self.encode(input_ids, attention_mask)
        noise = torch.stack([torch.randn(self.config.latent_size, generator=row) for row in generator])
        latents = posterior.mean + posterior.stddev * noise
        kl_per_dimension = kl_divergence(posterior.base_dist, Normal(0.0, 1.0))
        decoder_input_ids = self.shift_right(labels) if decoder_input_ids is None else decoder_input_ids
        logits, reconstruction = self.decode(latents, decoder_input_ids, labels)
        kl = kl_per_dimension.sum(1)
        loss = (reconstruction + kl_weight * free_bits_kl(kl_per_dimension, free_bits, free_bits_mode)).mean()
        return ToyOutput(loss, reconstruction, kl, kl_per_dimension, logits, latents, posterior)


def build(seed: int = 0) -> ToyModel:
    torch.manual_seed(seed)
    return ToyModel(ToyConfig())


def corpus(size: int, seed: int = 0) -> datasets.Dataset:
    """Sentences of 2 to 9 words, of which neighbours are alike, with a column `length`."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(size):
        length = int(torch.randint(2, 10, (), generator=generator))
        first = int(torch.randint(4, 15, (), generator=generator))
        rows.append((first + torch.randint(0, 8, (length,), generator=generator)).tolist())
    return datasets.Dataset.from_dict(
        {"input_ids": rows, "labels": [[*row, END] for row in rows], "length": [len(row) for row in rows]}
    )


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Pads a batch: `input_ids` and `attention_mask` (B, S), `labels` (B, T)."""
    pad = nn.utils.rnn.pad_sequence
    tokens = [torch.tensor(row["input_ids"]) for row in rows]
    labels = [torch.tensor(row["labels"]) for row in rows]
    return {
        "input_ids": pad(tokens, batch_first=True, padding_value=PAD),
        "attention_mask": pad([torch.ones_like(row) for row in tokens], batch_first=True),
        "labels": pad(labels, batch_first=True, padding_value=-100),
    }


def trainer(output_dir, train=None, evaluation=None, *, model=None, trainer_class=LatentTrainer, **options):
    """A trainer of the toy model on the CPU: SGD, batches of 8, no evaluation, no saving, unless `options` say so."""
    settings = {
        "output_dir": str(output_dir), "use_cpu": True, "disable_tqdm": True, "optim": "sgd", "learning_rate": 0.05,
        "per_device_train_batch_size": 8, "logging_steps": 1, "eval_strategy": "no", "save_strategy": "no",
        "dataloader_pin_memory": False, "max_grad_norm": 1000.0, **options,
    }  # fmt: skip
    return trainer_class(
        model=build() if model is None else model,
        args=LatentTrainingArguments(**settings),
        train_dataset=corpus(48) if train is None else train,
        eval_dataset=evaluation,
        data_collator=collate,
        word_dropout_token_id=UNKNOWN,
    )
