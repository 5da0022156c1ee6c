"""The query of an address."""

from urllib.parse import parse_qs


def query_of(search: str | None) -> dict[str, str]:
    """Return the parameters of a query; of several with one name, the last."""
    parameters = parse_qs((search or "").lstrip("?"))
    return {name: values[-1] for name, values in parameters.items()}
