"""The code that runs inside the target: standard library only, Python 3.8 and newer.

`delivery/probe_bundle.py` sends these files as text, because the target cannot import perfscope.
So they never import each other: each gets the others in the dict MODULES. `core.run` calls
`install(probe)` of every part. A part changes functions of the program only through
`probe.patches`, which removes them again.
"""
