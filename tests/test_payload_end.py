"""A payload ends as early as it can: what is left out can be read as zeros."""

from contextlib import suppress

import constriction
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latents import CODER, FREQUENCIES

from bcodec.coding import TABLES
from bcodec.entropy.coder import fewest_bytes
from bcodec.entropy.tables import TOTAL, folded

RangeEncoder, RangeDecoder = constriction.stream.queue.RangeEncoder, constriction.stream.queue.RangeDecoder
Letters = npt.NDArray[np.int32]
Message = list[tuple[int, Letters]]  # tables, and the letters coded with each


def random_message(rng: np.random.Generator, longest: int) -> Message:
    """Letters as seldom as their tables have them."""
    message = []
    for _ in range(rng.integers(4)):
        table = int(rng.integers(1, TABLES))
        frequencies = folded(FREQUENCIES[table])
        count = int(rng.integers(1, longest))
        message.append((table, rng.choice(len(frequencies), count, p=frequencies / TOTAL).astype(np.int32)))
    return message


def message_around(word: int, table: int, count: int) -> Message:
    """Up to so many letters that a 32-bit word with zeros behind it decodes to: it lies in their interval."""
    decoder = RangeDecoder(np.array([word, *[0] * (2 + count)], np.uint32))
    letters = []
    with suppress(AssertionError):  # of the decoder, where the word lies in no letter's interval
        for _ in range(count):
            letters.append(decoder.decode(CODER.models[table]))
    return [(table, np.array(letters, np.int32))]


def encoded(message: Message) -> constriction.stream.queue.RangeEncoder:
    encoder = RangeEncoder()
    for table, letters in message:
        encoder.encode(letters, CODER.models[table])
    return encoder


def carries(encoder: constriction.stream.queue.RangeEncoder) -> bool:
    """Whether the number that the encoder takes has overflowed into the words before its last 64 bits."""
    written, (low, _) = encoder.pos()
    words = encoder.get_compressed()[written:].astype(">u4").tobytes()
    return int.from_bytes(words[:8].ljust(8, b"\0")) < int(low)


def decodes(payload: bytes, message: Message) -> bool:
    """Whether zeros behind the payload make it the message."""
    padded = payload + bytes(-len(payload) % 4 + 8 + 4 * sum(len(letters) for _, letters in message))
    decoder = RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
    with suppress(AssertionError):  # of the decoder, where no letter is there
        return all(
            np.array_equal(decoder.decode(CODER.models[table], len(letters)), letters)
            for table, letters in message
        )
    return False


def check(message: Message) -> None:
    """The payload is the message; none of its beginnings is that leaves out more than zeros.

    Zeros end it only where all of the last 64 bits are left out.
    """
    encoder = encoded(message)
    payload = fewest_bytes(encoder)
    assert decodes(payload, message)
    shorter = [payload[:size] for size in range(len(payload)) if any(payload[size:])]
    assert not any(decodes(beginning, message) for beginning in shorter)
    assert not payload.endswith(b"\0") or len(payload) == 4 * encoder.pos()[0]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2, 5, 12]))
def test_random_messages_end_as_early_as_they_can(seed: int, longest: int) -> None:
    check(random_message(np.random.default_rng(seed), longest))


def test_no_letters_take_no_bytes() -> None:
    assert fewest_bytes(RangeEncoder()) == b""


@pytest.mark.parametrize(
    ("word", "table", "count"), [(0x7922E4FF, 35, 14), (0x7922E4FF, 35, 37), (0xD66B58C1, 27, 21)]
)
def test_a_number_that_overflows_into_the_words_before_is_written_right(
    word: int, table: int, count: int
) -> None:
    """The interval begins less than 2^32 units of the coder's state below the word, and ends above it."""
    message = message_around(word, table, count)
    encoder = encoded(message)
    assert carries(encoder)
    assert fewest_bytes(encoder).rstrip(b"\0") == word.to_bytes(4)
    check(message)


def test_messages_around_a_word_end_as_early_as_they_can_with_and_without_an_overflow() -> None:
    overflown = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        word, table = int(rng.integers(1, 1 << 32)), int(rng.integers(20, 50))
        ((_, letters),) = message_around(word, table, 40)
        for count in range(1, len(letters) + 1):
            overflown += carries(encoded([(table, letters[:count])]))
            check([(table, letters[:count])])
    assert overflown >= 5
