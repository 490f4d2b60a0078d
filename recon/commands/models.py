"""The networks, what they need, what they give and their licences."""

from __future__ import annotations

import argparse

from recon.commands.output import say

FACTS = ("needs_cameras", "gives_gaussians", "metric", "commercial")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from recon.models import list_models

    table = list_models()
    lines = []
    for model in table:
        facts = ", ".join(f"{fact.replace('_', ' ')}: {'yes' if model[fact] else 'no'}" for fact in FACTS)
        lines += [f"{model['name']} ({model['family']}): {model['summary']}", f"  {facts}", f"  licence: {model['licence']}"]
    say(args, {"models": table}, lines)
    return 0
