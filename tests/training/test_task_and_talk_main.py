"""Bots trained by their recipe: what is written and measured, runs that are kept, runs that go on, and what is refused."""

import json

import pytest
import torch
from transformers import AutoModel

from hf_lvm import TaskAndTalkConfig, TaskAndTalkModel
from hf_lvm.analysis.dialog_report import purity_of
from hf_lvm.data.task_and_talk import instances, published_split, split_objects
from hf_lvm.training.task_and_talk import main
from hf_lvm.training.task_and_talk_arguments import DialogTrainingArguments
from hf_lvm.training.task_and_talk_trainer import DialogTrainer, clip_runs

# A world that is soon understood: two attributes of two values.
EASY = [
    "--num_values", "2", "2", "--num_test", "1", "--num_question_symbols", "2", "--num_answer_symbols", "3", "--num_runs", "3",
    "--hidden_size", "12", "--initial_scale", "3", "--learning_rate", "3e-2", "--lr_scheduler_type", "constant",
    "--accuracy_steps", "5", "--seed", "4", "--use_cpu", "--disable_tqdm", "true", "--report_to", "none",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bots")
    flags = ["--max_steps", "80", "--save_steps", "20", "--answer_entropy", "0.1", "--question_entropy", "0.05"]
    return main([*EASY, "--output_dir", str(folder), *flags], prog="train_task_and_talk.py"), folder


def test_what_is_written_and_measured_is_what_the_saved_model_does(run):
    results, folder = run
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results, default=str))
    assert [each["seed"] for each in results["runs"]] == [4, 5, 6] and results["num_runs"] == 3
    assert "2 * 2 values: 3 training objects, 1 held out at random, seed 0" in results["corpus"]
    model = AutoModel.from_pretrained(folder).eval()
    split = split_objects([2, 2], 1, 0)
    for name, objects in (("train", split.train), ("test", split.test)):
        right = model.talk(**instances(objects, 2)).right
        assert [each[f"{name}_both"] for each in results["runs"]] == pytest.approx(right.all(-1).float().mean(1).tolist())
        assert [each[f"{name}_any"] for each in results["runs"]] == pytest.approx(right.any(-1).float().mean(1).tolist())
    solved = [each for each in results["runs"] if each["train_both"] == 1.0]
    assert results["solved_runs"] == len(solved) >= 2, "the easy world is understood by most"
    assert results["of_solved_runs"]["train_both"]["mean"] == 1.0
    text = (folder / "dialogs.txt").read_text()
    assert "The best run on unseen objects" in text and "  -> " in text
    assert (folder / "figures" / "training_curves.png").stat().st_size > 5_000


def test_a_run_that_has_solved_everything_is_kept_as_it_is(run):
    results, folder = run
    stopped = [each["stopped_at"] for each in results["runs"]]
    early = min(step for step in stopped if step > 0)
    assert early < results["steps"], "one of the runs must have stopped before the end"
    number = stopped.index(early)
    last = AutoModel.from_pretrained(folder)
    seen = False
    for checkpoint in sorted(folder.glob("checkpoint-*")):
        if int(checkpoint.name.split("-")[1]) < early:
            continue
        then, seen = AutoModel.from_pretrained(checkpoint), True
        for mine, own in zip(then.run_parameters(), last.run_parameters(), strict=True):
            assert torch.equal(mine[number], own[number])
    assert seen
    # It was measured when it stopped, and each later time with the same result.
    assert all(values[number] == 1.0 for step, values in results["accuracy_history"] if step >= early)


def dialog_trainer(folder, steps: int, stop: bool = False, **options) -> DialogTrainer:
    config = {"num_values": [2, 3], "num_runs": 2, "hidden_size": 6, "seeds": [1, 2], "initial_scale": 3.0}
    settings = {
        "output_dir": str(folder), "max_steps": steps, "learning_rate": 1e-2, "lr_scheduler_type": "constant",
        "save_steps": 4, "accuracy_steps": 4, "use_cpu": True, "disable_tqdm": True, "report_to": "none",
        "answer_entropy": 0.3, "entropy_steps": 10, "logging_steps": 2, "stop_when_solved": stop,
    }  # fmt: skip
    names = {
        key: options.pop(key) for key in list(options) if key in ("estimator", "num_samples", "num_runs", "seeds", "objective")
    }
    model = TaskAndTalkModel(TaskAndTalkConfig(**config | names))
    rows = instances(split_objects([2, 3], 1).train, 2)
    return DialogTrainer(model, DialogTrainingArguments(**settings | options), rows)


