"""The collapse guard: it fires on a run that collapses, is silent on one that does not, and what it does helps."""

import logging

import pytest

from hf_lvm.training.trainer import LatentTrainer
from tests.training import toy_latent_model as toy
from tests.training.resuming import assert_resumes_exactly

# A latent of little use beside the KL it costs: the reconstruction counts a tenth, as in a model with a strong decoder.
HELD_OUT = toy.corpus(40, seed=1)
RUN = {
    "optim": "adamw_torch", "learning_rate": 0.02, "lr_scheduler_type": "constant", "max_steps": 120, "logging_steps": 60,
    "evaluation": HELD_OUT, "collapse_guard": "warn", "collapse_guard_samples": 32, "collapse_guard_steps": 10,
    "collapse_guard_patience_steps": 20, "train": toy.corpus(160),
}  # fmt: skip


class StrongDecoder(toy.ToyModel):
    """Its sentences hardly depend on the latent, so that the best it can do is to forget about it."""

    def decode(self, latents, decoder_input_ids, labels):
        return super().decode(latents * 0.02, decoder_input_ids, labels)


def train(folder, caplog, model, **options):
    caplog.clear()
    caplog.set_level(logging.INFO, logger="hf_lvm")
    trainer = toy.trainer(folder, model=model, **{**RUN, **options})
    trainer.train()
    looks = [entry for entry in trainer.state.log_history if "guard_kl" in entry]
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING and "latent" in record.msg
    ]
    return trainer, looks, warnings


def collapsing():
    return StrongDecoder(toy.build().config)


def test_it_fires_on_a_run_that_collapses_and_says_what_that_means(tmp_path, caplog):
    trainer, looks, warnings = train(tmp_path, caplog, collapsing())
    assert [look["step"] for look in looks] == list(range(10, 121, 10))
    assert looks[-1]["guard_mutual_information"] < 0.1 and looks[-1]["guard_kl"] < 0.1
    (warning,) = warnings  # once, not at every look
    for part in (
        "the latent variable is not used",
        "of 4 dimensions active",
        "posterior collapse",
        "free_bits: 0.25",
        "guard: act",
    ):
        assert part in warning
    assert int(warning.split()[1].rstrip(":")) >= 30  # not before the second look after the patience


def test_it_is_silent_on_a_run_that_does_not_collapse(tmp_path, caplog):
    trainer, looks, warnings = train(tmp_path, caplog, toy.build())
    assert warnings == [] and trainer._guard.looks_unused == 0
    assert looks[-1]["guard_mutual_information"] > 0.5 and looks[-1]["guard_active_units"] == 4
    last = looks[-1]["guard_kl_per_dimension"]
    assert len(last) == 4 and sum(last) == pytest.approx(looks[-1]["guard_kl"], rel=1e-5)


def test_it_waits_for_the_kl_weight_and_the_warm_start(tmp_path, caplog):
    schedule = {"autoencoder_warmup_steps": 30, "kl_schedule": "linear", "kl_warmup_steps": 60}
    _, looks, warnings = train(tmp_path, caplog, silent(), **schedule, max_steps=119, learning_rate=1e-5)
    assert all(look["guard_active_units"] == 0 for look in looks) and warnings == []
    _, _, warnings = train(tmp_path, caplog, silent(), **schedule, max_steps=120, learning_rate=1e-5)
    assert warnings[0].startswith("Step 120: ")  # the second look after 30 + 60 + 20 steps


