"""Objects to talk about, games of them, and their batches."""

import json

import numpy as np
import pytest
import torch

from hf_lvm.data import (
    GameCollator,
    attribute_objects,
    draw_games,
    games_in_batch,
    load_feature_objects,
    split_objects,
    symbol_messages,
)

OBJECTS = torch.cartesian_prod(torch.arange(2), torch.arange(3))


def rows_of(objects: torch.Tensor) -> set[tuple]:
    return {tuple(row) for row in objects.tolist()}


# ---- objects ------------------------------------------------------------------------------------------------------------


def test_held_out_combinations_are_new_and_their_values_are_not():
    splits = attribute_objects([8, 8, 8, 8], seed=1)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [3276, 410, 410]
    rows = [rows_of(each) for each in splits.values()]
    assert len(set.union(*rows)) == 4096 and not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])
    assert all(len(splits["train"][:, attribute].unique()) == 8 for attribute in range(4))
    assert torch.equal(attribute_objects([8, 8, 8, 8], seed=1)["test"], splits["test"])
    assert not torch.equal(attribute_objects([8, 8, 8, 8], seed=2)["test"], splits["test"])


@pytest.mark.parametrize("seed", range(5))
def test_every_value_is_seen_in_training_where_that_is_tight(seed):
    splits = attribute_objects([5, 5], validation_fraction=0.3, test_fraction=0.3, seed=seed)
    assert [len(each) for each in splits.values()] == [9, 8, 8]
    assert all(len(splits["train"][:, attribute].unique()) == 5 for attribute in range(2))


def test_what_attributes_refuse():
    for sizes in ([], [1], [0, 3], [101, 101, 101]):
        with pytest.raises(ValueError, match="give the number of values of each attribute"):
            attribute_objects(sizes)
    with pytest.raises(ValueError, match="would leave values out of the training set"):
        attribute_objects([3, 3], validation_fraction=0.4, test_fraction=0.4)
    with pytest.raises(ValueError, match="their sum below 1"):
        attribute_objects([3, 3], validation_fraction=0.5, test_fraction=0.5)


def test_features_of_files(tmp_path):
    rows = np.arange(6, dtype=np.float64).reshape(3, 2)
    np.save(tmp_path / "a.npy", rows)
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows.tolist())) + "\n\n")
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps({"features": row, "name": "x"}) for row in rows.tolist()))
    loaded = [load_feature_objects(tmp_path / name) for name in ("a.npy", "b.jsonl", "c.jsonl")]
    assert all(torch.equal(each, torch.tensor(rows, dtype=torch.float32)) for each in loaded)
    (tmp_path / "d.jsonl").write_text("[1, 2]\n[3]\n")
    np.save(tmp_path / "e.npy", np.array([[1.0, float("inf")]]))
    for name, said in (("d.jsonl", "have 1 to 2 features"), ("e.npy", "finite numbers"), ("f.npy", "there is no file")):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            load_feature_objects(tmp_path / name)
    (tmp_path / "broken.npy").write_bytes(b"abc")
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    for name, said in (("broken.npy", "is no array of numbers"), ("words.npy", "these are <U1 of shape")):
        with pytest.raises(ValueError, match=said):
            load_feature_objects(tmp_path / name)
    for line in ('{"x": [1]}', "[1, 2", "3", '["a"]', '{"features": null}'):
        (tmp_path / "h.jsonl").write_text(f"[1, 2]\n{line}\n")
        with pytest.raises(ValueError, match="h.jsonl, line 2 is no vector"):
            load_feature_objects(tmp_path / "h.jsonl")
    (tmp_path / "g.txt").write_text("1 2")
    with pytest.raises(ValueError, match="read from .npy or .jsonl"):
        load_feature_objects(tmp_path / "g.txt")


def test_features_are_split_without_sharing_any():
    objects = torch.randn(50, 3)
    splits = split_objects(torch.cat([objects, objects[:20]]), validation_fraction=0.2, test_fraction=0.1)
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [35, 10, 5]
    assert sum(map(len, map(rows_of, splits.values()))) == 50


# ---- games --------------------------------------------------------------------------------------------------------------


