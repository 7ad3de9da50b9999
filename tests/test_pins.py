"""Files that exist decode to the pictures that they were, and this encoder writes the bytes that it wrote."""

import hashlib

import pins
import pytest

from bcodec.bitstream import ARITHMETIC_VERSION, AuxiliaryPacket, BitstreamReader
from bcodec.encoder.effort import PRESETS
from bcodec.networks import Networks, load_networks

DECODER = (
    "a file that exists decodes to other pictures: undo it, or count a new ARITHMETIC_VERSION, say in"
    " bcodec/bitstream/versions.py what it changes, and run python tests/pins.py --write"
)
ENCODER = (
    "this encoder writes other bytes, which decode: if the change is meant, measure what it is worth and run"
    " python tests/pins.py --write"
)


@pytest.fixture(scope="module")
def networks() -> Networks:
    return load_networks()


def test_the_pinned_file_is_of_this_arithmetic_and_model(networks: Networks) -> None:
    assert pins.pinned()["arithmetic_version"] == ARITHMETIC_VERSION, DECODER
    assert pins.pinned()["model"] == networks.model_id.hex(), "new weights: run python tests/pins.py --write"


def test_the_pinned_file_decodes_to_the_pictures_that_it_was(networks: Networks) -> None:
    try:
        pictures = pins.pictures_of(pins.FILE.read_bytes(), networks)
    except Exception as error:
        pytest.fail(f"{DECODER} ({error})")
    assert pictures == pins.pinned()["pictures"], DECODER


def test_the_constants_of_the_decoder_are_those_that_are_pinned() -> None:
    """Some decide a bit only of pictures that no small file has: where something saturates, say."""
    assert pins.constants() == pins.pinned()["constants"], f"{DECODER} (if it decides no bit: --write)"


def test_the_pinned_file_has_what_lies_beside_the_pictures() -> None:
    with pins.FILE.open("rb") as file:
        beside = [packet for packet in BitstreamReader(file) if isinstance(packet, AuxiliaryPacket)]
    assert beside == [pins.SOUND]


def test_the_pinned_file_is_written_again_byte_for_byte(networks: Networks) -> None:
    assert hashlib.md5(pins.make_file(networks)).hexdigest() == pins.pinned()["encodes"]["file"], ENCODER


@pytest.mark.parametrize("preset", PRESETS)
def test_a_clip_is_encoded_to_the_same_bytes(preset: str, networks: Networks) -> None:
    assert pins.encode_md5(preset, networks) == pins.pinned()["encodes"][preset], ENCODER
