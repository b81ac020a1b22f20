from dataclasses import dataclass, field

import pytest

from hf_lvm.training.arguments import LatentTrainingArguments
from hf_lvm.training.config_file import parse


@dataclass
class ModelArguments:
    decoder: str = field(metadata={"help": "The decoder."})
    latent_size: int = field(default=16, metadata={"help": "Dimensions of the latent."})
    injection: list[str] = field(default_factory=lambda: ["prefix"], metadata={"help": "How z enters."})
    decoder_tokenizer: str | None = field(default=None, metadata={"help": "Tokenizer of the decoder."})
    pooling: str = "mean"
    tie: bool = True
    part_options: dict = field(init=False, default_factory=dict)


def read(tmp_path, text="", *flags, classes=(ModelArguments, LatentTrainingArguments)):
    config = tmp_path / "run.yaml"
    config.write_text(text)
    return parse(classes, ["--config", str(config), *flags], "Train a model.")


BASE = "decoder: gpt2\nuse_cpu: true\n"


def test_yaml_values_get_the_type_of_their_field(tmp_path):
    text = "learning_rate: 1e-4\nweight_decay: 1E-2\nnum_train_epochs: 3\nbf16: true\neval_strategy: no\nkl_start: .5\n"
    model, args = read(tmp_path, BASE + text + "injection: [prefix, embedding]\nlatent_size: 8\npooling: 12\n")
    assert (args.learning_rate, args.weight_decay, args.num_train_epochs, args.kl_start) == (1e-4, 1e-2, 3.0, 0.5)
    assert args.bf16 is True and args.eval_strategy == "no"
    assert model.injection == ["prefix", "embedding"] and model.latent_size == 8 and model.pooling == "12"


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    text = "latent_size: 012\nseed: 0x1F\nencoder_a: 12:30\nencoder_b: 1_000\nencoder_c: 0o17\nencoder_d: -.inf\n"
    model, args = read(tmp_path, BASE + text)
    assert model.latent_size == 12 and args.seed == 31
    assert model.part_options["encoder"] == {"a": "12:30", "b": "1_000", "c": 15, "d": float("-inf")}


def test_a_file_that_is_no_text_in_utf_8_is_named(tmp_path):
    (tmp_path / "run.yaml").write_bytes(b"seed: 3\xff\n")
    with pytest.raises(ValueError, match="run.yaml is no text in UTF-8"):
        parse((LatentTrainingArguments,), ["--config", str(tmp_path / "run.yaml")], "Train.")


def test_flags_override_the_file_and_leave_the_rest(tmp_path):
    text = BASE + "latent_size: 8\nlearning_rate: 1e-4\ninjection: embedding\nbf16: true\nword_dropout: 0.3\n"
    flags = ["--latent-size", "32", "--learning_rate=2e-3", "--no_tie", "--bf16", "false"]
    model, args = read(tmp_path, text, *flags)
    assert (model.latent_size, args.learning_rate, model.tie, args.bf16) == (32, 2e-3, False, False)
    assert model.injection == ["embedding"] and args.word_dropout == 0.3


def test_a_flag_equal_to_the_default_still_overrides_the_file(tmp_path):
    model, args = read(tmp_path, BASE + "latent_size: 8\nseed: 3\n", "--latent_size", "16", "--seed", "42")
    assert (model.latent_size, args.seed) == (16, 42)


def test_flags_alone_are_enough():
    model, args = parse((ModelArguments, LatentTrainingArguments), ["--decoder", "gpt2", "--use_cpu"], "Train.")
    assert model.decoder == "gpt2" and model.injection == ["prefix"] and args.use_cpu


def test_null_is_allowed_where_none_is(tmp_path):
    model, args = read(tmp_path, BASE + "decoder_tokenizer: null\nsave_total_limit:\n")
    assert model.decoder_tokenizer is None and args.save_total_limit is None


def test_keys_with_the_name_of_a_part_go_to_the_part(tmp_path):
    text = BASE + "encoder_hidden_size: 192\nencoder_scale: 1e-3\ndecoder_layer_types: [full, local]\n"
    flags = ["--decoder_tie", "true", "--encoder_hidden_size", "64", "--encoder-act=gelu", "--latent_size", "4"]
    model, _ = read(tmp_path, text + "decoder_tokenizer: words\n", *flags)
    assert model.decoder_tokenizer == "words" and model.latent_size == 4
    assert model.part_options == {
        "encoder": {"hidden_size": 64, "scale": 1e-3, "act": "gelu"},
        "decoder": {"layer_types": ["full", "local"], "tie": True},
    }


