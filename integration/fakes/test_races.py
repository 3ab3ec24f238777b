"""What happens at the wrong moment: late PREPAREs, slow handshakes, a breaker that opens in between."""

import asyncio
import contextlib
import struct

from fakes import VOID, Client, is_error, string

COUNT = "UPDATE ks.c SET n = n + 1 WHERE k = 'x'"
INSERT = "INSERT INTO ks.t (k, v) VALUES ('x', 'y')"


async def drained(proxy, seconds=10):
    for _ in range(seconds * 10):
        await asyncio.sleep(0.1)
        if await asyncio.to_thread(proxy.owed) == 0:
            return
    raise AssertionError("records are still owed")


def test_two_batches_that_teach_at_once_learn_each_statement_under_its_own_id(stage):
    async def story(a, b, proxy):
        client = await Client.open(proxy.port)
        accounts = await client.prepare("INSERT INTO ks.accounts (k, v) VALUES (?, ?)")
        audit = await client.prepare("INSERT INTO ks.audit (k, v) VALUES (?, ?)")
        b.prepared_after = 0.2
        batches = [client.batch((accounts, b"1", b"acc"), (audit, b"1", b"aud")) for _ in range(2)]
        for batch in batches:
            assert await batch == (0x08, VOID)
        assert await client.execute(audit, b"3", b"aud") == (0x08, VOID)
        wrong = [it for node in (a, b) for it in node.applied if len(it) == 4 and it[3][:2] != it[1][15:17].encode()]
        assert wrong == [], "values of one table went to another"
        assert sorted(a.applied) == sorted(b.applied)

    stage(story)


def test_what_was_given_up_while_dialling_is_never_sent_by_that_connection(stage):
    async def story(a, b, proxy):
        b.ready_after = 1.8
        client = await Client.open(proxy.port)
        assert not is_error(await client.query(COUNT))
        b.ready_after = 0
        await asyncio.sleep(1)
        await drained(proxy)
        counted = [len([text for _, text in node.applied if text == COUNT]) for node in (a, b)]
        assert counted == [1, 1]

    stage(story)


def test_a_write_that_neither_side_got_in_time_reaches_neither(stage):
    async def story(a, b, proxy):
        b.ready_after, a.ready_after = 1.8, 5
        client = await Client.open(proxy.port)
        assert is_error(await client.query(INSERT))
        await asyncio.sleep(2)
        await drained(proxy)
        assert (a.applied, b.applied) == ([], [])

    stage(story)


def test_an_execute_of_use_moves_its_own_client_only(stage):
    async def story(a, b, proxy):
        mover, other = await Client.open(proxy.port), await Client.open(proxy.port)
        use = await mover.prepare("USE evil")
        assert not is_error(await mover.execute(use))
        await other.query("INSERT INTO t (k, v) VALUES ('x', 'y')")
        await mover.query("INSERT INTO t (k, v) VALUES ('z', 'y')")
        for node in (a, b):
            assert [keyspace for keyspace, text in node.applied if "'x'" in text] == [None]
            assert [keyspace for keyspace, text in node.applied if "'z'" in text] == ["evil"]

    stage(story)


def test_a_side_that_was_settled_while_it_learnt_is_not_sent_the_write_any_more(stage):
    async def story(a, b, proxy):
        client = await Client.open(proxy.port)
        count = await client.prepare(COUNT)
        a.applied_after, b.prepared_after = 1.0, 0.5
        counted = client.execute(count)
        await asyncio.sleep(0.1)
        strikes = [client.query(f"INSERT INTO ks.t (k, v) VALUES ('overload {n}', 'y')") for n in range(3)]
        assert not is_error(await counted)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(*strikes)
        a.applied_after = b.prepared_after = 0
        await asyncio.sleep(4)
        applied = [len([text for _, text in node.applied if text == COUNT]) for node in (a, b)]
        assert applied == [1, 1]

    stage(story, failover={"policy": "circuit_breaker", "threshold": 3, "reset_after": "2s"})


def test_a_count_whose_prepare_failed_is_counted_later_and_not_parked(stage):
    async def story(a, b, proxy):
        client = await Client.open(proxy.port)
        count = await client.prepare(COUNT)
        prepare = b.prepare

        async def sick(text):
            return 0x00, struct.pack(">i", 0x0000) + string("sick")

        b.prepare = sick
        assert not is_error(await client.execute(count))
        b.prepare = prepare
        await drained(proxy)
        applied = [len([text for _, text in node.applied if text == COUNT]) for node in (a, b)]
        assert applied == [1, 1]

    stage(story)


def test_a_truncate_waits_for_writes_that_may_be_owed_yet(stage):
    async def story(a, b, proxy):
        client, operator = await Client.open(proxy.port), await Client.open(proxy.port)
        assert not is_error(await client.query("INSERT INTO ks.t (k, v) VALUES ('w', 'w')"))
        b.applied_after = 10
        late = client.query(INSERT)
        await asyncio.sleep(0.1)
        b.applied_after = 0
        truncated = await operator.query("TRUNCATE ks.t")
        assert not is_error(await late)
        await drained(proxy)
        texts = [text for _, text in b.applied]
        assert is_error(truncated) or texts[-1] == "TRUNCATE ks.t", texts

    stage(story)


def test_an_application_of_one_statement_does_not_wait_for_a_late_cluster_for_ever(stage):
    async def story(a, b, proxy):
        client = await Client.open(proxy.port)
        b.applied_after, opened, answers = 1.2, asyncio.Event(), []

        async def write():
            while not opened.is_set():
                answers.append(client.query(INSERT))
                await asyncio.sleep(0.05)

        writes = asyncio.create_task(write())
        await asyncio.sleep(2)
        # From now on each answer of B comes after its write was given up, but they do come: B is not silent.
        b.applied_after = 2
        for _ in range(150):
            await asyncio.sleep(0.1)
            if await asyncio.to_thread(proxy.metric, "helix_circuit_breaker_state", cluster="B") == 2:
                break
        else:
            raise AssertionError("the breaker of B did not open")
        opened.set()
        await writes
        assert set(await asyncio.gather(*answers)) == {(0x08, VOID)}

    stage(story, failover={"reset_after": "60s"})
