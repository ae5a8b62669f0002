"""Evaluations, one per subcommand: python -m scripts.evaluate NAME --help.

Each lives in scripts/evaluation/NAME.py with `main(options)`; a new one is a new line in COMMANDS. Modules are imported
only for the command that is asked for.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = {
    "cross": "train on CMU-MOSI alone, try it on acted voices, faces and television",
    "damage": "what damage does to held-out clips, their gates and intervals",
    "expression": "the expression network on pictures that it has not seen, clean and damaged",
    "fusion": "compare fusion methods on one vector per modality, clean and damaged",
    "live": "stream labelled clips through the live pipeline and score them",
    "lost": "what is published of clips whose words can't be had",
    "people": "two clips in one picture: whose id is whose, and who speaks",
    "temporal": "kinds of sequence encoders, shuffled and reversed steps, and the first part of a clip",
    "wordless": "what the shipped weights say of acted clips by the face alone and by the voice alone",
    "voice": "what the recogniser's encoder hears of valence and arousal, beside the live voice columns",
}


def main(argv: list[str] | None = None) -> None:
    """Run a subcommand; its options are its own."""
    listing = "\n".join(f"  {name:10s} {text}" for name, text in COMMANDS.items())
    cli = argparse.ArgumentParser(
        prog="evaluate.py",
        description=f"Evaluations:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    cli.add_argument("name", choices=sorted(COMMANDS), help="NAME --help shows its options")
    args, options = cli.parse_known_args(argv)
    importlib.import_module(f"scripts.evaluation.{args.name}").main(options)


if __name__ == "__main__":
    main()
