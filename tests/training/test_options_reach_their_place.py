"""Every option of a recipe is set by a recipe or a test; the rarer ones do what their help says."""

import dataclasses
import importlib
import json
import re
from pathlib import Path

import pytest
import torch

from hf_lvm import ReferentialGameConfig, ReferentialGameModel
from hf_lvm.analysis.game_report import play_games
from hf_lvm.training.building import load_run_texts
from hf_lvm.training.config_file import parse
from hf_lvm.training.objective_arguments import ObjectiveArguments
from hf_lvm.training.referential_game import ARGUMENTS
from hf_lvm.training.referential_game_building import build_game, objects_of_run
from hf_lvm.training.run_arguments import DataArguments
from hf_lvm.training.task_and_talk import split_of
from hf_lvm.training.task_and_talk_arguments import WorldArguments
from tests.models.latent_summarizer.tiny_summarizers import tiny_summarizer
from tests.tiny_parts import batch_of, perturb, random_rows, row_generators, tiny_vae

ROOT = Path(__file__).parents[2]


def own_options() -> dict[str, str]:
    """Option -> the class that has it, of all arguments of the recipes that are not those of transformers."""
    found = {}
    for path in sorted((ROOT / "hf_lvm" / "training").glob("*arguments.py")):
        module = importlib.import_module(f"hf_lvm.training.{path.stem}")
        for name, kind in vars(module).items():
            if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__:
                own = set(vars(kind).get("__annotations__", ()))
                found |= {field.name: name for field in dataclasses.fields(kind) if field.name in own}
    return found


def test_no_option_that_neither_a_recipe_nor_a_test_uses():
    places = [
        *(ROOT / "recipes").rglob("*.yaml"), *(ROOT / "recipes").rglob("*.md"), *(ROOT / "hf_lvm").rglob("*.yaml"),
        *(ROOT / "tests").rglob("*.py"),
    ]  # fmt: skip
    used = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in places)))
    options = own_options()
    assert len(options) > 200
    assert not {f"{kind}.{name}" for name, kind in options.items() if name not in used}


def test_another_split_seed_holds_out_other_objects():
    splits = [split_of(WorldArguments(num_test=13, split_seed=seed)) for seed in (0, 0, 1)]
    assert splits[0].test.equal(splits[1].test) and not splits[0].test.equal(splits[2].test)
    assert all(len(split.test) == 13 for split in splits)


def test_a_stronger_proportional_gain_moves_the_weight_further():
    weights = []
    for gain in (0.01, 0.1):
        controller = ObjectiveArguments(
            kl_target=2.0, kl_proportional_gain=gain, kl_integral_gain=1e-6, kl_start=0.0
        ).kl_controller()
        controller.update(10.0)
        weights.append(controller.weight)
    assert weights[0] < weights[1]


def test_the_temperature_has_fallen_after_temperature_steps():
    arguments = ObjectiveArguments(temperature_schedule="linear", temperature_end=0.5, temperature_steps=10)
    assert [arguments.temperature_at(step, 1000, 1.0) for step in (0, 5, 10, 500)] == pytest.approx([1.0, 0.75, 0.5, 0.5])
    share = ObjectiveArguments(temperature_schedule="linear", temperature_end=0.5, temperature_steps=0.5)
    assert share.temperature_at(250, 1000, 1.0) == pytest.approx(0.75)


@pytest.mark.parametrize(("posterior", "option"), [("delete", "pair_hidden_size"), ("pointer", "pointer_hidden_size")])
def test_sizes_of_the_compressor(posterior, option):
    options = {"posterior_type": posterior} | ({"estimator": "rloo", "decoder": "gpt2"} if posterior == "pointer" else {})
    counts = [tiny_summarizer(**options, **{option: size}).num_parameters() for size in (4, 12)]
    assert counts[0] < counts[1]
    with torch.no_grad():
        widths = {
            size for name, weight in tiny_summarizer(**options, **{option: 13}).named_parameters() for size in weight.shape
        }
    assert any(size % 13 == 0 for size in widths)


def test_layers_and_pooling_of_objects():
    sizes = {"attribute_sizes": [3, 3], "num_symbols": 3, "max_length": 2, "object_size": 8}
    models = [ReferentialGameModel(ReferentialGameConfig(object_layers=layers, **sizes)) for layers in (1, 3)]
    linear = [sum(isinstance(part, torch.nn.Linear) for part in model.sender_objects.layers) for model in models]
    assert linear == [1, 3]
    with pytest.raises(ValueError, match="'middle'"):
        ReferentialGameConfig(object_pooling="middle", **sizes)


def test_files_of_one_configuration_are_chosen_by_dataset_config(tmp_path):
    for name in ("short", "long"):
        for split in ("train", "valid", "test"):
            rows = [json.dumps({"text": f"a {name} {split} text {number}"}) for number in range(3)]
            (tmp_path / f"{name}.{split}.jsonl").write_text("\n".join(rows))
    texts = load_run_texts(DataArguments(data_dir=str(tmp_path), dataset_config="long"))
    assert {split: rows["text"][0] for split, rows in texts.items()} == {
        "train": "a long train text 0", "validation": "a long valid text 0", "test": "a long test text 0",
    }  # fmt: skip


def test_momentum_and_clipping_of_the_refinement():
    """Steps that are clipped to nothing leave q(z|x) as the encoder gave it; momentum changes where they lead."""
    batch = batch_of(random_rows(3, seed=9))

    def divergence(**options) -> torch.Tensor:
        model = perturb(tiny_vae(semi_amortized_learning_rate=0.1, injection="embedding", **options), 0.3)
        with torch.no_grad():
            output = model(**batch, generator=row_generators(3))
        return output.kl

    plain, clipped = divergence(semi_amortized_steps=0), divergence(semi_amortized_steps=3, semi_amortized_max_grad_norm=1e-9)
    assert torch.allclose(plain, clipped, atol=1e-5)
    heavy, light = (divergence(semi_amortized_steps=3, semi_amortized_momentum=value) for value in (0.9, 0.0))
    assert not torch.allclose(heavy, light, atol=1e-4) and not torch.allclose(plain, light, atol=1e-4)


def test_another_object_seed_holds_out_other_objects_and_draws_other_games():
    """`object_seed` splits the objects and draws the distractors of held-out games."""
    runs = []
    for seed in ("0", "0", "1"):
        flags = ["--attribute_sizes", "3", "4", "5", "--object_seed", seed, "--output_dir", "unused", "--use_cpu"]
        model_arguments, data, games, *_ = parse(ARGUMENTS, flags, "")
        objects = objects_of_run(model_arguments, data, games)
        runs.append((objects.of_split("test"), objects.games(4, games.object_seed)["test"][:]))
    assert runs[0][0].equal(runs[1][0]) and runs[0][1] == runs[1][1]
    assert not runs[0][0].equal(runs[2][0]) and runs[0][1] != runs[2][1]


def test_no_message_is_shorter_than_min_message_length():
    flags = ["--attribute_sizes", "3", "4", "5", "--min_message_length", "2", "--max_message_length", "3",
             "--num_symbols", "4", "--sender_hidden_size", "8", "--receiver_hidden_size", "8", "--object_size", "8",
             "--output_dir", "unused", "--use_cpu"]  # fmt: skip
    model_arguments, data, games, *_ = parse(ARGUMENTS, flags, "")
    objects = objects_of_run(model_arguments, data, games)
    model = build_game(model_arguments, games, objects)
    played = play_games(model, objects.games(3, 0)["test"], objects.collator(), 8, show_progress=False)
    assert model.config.min_length == 2 and set(played.lengths.tolist()) <= {2, 3}
