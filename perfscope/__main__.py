"""`python -m perfscope` is `perfscope`."""

import sys

from perfscope.cli import main

sys.exit(main())
