"""What the codes of colour in a .bcv file are called: those of ITU-T H.273, tables 2, 3 and 4."""

UNSPECIFIED = {2: "unspecified"}
PRIMARIES = UNSPECIFIED | {
    1: "BT.709",
    4: "BT.470 M",
    5: "BT.601 625",
    6: "BT.601 525",
    7: "SMPTE 240M",
    8: "film",
    9: "BT.2020",
    10: "XYZ",
    11: "DCI-P3",
    12: "Display P3",
    22: "EBU 3213",
}
TRANSFERS = UNSPECIFIED | {
    1: "BT.709",
    4: "gamma 2.2",
    5: "gamma 2.8",
    6: "BT.601",
    7: "SMPTE 240M",
    8: "linear",
    9: "log 100:1",
    10: "log 316:1",
    11: "xvYCC",
    12: "BT.1361",
    13: "sRGB",
    14: "BT.2020 10 bit",
    15: "BT.2020 12 bit",
    16: "PQ",
    17: "SMPTE 428",
    18: "HLG",
}
MATRICES = UNSPECIFIED | {
    0: "RGB",
    1: "BT.709",
    4: "FCC",
    5: "BT.601 625",
    6: "BT.601 525",
    7: "SMPTE 240M",
    8: "YCgCo",
    9: "BT.2020",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chromaticity-derived",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
}


def name(code: int, names: dict[int, str]) -> str:
    """What a code is called, or its number where H.273 gives it no meaning."""
    return names.get(code, f"reserved ({code})")
