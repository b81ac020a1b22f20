"""The neural topic model: a document has a few of K topics, a topic is a distribution over words (Miao et al. 2016)."""

from hf_lvm.models.neural_topic.configuration_neural_topic import NeuralTopicConfig
from hf_lvm.models.neural_topic.modeling_neural_topic import NeuralTopicModel, NeuralTopicOutput

__all__ = ["NeuralTopicConfig", "NeuralTopicModel", "NeuralTopicOutput"]
