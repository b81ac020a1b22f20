"""The neural hidden Markov model: every word has a state, and each state follows the one before (Tran et al. 2016)."""

from hf_lvm.models.neural_hmm.configuration_neural_hmm import NeuralHMMConfig
from hf_lvm.models.neural_hmm.modeling_neural_hmm import NeuralHMMModel, NeuralHMMOutput

__all__ = ["NeuralHMMConfig", "NeuralHMMModel", "NeuralHMMOutput"]
