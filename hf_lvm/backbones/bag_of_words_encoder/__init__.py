"""An encoder that counts words and does not see their order."""

from hf_lvm.backbones.bag_of_words_encoder.configuration_bag_of_words_encoder import BagOfWordsEncoderConfig
from hf_lvm.backbones.bag_of_words_encoder.modeling_bag_of_words_encoder import BagOfWordsEncoderModel

__all__ = ["BagOfWordsEncoderConfig", "BagOfWordsEncoderModel"]
