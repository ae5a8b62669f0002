"""Print what a stream says and what happens to it: python docs/examples/subscribe.py [mqtt://HOST:PORT] [STREAM]."""

import asyncio
import sys

from realtime.client import Client
from realtime.errors import AgfnError


async def scores(client: Client, stream: str) -> None:
    """Print the score of every window, with the modality that counted most."""
    async for said in client.sentiments(stream):
        if said.score is None or said.interval is None:
            print(f"{said.stream}  {said.state}", flush=True)
            continue
        leading = max(said.modalities, key=lambda name: said.modalities[name].weight)
        low, high = said.interval
        print(f"{said.stream}  {said.score:+.2f} [{low:+.2f} {high:+.2f}]  mostly {leading}", flush=True)


async def happenings(client: Client, stream: str) -> None:
    """Print every event."""
    async for event in client.events(stream):
        print(f"{event.stream}  {event.component} {event.kind}: {event.cause or '-'}", flush=True)


async def main(url: str = "mqtt://127.0.0.1:1883", stream: str = "desk") -> None:
    """Read both until Ctrl-C."""
    async with Client(url) as client:
        await asyncio.gather(scores(client, stream), happenings(client, stream))


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except AgfnError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(0)
