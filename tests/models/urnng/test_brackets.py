"""Brackets that are known of some sentences: what they add to the loss, and who gets to see them."""

import datasets
import pytest
import torch

from hf_lvm import LatentTrainer, LatentTrainingArguments
from hf_lvm.data.tree_masks import spans_to_mask
from hf_lvm.models.urnng.likelihood import all_trees
from hf_lvm.objectives import RowCounts
from tests.models.urnng.tiny_grammars import tiny_urnng, trees_of_lengths
from tests.tiny_parts import batch_of, random_rows, row_generators

ROWS = random_rows(5, longest=5, shortest=3)
LENGTHS = [len(row) - 1 for row in ROWS]
BATCH = batch_of(ROWS)
ALPHA = 0.7


def some_brackets() -> torch.Tensor:
    """Nothing; the whole sentence alone, which says nothing; one span; a whole tree; one span and single words."""
    longest = max(LENGTHS)
    known = torch.zeros(5, longest, longest, dtype=torch.bool)
    known[1, 0, LENGTHS[1] - 1] = True
    known[2, 1, 2] = True
    known[3] = trees_of_lengths(LENGTHS)[3]
    known[4] = spans_to_mask([(0, 1)], longest)
    return known


KNOWN = some_brackets()


def model_of(**options):
    return tiny_urnng(perturbation=0.5, classification_weight=ALPHA, **options).double()


@pytest.mark.parametrize(("objective", "estimator"), [("elbo", "rloo"), ("iwae", "vimco"), ("minimum_risk", None)])
def test_whole_trees_are_scored_and_classified(objective, estimator):
    model, gold = model_of(objective=objective, estimator=estimator), trees_of_lengths(LENGTHS)
    output = model(**BATCH, required_spans=gold)
    log_joint = model(labels=BATCH["labels"], latents=gold).log_joint[0]
    log_q = model.encode(BATCH["input_ids"], BATCH["attention_mask"]).log_prob(gold)
    torch.testing.assert_close(output.row_loss, -log_joint - ALPHA * log_q)
    torch.testing.assert_close(output.loss, output.row_loss.mean())
    torch.testing.assert_close(output.entropy, torch.zeros_like(output.entropy), rtol=0, atol=1e-9)
    assert torch.equal(output.latents[0], gold)
    # Spans of single words may be left out, and so may the whole sentence.
    for _ in range(2):
        gold = gold & ~torch.eye(gold.shape[-1], dtype=torch.bool)
        torch.testing.assert_close(model(**BATCH, required_spans=gold).row_loss, output.row_loss)


