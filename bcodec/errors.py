"""Every error that bcodec raises on purpose: the message is one clear line for the user."""


class BcodecError(Exception):
    """What went wrong, in one line; all other errors here are kinds of it."""


class UsageError(BcodecError):
    """What was asked for contradicts itself, or cannot be done."""


class GoalMissed(BcodecError):
    """There is no encode that is as small as it should be."""


# ---------------------------------------------------------------- the container


class BitstreamError(BcodecError, ValueError):
    """The bitstream cannot be read or written as asked."""


class NotBcv(BitstreamError):
    """The file does not begin as a .bcv file does."""


class UnsupportedVersion(BitstreamError):
    """The file is of a format version that this reader does not know."""


class Truncated(BitstreamError):
    """The file ends before its trailer does."""


class Corrupt(BitstreamError):
    """The file holds something that no writer wrote."""


# ---------------------------------------------------------------- the codec


class CodecError(BcodecError):
    """Packets that cannot be decoded, or a device that cannot be used."""


class ProcessKilled(BcodecError):
    """One of several processes that work together died before its work was done."""


class ClusterError(BcodecError):
    """A scheduler of other machines that cannot be used, or is gone."""


class EntropyError(BcodecError, ValueError):
    """A payload that is not what a range coder wrote."""


class MissingReference(BcodecError, ValueError):
    """The frame that a B frame refers to was never decoded."""


class MissingPicture(BcodecError, ValueError):
    """The next picture to show never came, came twice or came too late."""


# ---------------------------------------------------------------- weights and devices


class WeightsError(BcodecError):
    """Weights that are missing, damaged or not exact."""


class InexactWeights(BcodecError, ValueError):
    """Weights whose sums could leave the range in which they are exact."""


class InexactDevice(BcodecError, RuntimeError):
    """A device whose convolutions are not exact, in float32 or in float64."""


# ---------------------------------------------------------------- files


class Unreadable(BcodecError):
    """A .bcv file that cannot be read, or not to its end; the message names it."""


class VideoError(BcodecError):
    """A file that cannot be read or written as a video; the message names it."""


class DamagedInput(VideoError):
    """Parts of a video could not be read; all the rest has been encoded, and the message says where it is."""
