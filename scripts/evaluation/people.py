"""`evaluate.py people`: two talking clips in one picture, played through the program: are they told apart, who speaks?

Pairs of CMU-MOSI's clips of different speakers. Crossing: each pair changes places slowly, one hidden behind the other
on the way; counted is who has another id afterwards. Speaking: side by side with the sound of one of them; counted are
windows with a voice in which the likelier of the two is the one who is heard. Both talk all the time, so lips that move
are not enough. All from the published messages. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from realtime.clock import VirtualClock
from realtime.config.load import load
from realtime.publish.messages import Sentiment
from realtime.publish.outlet import Outlet
from realtime.session.models import SharedModels
from realtime.session.replay import OfflineRun
from scripts.harness.side_by_side import SideBySide
from scripts.training import corpora

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime.config.schema import Config

CROSSING_S = 9.0
VOICE = 0.5
"""Sum of the probabilities from which a voice counts as somebody's who is seen."""


def play(config: Config, parts: SharedModels, clock: VirtualClock, film: SideBySide) -> list[Sentiment]:
    """Return what is published of a film."""
    sent: list[Sentiment] = []
    outlet = Outlet()
    outlet.subscribe(sent.append, Sentiment)
    OfflineRun(config, parts, clock, outlet, film).run(threading.Event())
    return sent


def crossing(sent: Sequence[Sentiment], film: SideBySide) -> dict[str, int]:
    """Count ids that had two owners, and ids that were given to two people."""
    owners: dict[int, set[int]] = {}
    for message in sent:
        share = (message.window.end_s - 1.0) / max(0.1, film.seconds - 2.0)
        if 0.3 < share < 0.7:
            continue  # one is in front of the other, and a box may be either's
        for person in message.people or ():
            centre = (person.box[0] + person.box[2]) / 2
            owners.setdefault(person.id, set()).add(film.owner(centre, message.window.end_s))
    return {"swapped": int(any(len(whose) > 1 for whose in owners.values())), "ids": len(owners)}


def speaking(sent: Sequence[Sentiment], film: SideBySide, heard: int, after_s: float) -> Counter[str]:
    """Count windows with a voice and two faces, and those in which the right one is the likelier, surely or not."""
    counts: Counter[str] = Counter()
    for message in sent:
        people = message.people or ()
        if len(people) != 2 or message.window.end_s < after_s or any(p.speaking is None for p in people):
            continue
        if sum(person.speaking or 0.0 for person in people) < VOICE:
            continue
        best = max(people, key=lambda person: person.speaking or 0.0)
        right = film.owner((best.box[0] + best.box[2]) / 2, message.window.end_s) == heard
        counts["windows"] += 1
        counts["right"] += right
        if (best.speaking or 0.0) >= 0.8:
            counts["sure"] += 1
            counts["sure_right"] += right
    return counts


def main(options: Sequence[str]) -> None:
    """Play the pairs, count, print."""
    cli = argparse.ArgumentParser(prog="evaluate.py people", description=__doc__)
    cli.add_argument("--data", type=Path, default=Path(os.environ.get("AGFN_DATA", "../shared/data")))
    cli.add_argument("--pairs", type=int, default=24)
    cli.add_argument("--after", type=float, default=2.0, help="seconds before who speaks is judged")
    args = cli.parse_args(options)
    torch.set_num_threads(1)
    config = load(sets=["asr.enabled=false", "face.people=true"])[0]
    clock = VirtualClock()
    parts = SharedModels(config, clock)
    by_speaker: dict[str, list[Path]] = {}
    for example in corpora.mosi_clips(args.data):
        if example.path is not None:
            by_speaker.setdefault(example.speaker, []).append(example.path)
    couples = list(itertools.combinations(sorted(by_speaker), 2))
    random = np.random.default_rng(0)
    found: Counter[str] = Counter()
    shares: list[float] = []
    for number in tqdm(range(args.pairs), mininterval=10):
        one, other = couples[number * 7 % len(couples)]
        clips = [by_speaker[name][int(random.integers(len(by_speaker[name])))] for name in (one, other)]
        film = SideBySide(clips, seconds=CROSSING_S, crossing=True)
        counted = crossing(play(config, parts, VirtualClock(), film), film)
        found["crossings"] += 1
        found["swapped"] += counted["swapped"]
        found["ids"] += counted["ids"]
        heard = number % 2
        film = SideBySide(clips, heard)
        told = speaking(play(config, parts, VirtualClock(), film), film, heard, args.after)
        found.update(told)
        if told["windows"]:
            shares.append(told["right"] / told["windows"])
    result: dict[str, Any] = dict(found)
    if found["windows"]:
        result["right_share"] = round(found["right"] / found["windows"], 3)
        result["sure_share"] = round(found["sure"] / found["windows"], 3)
        result["sure_right_share"] = round(found["sure_right"] / max(1, found["sure"]), 3)
        result["pairs_mostly_right"] = round(float(np.mean(np.array(shares) > 0.5)), 3)
    print(json.dumps(result))
