"""An LSTM that reads a sentence."""

from hf_lvm.backbones.lstm_encoder.configuration_lstm_encoder import LSTMEncoderConfig
from hf_lvm.backbones.lstm_encoder.modeling_lstm_encoder import LSTMEncoderModel

__all__ = ["LSTMEncoderConfig", "LSTMEncoderModel"]
