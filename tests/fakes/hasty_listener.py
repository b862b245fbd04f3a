"""The listener with a planted fault: it acknowledges before its journal has the message, and dies in between (SIGKILL)."""

import asyncio
import os
import signal
import time
from itertools import count

from services.hl7_listener.conversation import Conversation
from services.hl7_listener.journal import Journal
from services.hl7_listener.main import main
from services.hl7_listener.mllp import block_of

DIES_AT = 40  # answers
SLOW_DISK_S = 0.5
answers = count(1)
write_batch = Journal._write_batch


async def answer_at_once(self, decision):
    answer = self._intake.answer_bytes(decision)
    if answer is not None:
        self._writer.write(block_of(answer))
        await self._writer.drain()
    if next(answers) == DIES_AT:
        await asyncio.sleep(0.05)  # the answer is with the device
        os.kill(os.getpid(), signal.SIGKILL)


def write_later(self, batch):
    time.sleep(SLOW_DISK_S)
    write_batch(self, batch)


Conversation._answer_one = answer_at_once
Journal._write_batch = write_later
main()
