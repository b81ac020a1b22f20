"""What results.json says of a run."""

from hf_lvm.training.results import evaluations_of


def test_the_lines_of_one_step_are_one_evaluation():
    history = [
        {"step": 2, "epoch": 0.5, "loss": 3.0},
        {"step": 4, "epoch": 1.0, "eval_bound": -3.0, "eval_kl": 0.5, "eval_runtime": 9.0},
        {"step": 4, "epoch": 1.0, "eval_corpus_f1": 40.0},
        {"step": 8, "epoch": 2.0, "eval_bound": -2.0},
        {"step": 8, "epoch": 2.0, "train_runtime": 10.0},
    ]
    assert evaluations_of(history, ("bound", "kl", "corpus_f1")) == [
        {"step": 4, "epoch": 1.0, "bound": -3.0, "kl": 0.5, "corpus_f1": 40.0},
        {"step": 8, "epoch": 2.0, "bound": -2.0},
    ]
    assert evaluations_of(history, ("accuracy",)) == []
