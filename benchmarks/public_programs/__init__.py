"""Training programs of other people, started unmodified and without a network, and two questions.

`python -m benchmarks.public_programs.reach` asks which instrumentation level a first attach
reaches, `python -m benchmarks.public_programs.agreement` whether the answer is true.
"""