def test_free_bits_rise_until_the_latent_is_used(tmp_path, caplog):
    trainer, looks, warnings = train(tmp_path, caplog, collapsing(), collapse_guard="act", max_steps=240)
    assert len(warnings) == 1 and "raises free_bits from 0 to 0.05" in caplog.text
    assert looks[-1]["guard_mutual_information"] > 0.1 and "in use again" in caplog.text
    given = trainer.free_bits()
    assert given in (0.05, 0.1, 0.2, 0.4) and trainer.objective_options(240)["free_bits"] == given
    logged = [entry["free_bits"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == sorted(logged) and logged[-1] == given


def test_free_bits_of_the_run_are_never_lowered_and_totals_are_totals(tmp_path, caplog):
    trainer, _, _ = train(tmp_path, caplog, toy.build(), free_bits=0.15, max_steps=1)
    trainer._guard.level = 1
    assert trainer.free_bits() == 0.15
    trainer._guard.level = 3
    assert trainer.free_bits() == 0.2
    trainer.args.free_bits_mode = "per_sentence"
    assert trainer.free_bits() == pytest.approx(0.2 * 4)


def test_the_aggressive_phase_is_started_once(tmp_path, caplog):
    options = {"collapse_guard": "act", "collapse_guard_action": "aggressive", "aggressive_max_inner_steps": 4}
    trainer, _, warnings = train(tmp_path, caplog, collapsing(), **options, aggressive_check_every=2)
    assert len(warnings) == 1 and caplog.text.count("starts aggressive training") == 1
    assert trainer._guard.started_aggressive
    assert any("aggressive_mutual_information" in entry for entry in trainer.state.log_history)


def test_a_guarded_run_is_the_same_run_and_resumes_bit_for_bit(tmp_path, caplog):
    options = {
        **RUN, "learning_rate": 1e-4, "collapse_guard": "act", "collapse_guard_steps": 5, "collapse_guard_patience_steps": 5,
        "max_steps": 30, "logging_steps": 5, "save_strategy": "steps", "save_steps": 5, "save_total_limit": None,
    }  # fmt: skip
    straight = toy.trainer(tmp_path / "straight", model=silent(), **options)
    straight.train()
    assert straight._guard.level >= 2
    assert_resumes_exactly(straight, tmp_path, [5, 10, 20], **options)
    watched, unwatched = (
        toy.trainer(tmp_path, **{**RUN, "max_steps": 20, "collapse_guard": guard}) for guard in ("warn", "off")
    )
    watched.train(), unwatched.train()
    assert [parameter.sum().item() for parameter in watched.model.parameters()] == [
        parameter.sum().item() for parameter in unwatched.model.parameters()
    ]


def silent():
    """The posterior is the prior for every sentence, and a small learning rate keeps it near that."""
    model = toy.build()
    for parameter in model.posterior_head.parameters():
        parameter.data.zero_()
    return model


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"collapse_guard": "on"}, "collapse_guard is 'on'; choose one of off, warn, act"),
        ({"collapse_guard_action": "rewind"}, "collapse_guard_action is 'rewind'; choose one of free_bits, aggressive"),
        ({"collapse_guard_samples": 1}, "collapse_guard_samples is 1"),
        ({"collapse_guard_steps": 0}, "collapse_guard_steps is 0"),
        ({"collapse_guard": "act", "free_bits_mode": "none"}, "free_bits_mode 'none'"),
        ({"evaluation": None}, "give the trainer one eval_dataset"),
    ],
)
def test_a_guard_that_cannot_watch_is_refused(tmp_path, options, expected):
    with pytest.raises(ValueError, match=expected):
        toy.trainer(tmp_path, **{**RUN, **options})


def test_dropout_is_off_while_the_guard_looks_and_while_the_run_evaluates(tmp_path):
    class Dropping(toy.ToyModel):
        modes = []

        def encode(self, input_ids, attention_mask):
            self.modes.append(self.training)
            return super().encode(input_ids, attention_mask)

    options = {**RUN, "max_steps": 10, "collapse_guard_steps": 10, "eval_strategy": "steps", "eval_steps": 10}
    trainer = toy.trainer(tmp_path, model=Dropping(toy.ToyConfig()), trainer_class=LatentTrainer, **options)
    trainer.train()
    assert Dropping.modes[:10] == [True] * 10 and len(Dropping.modes) > 14 and not any(Dropping.modes[10:])
    assert trainer.model.training is False  # as the evaluation leaves it; every step sets it again
