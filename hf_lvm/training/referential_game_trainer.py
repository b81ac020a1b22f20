"""A trainer that plays the validation games through in each evaluation, beside the bound."""

import torch
from datasets import Dataset
from transformers.trainer_utils import EvalLoopOutput

from hf_lvm.analysis.game_report import play_games
from hf_lvm.training.trainer import LatentTrainer


class GameTrainer(LatentTrainer):
    """`LatentTrainer` of a referential game: evaluations also give `eval_accuracy`, 0 to 1, and `eval_message_length`.

    Both are of the greedily best messages; the bound is of samples. `metric_for_best_model: accuracy` chooses the best
    checkpoint by it. Under the game_loss `hinge` nothing is called a bound: `reconstruction` is that loss, and `eval_loss` its
    sum with the KL.
    """

    def evaluate(self, eval_dataset: Dataset | None = None, *args, **kwargs) -> dict[str, float]:
        """Evaluate; see `transformers.Trainer.evaluate`."""
        self._evaluated = self.eval_dataset if eval_dataset is None else eval_dataset
        return super().evaluate(eval_dataset, *args, **kwargs)

    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Evaluate; see `LatentTrainer.evaluation_loop`."""
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        model = self.accelerator.unwrap_model(self.model)
        own = list(range(len(self._evaluated)))[self.args.process_index :: self.args.world_size]
        games = self._evaluated.select(own)
        played = play_games(model, games, self.data_collator, self.args.eval_batch_size, show_progress=False)
        totals = torch.tensor(
            [float(played.is_right.sum()), float(played.lengths.sum()), float(len(own))],
            device=self.args.device,
        )
        right, symbols, count = self.accelerator.reduce(totals, "sum").tolist()
        output.metrics[f"{metric_key_prefix}_accuracy"] = right / count
        output.metrics[f"{metric_key_prefix}_message_length"] = symbols / count
        return output
