"""Model cards: what a run's `README.md` says, made from its `results.json` and nothing else."""

from hf_lvm.cards.card import card_from_results
from hf_lvm.cards.pushed_card import pushed_card
from hf_lvm.cards.run_card import model_card, write_card
from hf_lvm.cards.usage import usage_code

__all__ = ["card_from_results", "model_card", "pushed_card", "usage_code", "write_card"]