@pytest.mark.parametrize("estimator", ["exact", "rloo"])
def test_a_run_that_goes_on_is_the_run_that_was_not_interrupted(tmp_path, estimator):
    options = {"estimator": estimator, "num_samples": 2 if estimator == "rloo" else 1}
    whole = dialog_trainer(tmp_path / "whole", 8, **options)
    whole.train()
    resumed = dialog_trainer(tmp_path / "whole", 8, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    for mine, own in zip(whole.model.run_parameters(), resumed.model.run_parameters(), strict=True):
        assert torch.equal(mine, own)
    assert whole.runs.history == resumed.runs.history and [step for step, _ in whole.runs.history] == [4, 8]


def test_runs_that_have_solved_nothing_begin_anew_and_go_on_from_a_checkpoint(tmp_path):
    options = {"stop": True, "entropy_cycles": 2, "restart_unsolved": True, "learning_rate": 1e-4, "optim": "adamw_torch"}
    whole = dialog_trainer(tmp_path / "whole", 8, **options)
    whole.train()
    assert whole.runs.attempts == [2, 2] and whole.runs.seeds == [1_000_001, 1_000_002] == whole.model.config.seeds
    fresh = dialog_trainer(
        tmp_path / "fresh", 4, **options | {"entropy_cycles": 1, "restart_unsolved": False}, seeds=whole.runs.seeds
    )
    fresh.train()
    # The second half is a training of its own, with an optimizer that remembers nothing.
    for mine, own in zip(whole.model.run_parameters(), fresh.model.run_parameters(), strict=True):
        torch.testing.assert_close(mine, own)
    resumed = dialog_trainer(tmp_path / "whole", 8, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert resumed.model.config.seeds == whole.model.config.seeds and resumed.runs.attempts == [2, 2]
    for mine, own in zip(whole.model.run_parameters(), resumed.model.run_parameters(), strict=True):
        assert torch.equal(mine, own)


def test_runs_side_by_side_train_as_each_would_alone(tmp_path):
    together = dialog_trainer(tmp_path / "two", 6, max_grad_norm=0.05, optim="sgd", learning_rate=1.0)
    together.train()
    for number, seed in enumerate((1, 2)):
        alone = dialog_trainer(
            tmp_path / f"one{seed}", 6, max_grad_norm=0.05, optim="sgd", learning_rate=1.0, num_runs=1, seeds=[seed]
        )
        alone.train()
        for mine, own in zip(together.model.run_parameters(), alone.model.run_parameters(), strict=True):
            torch.testing.assert_close(mine[number], own[0], rtol=1e-4, atol=1e-5)


def test_the_gradient_of_each_run_is_clipped_by_its_own_norm():
    model = TaskAndTalkModel(TaskAndTalkConfig(num_runs=2, hidden_size=4, seeds=[1, 2]))
    for parameter in model.run_parameters():
        parameter.grad = torch.ones_like(parameter) * torch.tensor([1e-4, 1.0]).view(-1, *[1] * (parameter.dim() - 1))
    before = [torch.stack([p.grad[run].norm() for p in model.run_parameters()]).norm() for run in range(2)]
    assert before[0] < 0.1 < before[1]
    torch.testing.assert_close(clip_runs(model, 0.1), torch.stack(before).mean())
    after = [torch.stack([p.grad[run].norm() for p in model.run_parameters()]).norm() for run in range(2)]
    torch.testing.assert_close(torch.stack(after), torch.stack([before[0], torch.tensor(0.1)]))


def test_entropies_fall_in_a_straight_line_once_or_in_cycles(tmp_path):
    args = DialogTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, question_entropy=0.2, answer_entropy=0.6, entropy_steps=0.5, max_steps=40
    )
    assert args.entropy_weights(0, 40) == (0.2, 0.6) and args.entropy_weights(10, 40) == pytest.approx((0.1, 0.3))
    assert args.entropy_weights(20, 40) == args.entropy_weights(39, 40) == (0.0, 0.0)
    args.question_entropy_steps = 40
    assert args.entropy_weights(20, 40) == (0.1, 0.0) and args.entropy_weights(40, 80)[0] == 0.0
    args.question_entropy_steps, args.entropy_cycles = None, 2
    assert args.entropy_weights(20, 40) == (0.2, 0.6) and args.entropy_weights(5, 40) == pytest.approx((0.1, 0.3))
    assert args.entropy_weights(10, 40) == args.entropy_weights(19, 40) == args.entropy_weights(30, 40) == (0.0, 0.0)


def test_purity_is_one_where_each_question_asks_for_one_attribute_and_less_where_codes_are_mixed():
    objects = published_split().train
    tasks = torch.arange(len(objects)) % 3
    pure = torch.stack([tasks, objects.gather(1, tasks.unsqueeze(1)).squeeze(1)], dim=1)
    assert purity_of(pure.numpy(), objects.numpy()) == pytest.approx(1.0)
    mixed = torch.stack([tasks, 2 * (objects[:, 0] // 2) + objects[:, 1] // 2], dim=1)
    assert 0.3 < purity_of(mixed.numpy(), objects.numpy()) < 0.85
    silent = torch.stack([tasks, torch.zeros_like(tasks)], dim=1)
    assert purity_of(silent.numpy(), objects.numpy()) == 0.0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max_steps", "0"], "max_steps is 0: it is 1 or more"),
        (["--answer_entropy", "-1"], "answer_entropy is -1.0; it is 0 or more"),
        (["--num_test", "4"], "num_test is 4: of 4 objects hold out 1 to 2"),
        (["--free_bits", "0.5"], "no latent vector and no text, and so no free_bits"),
        (["--eval_strategy", "steps"], "there is no validation split"),
        (["--model_type", "hf_lvm_text_vae"], "this recipe trains hf_lvm_task_and_talk"),
        (["--num_question_symbols", "1"], "of one symbol nothing can be learned"),
        (["--estimator", "exact", "--num_rounds", "5"], r"\(2 \* 3\)\^5 = 7,776 dialogs, and enumeration_budget is 100"),
    ],
)
def test_refusals(tmp_path, more, said):
    with pytest.raises(ValueError, match=said):
        main([*EASY, "--output_dir", str(tmp_path), "--enumeration_budget", "100", *more])
