"""What peers did, as a table for people."""

_HEAD = ("peer", "records/s", "ratio", "CPU us", "CPU ratio", "records", "how, and what its commits are worth")


def table(peers: object) -> str:
    """Return the rows of a ``peers`` object, the fastest first, or nothing."""
    if not isinstance(peers, dict) or not peers:
        return ""
    rows = [_HEAD]
    for name, told in sorted(peers.items(), key=lambda item: -item[1].get("per_s", -1)):
        label = f"{name} {told['version']}".rstrip()
        if "not_measured" in told:
            rows.append((label, "-", "-", "-", "-", "-", f"not measured: {told['not_measured']}"))
        else:
            text = f"{told['how']}; {told['guarantee']}"
            rate, ratio, records = f"{told['per_s']:,}", f"{told['ratio']:.4f}", f"{told['records']:,}"
            rows.append((label, rate, ratio, f"{told['cpu_us']:.2f}", f"{told['cpu_ratio']:.1f}", records, text))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    return "".join(_line(row, widths) for row in rows)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    first, *figures, text = row
    cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True))]
    return "  ".join([*cells, text]) + "\n"
