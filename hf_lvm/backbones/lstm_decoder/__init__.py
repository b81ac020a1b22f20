"""An LSTM that writes a sentence."""

from hf_lvm.backbones.lstm_decoder.configuration_lstm_decoder import LSTMDecoderConfig
from hf_lvm.backbones.lstm_decoder.modeling_lstm_decoder import LSTMDecoderModel

__all__ = ["LSTMDecoderConfig", "LSTMDecoderModel"]
