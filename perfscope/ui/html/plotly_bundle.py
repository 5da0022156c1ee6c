"""plotly's script, compressed, for a page that works from a file: about 1.9 MB as text."""

import base64
import gzip
from functools import cache

import plotly.offline


def plotly_source() -> str:
    """Return the installed package's plotly.min.js."""
    source: str = plotly.offline.get_plotlyjs()
    return source


@cache
def plotly_script() -> str:
    """Return the installed package's plotly.min.js, gzipped and in base64.

    The page unpacks it with DecompressionStream.
    """
    return base64.b64encode(gzip.compress(plotly_source().encode(), 9, mtime=0)).decode()
