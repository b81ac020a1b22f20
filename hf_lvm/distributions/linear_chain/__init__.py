"""Linear chains: distributions over sequences of states, hidden Markov models among them."""

from hf_lvm.distributions.linear_chain.linear_chain import BestPaths, LinearChainCRF

__all__ = ["BestPaths", "LinearChainCRF"]
