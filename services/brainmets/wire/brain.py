"""Where the brain is, from preprocessing to a worker."""

from brainmets.imaging.brain_mask import BrainMask
from brainmets.internal.v1 import preprocessing_service_pb2 as messages


def brain_mask_to_proto(brain: BrainMask) -> messages.BrainMask:
    """Write where the brain is."""
    return messages.BrainMask(step=brain.step, bits=brain.bits)


def brain_mask_from_proto(message: messages.BrainMask) -> BrainMask:
    """Read where the brain is; a message that was never set says that nothing is known."""
    return BrainMask(message.step, message.bits)