def test_games_that_are_drawn():
    games = draw_games(OBJECTS, 3, seed=4)
    assert len(games) == 6
    for target, game in enumerate(games):
        assert game["candidates"][game["labels"]] == target and len(set(game["candidates"])) == 4
    assert len(set(games["labels"])) > 1, "the target may stand anywhere"
    assert draw_games(OBJECTS, 3, seed=4)[:] == games[:] and draw_games(OBJECTS, 3, seed=5)[:] != games[:]
    assert draw_games(OBJECTS, 3, seed=4, targets=[5])[0] == games[5]
    held_out = draw_games(OBJECTS, 2, among=[1, 3, 4])
    assert [game["candidates"][game["labels"]] for game in held_out] == [1, 3, 4]
    assert all(sorted(game["candidates"]) == [1, 3, 4] for game in held_out)
    with pytest.raises(ValueError, match="there are 3 objects that differ"):
        draw_games(OBJECTS, 3, among=[1, 3, 4])


def test_distractors_differ_from_the_target_and_from_each_other():
    repeated = torch.cat([OBJECTS, OBJECTS])
    for objects in (repeated, repeated.tolist()):
        for target, game in enumerate(draw_games(objects, 5)):
            assert len(rows_of(repeated[torch.tensor(game["candidates"])])) == 6
            assert game["candidates"][game["labels"]] == target
        with pytest.raises(ValueError, match="num_distractors is 6, and there are 6 objects that differ"):
            draw_games(objects, 6)
    with pytest.raises(ValueError, match="set it from 1 to 5"):
        draw_games(OBJECTS, 0)


def test_batches_have_each_object_once():
    games = draw_games(OBJECTS, 2, targets=[5, 0])
    batch = GameCollator(OBJECTS)([games[0], games[1]])
    assert next(iter(batch)) == "labels", "whose first size is the number of games"
    assert len(rows_of(batch["objects"])) == len(batch["objects"])
    for row, target in enumerate((5, 0)):
        assert torch.equal(batch["objects"][batch["candidates"][row]], OBJECTS[torch.tensor(games[row]["candidates"])])
        assert torch.equal(batch["objects"][batch["candidates"][row, batch["labels"][row]]], OBJECTS[target])
    uneven = GameCollator(OBJECTS)([games[0], {"candidates": [1, 2], "labels": 1}])
    assert uneven["candidates"][1].tolist()[2] == -1


def test_batches_of_objects_alone_and_of_texts():
    games = games_in_batch(range(6))
    batch = GameCollator(OBJECTS)([games[3], games[1]])
    assert torch.equal(batch["objects"], OBJECTS[[3, 1]]) and batch["labels"].tolist() == [0, 1]
    assert "candidates" not in batch
    texts = [[5, 6], [7], [8, 9, 10]]
    batch = GameCollator(texts, pad_token_id=1)([{"objects": 1}, {"objects": 2}])
    assert batch["objects"].tolist() == [[7, 1, 1], [8, 9, 10]]
    assert batch["object_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]


# ---- texts as messages --------------------------------------------------------------------------------------------------


def test_words_become_symbols():
    texts = ["The cat sat", "the dog", "A cat", "bird"]
    found = symbol_messages(texts, 3, 2)
    # "cat" and "the" come twice; of the others the first by name.
    assert found.names == ["cat", "the", "a"]
    assert found.rows == [[1, 0], [1], [2, 0]] and found.left_out == 1
    assert found.covered == pytest.approx(5 / 8)
    assert symbol_messages(texts, 3, 2, min_length=2).rows == [[1, 0], [2, 0]]
    with pytest.raises(ValueError, match="have 6 different words, and num_symbols is 7"):
        symbol_messages(texts, 7, 2)
    with pytest.raises(ValueError, match="None of the 4 texts has 4 symbols"):
        symbol_messages(texts, 3, 5, min_length=4)


def test_numbers_are_symbols_already():
    found = symbol_messages(["0 2 2 1", "1"], 3, 3)
    assert found.rows == [[0, 2, 2], [1]] and found.names == ["0", "1", "2"] and found.covered == 1.0
