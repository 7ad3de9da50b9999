"""The two versions that a .bcv file names, and what each of them changed.

The format version says how the file is laid out; the arithmetic version says how its payloads become
pictures, given the weights that it names, too. A file of other versions is refused.

| format | changed |
|--------|---------|
| 1      | the first |
| 2      | five bytes less a packet: varints, half a checksum |
| 3      | the offset of chroma's qp in the flags of a frame packet |
| 4      | the time of each picture |

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
"""

FORMAT_VERSION = 4
ARITHMETIC_VERSION = 10
