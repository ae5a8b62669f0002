"""A question to a program at the broker: one connection that asks on a topic and hears the answers on another."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiomqtt import MqttError

from realtime.errors import BrokerError
from realtime.publish.connection import ANSWER_S, BoundedClient, cause_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime.publish.access import Access


@asynccontextmanager
async def asking(
    access: Access, answers: str, question: tuple[str, bytes] | None, silence: str, timeout_s: float = ANSWER_S
) -> AsyncIterator[BoundedClient]:
    """Listen for answers, then ask; gives out the client whose messages are the answers.

    Args:
        access: the broker.
        answers: the topic that they come on.
        question: where what is asked goes; None where what is retained answers already.
        silence: what a time-out of the caller means.
        timeout_s: for the broker's own answers.

    Raises:
        BrokerError: the broker can't be reached or hangs up, or the caller ran into a TimeoutError meanwhile.
    """
    try:
        async with BoundedClient(access, timeout=timeout_s) as client:
            await client.subscribe(answers, qos=1)
            if question is not None:
                await client.publish(*question, qos=1)
            yield client
    except asyncio.TimeoutError:
        raise BrokerError(f"{access.url}: {silence}") from None
    except (MqttError, ValueError) as error:
        raise BrokerError(f"{access.url}: {cause_of(error)}") from None
