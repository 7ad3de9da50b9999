"""`python -m bcodec.networks` prints what the networks take, part by part, against the budget."""

from collections.abc import Iterator

from bcodec.encoder.analyst import Analyst
from bcodec.networks import Networks
from bcodec.networks.budget import Usage, measure


def table(usage: Usage) -> Iterator[str]:
    """The lines: one a part, the sums, and what is used of each budget."""
    head = f"{'kMAC per luma pixel':<20}{'parameters':>12}"
    yield head + "".join(f"{way:>10}" for way in ("I encode", "I decode", "B encode", "B decode"))
    counts = (usage.encode_i, usage.decode_i, usage.encode_b, usage.decode_b)
    for part, parameters in usage.parameters.items():
        yield f"{part:<20}{parameters:>12,}" + "".join(f"{count.get(part, 0.0):>10.2f}" for count in counts)
    sums = "".join(f"{sum(count.values()):>10.2f}" for count in counts)
    yield f"{'all':<20}{sum(usage.parameters.values()):>12,}{sums}"
    yield ""
    for name, (used, allowed) in usage.limits().items():
        yield f"{name:<26}{used:>8.2f} of {allowed:>3.0f}  {'ok' if used <= allowed else 'TOO MUCH'}"


if __name__ == "__main__":
    print("\n".join(table(measure(Networks(), Analyst))))
