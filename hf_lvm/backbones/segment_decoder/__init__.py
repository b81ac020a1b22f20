"""A decoder that writes what stands between the words it is given, gap by gap."""

from hf_lvm.backbones.segment_decoder.configuration_segment_decoder import SegmentDecoderConfig
from hf_lvm.backbones.segment_decoder.modeling_segment_decoder import SegmentDecoderModel

__all__ = ["SegmentDecoderConfig", "SegmentDecoderModel"]
