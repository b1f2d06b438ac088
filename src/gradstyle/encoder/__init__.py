"""The e4e encoder and the IR-SE units it is made of."""

from .e4e import Encoder, EncoderConfig, Taps

__all__ = ["Encoder", "EncoderConfig", "Taps"]
