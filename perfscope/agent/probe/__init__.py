"""What runs inside the target: standard library only, sent over as text by
`delivery/probe_bundle.py`, gone again when it leaves.

The modules here never import each other: inside the target there is no `perfscope`. `core.run` is
given the others and hands each the one `Probe`. What they patch they patch through its `patches`,
which know the way back.
"""
