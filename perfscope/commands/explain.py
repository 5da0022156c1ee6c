"""Explain a finding: what it means, how it is detected, what to do, when it is wrong."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", help="the finding's id, such as input-bound; none lists them all")


def run(args: argparse.Namespace) -> int:
    from perfscope.analyzer.explain import explain, ids

    print(explain(args.id) if args.id else "\n".join(ids()))
    return 0
