"""plotly's own script, compressed, for a page that must work from a file: about 1.9 MB as text."""

import base64
import gzip
from functools import cache

import plotly.offline


@cache
def plotly_script() -> str:
    """The installed package's plotly.min.js, gzipped and base64; the page unpacks it with DecompressionStream."""
    return base64.b64encode(gzip.compress(plotly.offline.get_plotlyjs().encode(), 9, mtime=0)).decode()