def test_several_values_and_negative_numbers_reach_a_part_by_flag(tmp_path):
    model, _ = read(tmp_path, BASE, "--encoder_sizes", "3", "-1", "--decoder_bias=-2", "--pooling", "first")
    assert model.part_options == {"encoder": {"sizes": [3, -1]}, "decoder": {"bias": -2}}
    assert model.pooling == "first"


def test_dictionaries_reach_the_fields_made_for_them(tmp_path):
    _, args = read(tmp_path, BASE + "lr_scheduler_type: polynomial\nlr_scheduler_kwargs: {power: 2.0}\n")
    assert args.lr_scheduler_kwargs == {"power": 2.0}


@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        ("lerning_rate: 1e-4", [], ["line 3", "lerning_rate", "Did you mean learning_rate?"]),
        ("", ["--lerning_rate", "1"], ["--lerning_rate", "Did you mean --learning_rate?"]),
        ("", ["--learning", "1"], ["unknown flag --learning"]),
        ("seed: 1\nseed: 2", [], ["line 4", "seed was already given in line 3"]),
        ("seed:\n  value: 1", [], ["line 3", "seed", "flat"]),
        ("seed: [1, 2]", [], ["seed", "takes one value"]),
        ("injection: [[prefix]]", [], ["injection", "plain values"]),
        ("latent_size: 3.7", [], ["line 3", "latent_size", "invalid int value: '3.7'"]),
        ("latent_size: many", [], ["latent_size", "invalid int value: 'many'"]),
        ("latent_size:", [], ["latent_size", "needs a value"]),
        ("bf16: maybe", [], ["bf16", "maybe"]),
        ("lr_scheduler_type: sawtooth", [], ["lr_scheduler_type", "sawtooth", "cosine"]),
        ("kl_schedule: sawtooth", [], ["sawtooth", "'linear'"]),
        ("", ["--latent_size", "many"], ["latent_size", "many"]),
        ("", ["stray"], ["stray", "no flag in front"]),
        ("", ["--encoder_hidden_size"], ["--encoder_hidden_size needs a value"]),
        ("", ["--config", "other.yaml"], ["--config was given twice"]),
        ("a: [1", [], ["not valid YAML"]),
        ("when: 2024-01-01", [], ["unknown key when"]),
        ("logging_steps: .inf", [], ["logging_steps is inf", "finite"]),
        ("a: &a [1]\nb: *a", [], ["not valid YAML", "anchors and aliases"]),
        ("a: !!binary aGk=", [], ["not valid YAML", "tags such as"]),
        (f"a: {'[' * 5000}", [], ["not valid YAML", "nested more than 16 times"]),
        (f"latent_size: {'9' * 5000}", [], ["5,000 digits"]),
        ("? [a, b]\n: c", [], ["line 3", "a key is a word"]),
        ("pooling: \0", [], ["not valid YAML"]),
        ("", ["--encoder_sizes", "[1"], ["[1 is not valid YAML"]),
        ("evil: !!python/object/apply:os.getcwd []", [], ["not valid YAML"]),
    ],
)
def test_a_mistake_is_one_clear_error(tmp_path, text, flags, expected):
    with pytest.raises(ValueError) as error:
        read(tmp_path, BASE + text, *flags)
    for part in expected:
        assert part in str(error.value)


def test_a_key_that_must_be_given_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="decoder must be given: as --decoder or"):
        read(tmp_path, "use_cpu: true")


def test_without_a_field_for_them_part_keys_are_unknown(tmp_path):
    with pytest.raises(ValueError, match="unknown key encoder_hidden_size"):
        read(tmp_path, "encoder_hidden_size: 3", classes=(LatentTrainingArguments,))


def test_a_file_that_is_not_there_or_no_mapping(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.yaml: there is no such file"):
        parse((LatentTrainingArguments,), ["--config", "nowhere.yaml"], "Train.")
    with pytest.raises(ValueError, match="lines of `key: value`"):
        read(tmp_path, "- a\n- b\n")


def test_help_shows_our_keys_first_and_all_of_them_on_request(capsys):
    pages = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as stop:
            parse((ModelArguments, LatentTrainingArguments), ["--seed", "1", flag], "Train.", prog="hf-lvm train")
        assert stop.value.code == 0
        pages[flag] = capsys.readouterr().out
    short, full = pages["--help"], pages["--help-all"]
    assert short.startswith("usage: hf-lvm train [--config FILE.yaml]")
    keys = ["--latent_size", "--kl_schedule", "--word_dropout", "--max_grad_norm", "--learning_rate"]
    places = [short.index(f"  {key}\n") for key in keys]
    assert places == sorted(places)
    assert "(must be given)" in short and "(default: 16)" in short and "encoder_hidden_size: 192" in short
    assert "--help-all lists them" in short and "--adam_beta1" not in short
    assert "--adam_beta1" in full and "--help-all lists them" not in full
    assert max(map(len, short.splitlines())) < 240
