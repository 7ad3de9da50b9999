"""The two versions that a .bcv file names, and what each of them changed.

The format version says how the file is laid out; the arithmetic version says how its payloads become
pictures, given the weights that it names, too. A file of other versions is refused, by the name of the bcodec
that decodes it: RELEASES gains a row with each release, and the last row is this one.

| format | changed |
|--------|---------|
| 1      | the first |
| 2      | five bytes less a packet: varints, half a checksum |
| 3      | the offset of chroma's qp in the flags of a frame packet |
| 4      | the time of each picture |
| 5      | chroma's qp may be below luma's |
| 6      | two bytes less a packet: half a hash of the picture |

| arithmetic | changed |
|------------|---------|
| 1          | the first: block transform with networks beside it, dual-branch motion, temporal contexts |
| 2          | vectors are coded in segments from coarse to fine, and a flag rounds them to whole samples |
| 3          | block sizes; four steps of spatial prior; shifts of the picture; fitted frequency tables |
| 4          | deblocking; the synthesis sees the picture and the qp |
| 5          | vectors on a grid of quarter samples in fixed steps; preference by 8x8; HEVC's taps |
| 6          | a flag for blocks that are predicted by their mean |
| 7          | latents reach twice as far; later, with other weights: the loop filter, farther in two steps |
| 8          | finer weights, latents, features of the synthesis, predictions and decoded residuals |
| 9          | payloads without bytes that say nothing; later, with other weights: OBMC, chroma's own qp |
| 10         | the precision of vectors is coded for each frame |
| 11         | ten bits inside: references have quarters of a level; most layers in bytes; lean segments |
| 12         | no deblocking of B frames |
| 13         | magnitudes before signs, some of which they tell |
| 14         | I frames in four turns, expected by the samples around blocks; hyper-latents by what is known |
| 15         | I frames are expected along the edges around their blocks, too |
"""

FORMAT_VERSION = 6
ARITHMETIC_VERSION = 15

# bcodec -> format version, arithmetic version, model id of its weights
RELEASES = {"0.1.0": (6, 15, "7e9a67b45c99064b")}


def decoder_of(format_version: int, arithmetic_version: int | None = None, model: str | None = None) -> str:
    """Say in words which bcodec decodes files of these versions and of weights of this id (None: any)."""
    wanted = (format_version, arithmetic_version, model)
    for name, has in reversed(RELEASES.items()):
        if all(want in (None, there) for want, there in zip(wanted, has, strict=True)):
            return f"bcodec {name} decodes it"
    newest = [*RELEASES][-1]
    if format_version > FORMAT_VERSION or (arithmetic_version or 0) > ARITHMETIC_VERSION:
        return f"a bcodec newer than {newest} decodes it"
    return f"no released bcodec up to {newest} decodes it"