def test_a_batch_of_whole_trees_is_scored_once_and_both_parts_learn(monkeypatch):
    model, gold, sat_out = model_of(estimator="reinforce_moving_average").train(), trees_of_lengths(LENGTHS), []
    monkeypatch.setattr(model.estimator, "sit_out", lambda: sat_out.append(1))
    output = model(**BATCH, required_spans=gold)
    assert output.latents.shape[0] == 1 and sat_out == [1]
    output.loss.backward()
    log_q = model.encode(BATCH["input_ids"], BATCH["attention_mask"]).log_prob(gold)
    parameters = [parameter for _, parameter in model.inference_parameters()]
    expected = torch.autograd.grad(-ALPHA * log_q.mean(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@torch.no_grad()
def test_some_brackets_restrict_the_trees_that_the_bound_is_over():
    model, row, draws = model_of(num_samples=4000), 2, 4000
    output = model(**BATCH, required_spans=KNOWN, generator=row_generators(5))
    for row in (0, 2, 4):
        length = LENGTHS[row]
        trees = all_trees(length)
        allowed = (trees | ~KNOWN[row, :length, :length]).flatten(1).all(1)
        assert allowed.all() == (row == 0)
        alone = {name: value[row : row + 1, : length + 1] for name, value in BATCH.items()}
        log_q = model.encode(alone["input_ids"], alone["attention_mask"]).log_prob(trees.unsqueeze(1)).squeeze(1)
        log_joint = model(labels=alone["labels"], latents=trees.unsqueeze(1)).log_joint.squeeze(1)
        log_known = log_q[allowed].logsumexp(0)
        q = (log_q[allowed] - log_known).exp()
        torch.testing.assert_close(output.entropy[row], -(q * q.log()).sum())
        bound = (q * log_joint[allowed]).sum() + output.entropy[row]
        error = (q * (log_joint[allowed] - bound + output.entropy[row]).square()).sum().sqrt() / draws**0.5
        assert abs(output.row_loss[row] + bound + ALPHA * log_known) < 4 * error + 1e-9
        seen = output.latents[:, row, :length, :length]
        assert (seen | ~KNOWN[row, :length, :length]).all()


def test_rows_with_and_without_brackets_are_averaged_apart():
    model = model_of(unlabelled_weight=0.5)
    output = model(**BATCH, required_spans=KNOWN, generator=row_generators(5))
    rows, plain = output.row_loss, model(**BATCH, generator=row_generators(5))
    torch.testing.assert_close(rows[:2], plain.row_loss[:2])
    torch.testing.assert_close(output.loss, rows[2:].mean() + 0.5 * rows[:2].mean())
    nothing = model(**BATCH, required_spans=torch.zeros_like(KNOWN), generator=row_generators(5))
    torch.testing.assert_close(nothing.loss, 0.5 * plain.loss)
    parts = []
    for part in (slice(0, 3), slice(3, 5)):
        some = {name: value[part] for name, value in BATCH.items()}
        generators = row_generators(5)[part]
        parts.append(model(**some, required_spans=KNOWN[part], generator=generators, row_counts=RowCounts(3, 2)).loss)
    torch.testing.assert_close(sum(parts), output.loss)


# ---- in training -----------------------------------------------------------------------------------------------------


def collate(features: list[dict]) -> dict[str, torch.Tensor]:
    batch = batch_of([feature["labels"] for feature in features])
    longest = batch["labels"].shape[1] - 1
    if "spans" in features[0]:
        masks = [spans_to_mask(feature["spans"], longest, whole_tree=False) for feature in features]
        batch["required_spans"] = torch.stack(masks)
    return batch


def partly_bracketed(count: int = 24, is_told: bool = True) -> datasets.Dataset:
    """Sentences, every third one with a bracket, some with two."""
    rows = random_rows(count, seed=5, shortest=4)
    spans = [[[[1, 2]], [[0, 1], [2, 3]], []][row % 3] if row % 2 else [] for row in range(count)]
    return datasets.Dataset.from_dict({"labels": rows, "input_ids": rows} | ({"spans": spans} if is_told else {}))


def trainer_of(model, folder, per_device: int = 8, accumulation: int = 1, is_told: bool = True) -> LatentTrainer:
    args = LatentTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=per_device, gradient_accumulation_steps=accumulation,
        per_device_eval_batch_size=8, max_steps=3, learning_rate=1e-2, optim="sgd", lr_scheduler_type="constant",
        logging_steps=1, max_grad_norm=1e6, report_to="none", save_strategy="no", eval_strategy="no", disable_tqdm=True,
        use_cpu=True, seed=3,
    )  # fmt: skip
    dataset = partly_bracketed(is_told=is_told)
    return LatentTrainer(model=model, args=args, train_dataset=dataset, eval_dataset=dataset, data_collator=collate)


def test_four_batches_of_two_are_one_of_eight(tmp_path):
    trainers = [trainer_of(tiny_urnng(unlabelled_weight=0.5), tmp_path / str(size), size, 8 // size) for size in (8, 2)]
    logs = []
    for trainer in trainers:
        trainer.train()
        logs.append([(entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "loss" in entry])
    torch.testing.assert_close(torch.tensor(logs[0]), torch.tensor(logs[1]), rtol=1e-5, atol=0)
    for one, other in zip(*(trainer.model.parameters() for trainer in trainers), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_an_evaluation_hides_the_brackets(tmp_path):
    model = tiny_urnng()
    told, untold = (trainer_of(model, tmp_path, is_told=is_told).evaluate() for is_told in (True, False))
    for name in ("eval_loss", "eval_bound", "eval_kl", "eval_reconstruction"):
        assert told[name] == untold[name]
