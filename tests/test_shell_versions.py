"""A file of another bcodec is refused by the name of the one that decodes it."""

from dataclasses import replace
from fractions import Fraction

import pytest

import bcodec
from bcodec.bitstream import ARITHMETIC_VERSION, FORMAT_VERSION, SequenceHeader, VideoFormat, versions
from bcodec.decoder import check_header
from bcodec.errors import CodecError
from bcodec.networks import Networks, load_networks


def test_the_last_row_is_this_release() -> None:
    name, has = [*versions.RELEASES.items()][-1]
    assert name == bcodec.__version__
    assert has == (FORMAT_VERSION, ARITHMETIC_VERSION, load_networks().model_id.hex())


def test_the_bcodec_that_decodes_it_is_named(
    tiny_networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, format, number = "aa" * 8, FORMAT_VERSION, ARITHMETIC_VERSION
    rows = {
        "7.0": (format - 1, number - 1, "01" * 8),
        "7.1": (format, number - 1, "02" * 8),
        "7.2": (format, number, "03" * 8),
        "7.3": (format, number, tiny_networks.model_id.hex()),
    }
    monkeypatch.setattr(versions, "RELEASES", rows)
    assert versions.decoder_of(format - 1) == "bcodec 7.0 decodes it"
    assert versions.decoder_of(format + 1) == "a bcodec newer than 7.3 decodes it"
    assert versions.decoder_of(0) == "no released bcodec up to 7.3 decodes it"
    video = VideoFormat(64, 48, Fraction(25), Fraction(1, 25))
    here = SequenceHeader(video, 8, number, tiny_networks.model_id)
    check_header(here, tiny_networks)
    for other, name in (
        (replace(here, arithmetic_version=number - 1, model_id=bytes.fromhex("02" * 8)), "; bcodec 7.1 dec"),
        (replace(here, model_id=bytes.fromhex("03" * 8)), "; bcodec 7.2 decodes it"),
        (replace(here, model_id=bytes.fromhex(new)), "; no released bcodec up to 7.3 decodes it"),
        (replace(here, arithmetic_version=number + 1), "; a bcodec newer than 7.3 decodes it"),
    ):
        with pytest.raises(CodecError, match=name):
            check_header(other, tiny_networks)
