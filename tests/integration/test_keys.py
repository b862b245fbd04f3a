"""The keys of a real (pseudo-)terminal: read one by one, and the terminal given back however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.servers import until
from tests.terminal import Terminal

ROOT = Path(__file__).parents[2]

# Says each key that it reads, in turns as the supervisor's loop has them; `q` ends it, `x` ends it by an error.
READER = """
import sys, time
from cli.keys import keyboard
keys = keyboard()
if keys is None:
    sys.exit("no keyboard")
turns = 0
try:
    while True:
        time.sleep(0.02)
        turns += 1
        if turns % 10 == 0:
            print(f"turn {turns}", flush=True)
        for char in keys.pressed():
            print(f"<{char}>", flush=True)
            if char == "q":
                sys.exit(0)
            if char == "x":
                raise RuntimeError("on purpose")
finally:
    keys.close()
"""
# A shell with job control: starts the reader in the foreground (argument `fg`) or behind (`bg`), and says how its state changes.
# Stopped, it takes the terminal back; the signals SIGUSR1 and SIGUSR2 let the reader go on before and behind.
SHELL = """
import os, signal, sys
for number in (signal.SIGTTOU, signal.SIGTTIN, signal.SIGTSTP):
    signal.signal(number, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    if sys.argv[1] == "fg":
        os.tcsetpgrp(0, os.getpid())
    for number in (signal.SIGTTOU, signal.SIGTTIN, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
def go_on(number, _):
    if number == signal.SIGUSR1:
        os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
signal.signal(signal.SIGUSR1, go_on)
signal.signal(signal.SIGUSR2, go_on)
while True:
    _, state = os.waitpid(pid, os.WUNTRACED | os.WCONTINUED)
    if os.WIFSTOPPED(state):
        os.tcsetpgrp(0, os.getpid())
        print("stopped by", os.WSTOPSIG(state), flush=True)
    elif os.WIFCONTINUED(state):
        print("goes on", flush=True)
    else:
        os.tcsetpgrp(0, os.getpid())
        print("ended with", os.waitstatus_to_exitcode(state), flush=True)
        break
"""


def reader():
    return Terminal([sys.executable, "-c", READER], ROOT)


def shell(where):
    return Terminal([sys.executable, "-c", SHELL, where, READER], ROOT)


def wait_for(terminal, text):
    until(f"it says {text!r}", lambda: text in terminal.said())


def go_on_before(terminal):
    """Let a stopped reader go on in the foreground, until it has taken the terminal again."""
    os.kill(terminal.process.pid, signal.SIGUSR1)
    wait_for(terminal, "goes on")
    until("the terminal is taken again", lambda: not terminal.echoes())


def test_keys_are_read_one_by_one_without_return_and_not_echoed():
    with reader() as terminal:
        wait_for(terminal, "turn 10")

        for char in "pp?":
            shown = terminal.said().count(f"<{char}>")
            terminal.type(char)
            until(f"{char} is read", lambda char=char, shown=shown: terminal.said().count(f"<{char}>") > shown)

        lines = [line for line in terminal.said().splitlines() if not line.startswith("turn")]
        assert lines == ["<p>", "<p>", "<?>"]


def test_a_cursor_key_and_a_paste_are_no_keys():
    with reader() as terminal:
        wait_for(terminal, "turn 10")

        terminal.type("\x1b[D")
        seen = terminal.said().count("turn")
        until("that was read", lambda: terminal.said().count("turn") > seen + 1)
        terminal.type("tempt")
        seen = terminal.said().count("turn")
        until("that was read too", lambda: terminal.said().count("turn") > seen + 1)
        terminal.type("q")

        assert terminal.process.wait(10) == 0
        assert terminal.said().count("<") == 1


@pytest.mark.parametrize(("last", "code"), [("q", 0), ("x", 1)])
def test_the_terminal_is_given_back_as_it_was_also_after_an_error(last, code):
    with reader() as terminal:
        wait_for(terminal, "turn 10")
        assert not terminal.echoes()

        terminal.type(last)

        assert terminal.process.wait(10) == code
        assert terminal.before == terminal.mode()


def test_ctrl_c_stays_a_signal():
    with reader() as terminal:
        wait_for(terminal, "turn 10")

        terminal.type("\x03")

        assert terminal.process.wait(10) == -signal.SIGINT
        assert terminal.before == terminal.mode()


def test_paused_by_ctrl_z_it_gives_the_terminal_back_and_takes_it_again_when_it_goes_on():
    with shell("fg") as terminal:
        wait_for(terminal, "turn 10")

        terminal.type("\x1a")
        wait_for(terminal, f"stopped by {int(signal.SIGTSTP)}")
        assert terminal.echoes()
        go_on_before(terminal)
        terminal.type("q")
        wait_for(terminal, "ended with 0")

        assert terminal.process.wait(10) == 0
        assert terminal.before == terminal.mode()


def test_stopped_without_a_word_it_takes_the_terminal_again_although_the_shell_changed_it():
    with shell("fg") as terminal:
        wait_for(terminal, "turn 10")
        (stopped,) = psutil.Process(terminal.process.pid).children()

        stopped.suspend()
        wait_for(terminal, f"stopped by {int(signal.SIGSTOP)}")
        terminal.restore()
        go_on_before(terminal)
        terminal.type("q")
        wait_for(terminal, "ended with 0")

        assert terminal.process.wait(10) == 0
        assert terminal.before == terminal.mode()


def test_in_the_background_it_neither_reads_nor_changes_the_terminal_and_is_not_stopped():
    with shell("bg") as terminal:
        wait_for(terminal, "turn 30")

        assert terminal.echoes()
        assert "stopped" not in terminal.said()


def test_let_go_on_in_the_background_it_leaves_the_terminal_to_the_shell():
    with shell("fg") as terminal:
        wait_for(terminal, "turn 10")
        terminal.type("\x1a")
        wait_for(terminal, "stopped by")

        os.kill(terminal.process.pid, signal.SIGUSR2)
        wait_for(terminal, "goes on")
        seen = terminal.said().count("turn")
        until("it works behind", lambda: terminal.said().count("turn") > seen + 2)

        assert terminal.echoes()
        assert terminal.said().count("stopped by") == 1


def test_without_a_terminal_there_are_no_keys():
    done = subprocess.run([sys.executable, "-c", READER], cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert done.stderr == "no keyboard\n"
