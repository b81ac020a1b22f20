"""A trainer that parses the validation utterances in each evaluation, beside the bound."""

import torch
from datasets import Dataset
from transformers.trainer_utils import EvalLoopOutput

from hf_lvm.analysis.meaning_parsing import ExactMatch, parse_rows
from hf_lvm.grammars.languages import Language
from hf_lvm.training.trainer import LatentTrainer


class MeaningTrainer(LatentTrainer):
    """`LatentTrainer` of a StructVAE: evaluations also give `eval_exact_match`, 0 to 100.

    It is the share of utterances whose parse is their meaning by the published rule of the language; those whose meaning the
    grammar does not derive count as wrong. `metric_for_best_model: exact_match` chooses the best checkpoint by it.

    Args:
        language: of the meanings.
        num_beams: of the parse; 1, greedy, is fastest, and 0 parses nothing.
    """

    def __init__(self, *args, language: Language, num_beams: int = 1, **kwargs):
        super().__init__(*args, **kwargs)
        self._exact, self._num_beams = ExactMatch(language), num_beams

    def evaluate(self, eval_dataset: Dataset | None = None, *args, **kwargs) -> dict[str, float]:
        """Evaluate; see `transformers.Trainer.evaluate`."""
        # The loader that an evaluation gets has lost the columns that the model does not take.
        self._evaluated = self.eval_dataset if eval_dataset is None else eval_dataset
        return super().evaluate(eval_dataset, *args, **kwargs)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Evaluate; see `LatentTrainer.evaluation_loop`."""
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        if self._num_beams:
            output.metrics[f"{metric_key_prefix}_exact_match"] = self.exact_match(self._evaluated)
        return output

    def exact_match(self, dataset: Dataset) -> float:
        """The share of rows with a meaning that are parsed right, 0 to 100; processes share the work."""
        meanings = dataset["meaning"][:]
        rows = [row for row, meaning in enumerate(meanings) if meaning]
        own = rows[self.args.process_index :: self.args.world_size]
        model = self.accelerator.unwrap_model(self.model)
        found = parse_rows(model, dataset, self.processing_class, self._num_beams, rows=own)
        hits = sum(bool(best) and self._exact(best[0].tree, meanings[row]) for row, best in found.items())
        total = self.accelerator.reduce(torch.tensor(float(hits), device=self.args.device), "sum")
        return 100.0 * total.item() / max(len(rows), 1)
