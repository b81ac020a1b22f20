import pytest
import torch

from hf_lvm.generation.prompts import groups_of_one_length, prompt_rows, stack_padded

CPU = torch.device("cpu")


def test_padding_goes_and_the_start_token_comes():
    prompt = torch.tensor([[0, 5, 6], [7, 0, 0], [1, 8, 0], [0, 0, 0]])
    mask = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert prompt_rows(prompt, mask, 1, 4, CPU) == [[1, 5, 6], [1, 7], [1, 8], [1]]


def test_without_prompt_or_mask():
    assert prompt_rows(None, None, 3, 2, CPU) == [[3], [3]]
    assert prompt_rows(torch.tensor([[0, 5]]), None, 1, 1, CPU) == [[1, 0, 5]]


def test_a_start_token_that_is_the_padding_token_is_not_lost():
    """T5 starts with its padding token: masked away, it comes back; in the prompt, it is not doubled."""
    prompt = torch.tensor([[0, 5, 6], [0, 0, 7]])
    assert prompt_rows(prompt, torch.tensor([[1, 1, 1], [0, 0, 1]]), 0, 2, CPU) == [[0, 5, 6], [0, 7]]


def test_groups_of_one_length_cover_all_rows_once():
    rows = [[1, 2], [1], [1, 3], [1, 2, 3], [1]]
    assert list(groups_of_one_length(rows)) == [[1, 4], [0, 2], [3]]


def test_rows_are_stacked_with_padding_on_the_right():
    assert stack_padded([torch.tensor([1, 2, 3]), torch.tensor([4])], 9).tolist() == [[1, 2, 3], [4, 9, 9]]


def test_refusals():
    prompt = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="Got 2 prompts for 3 latents"):
        prompt_rows(prompt, None, 1, 3, CPU)
    with pytest.raises(ValueError, match=r"\(2, 2\) and decoder_input_ids \(2, 3\) differ in shape"):
        prompt_rows(prompt, prompt[:, :2], 1, 2, CPU)
