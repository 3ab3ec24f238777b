"""The judge is judged first: it must find what is wrong. No proxy here."""

import time

import pytest

from checker import CheckFailed, check, check_table, dump
from load import KEYSPACE, Load

KEYS = {"cells": ("id",), "lines": ("id", "line")}


@pytest.fixture
def log(clusters):
    """A load on A alone, whose living cells are then copied to B: all but the tombstones."""
    a, b = clusters
    with Load(9042, a.address, rate=60) as load:
        time.sleep(4)
    for cell, (value, time_us) in dump(a).items():
        if cell.column and cell.column not in ("tags", "marks"):
            put(b, cell, value, time_us)
    return load.log


def put(node, cell, value, timestamp):
    where = " AND ".join(f"{name} = %s" for name, _ in zip(KEYS[cell.table], cell.key))
    text = f"UPDATE {KEYSPACE}.{cell.table} USING TIMESTAMP {timestamp} SET {cell.column} = %s WHERE {where}"
    node.execute(text, (value, *cell.key))


def some_cell(a, log):
    """One that is alive, and that one stream alone wrote."""
    return next((c, *found) for c, found in dump(a).items() if c.column == "v" and c in log.cells)


def faults_of(a, b, log):
    with pytest.raises(CheckFailed) as failed:
        check(a, b, log)
    return failed.value.faults


def test_a_cluster_is_equal_to_itself(a, log, tell):
    tell(check(a, a, log))


def test_a_missing_tombstone_is_found(a, b, log):
    faults = faults_of(a, b, log)
    assert any("tombstone" in fault and "cluster b" in fault for fault in faults)
    assert not any("tombstone" in fault and "cluster a" in fault for fault in faults)


def test_another_value_is_found(a, log):
    cell, _, time_us = some_cell(a, log)
    put(a, cell, "never asked for", time_us + 1)
    assert any(fault.startswith(f"I1 {cell}") for fault in faults_of(a, a, log))


def test_another_timestamp_is_found(a, log):
    cell, value, time_us = some_cell(a, log)
    put(a, cell, value, time_us + 60_000_000)
    assert any(fault.startswith(f"I4 {cell}") for fault in faults_of(a, a, log))


def test_a_difference_between_the_clusters_is_found(a, b, log):
    cell, value, time_us = some_cell(a, log)
    put(b, cell, value, time_us + 1)
    assert any(fault.startswith(f"I3 {cell}") for fault in faults_of(a, b, log))


def test_an_answer_that_never_came_is_found(a, log):
    log.unanswered = 1
    assert faults_of(a, a, log) == ["I13 1 requests were never answered"]


def test_rows_timestamps_and_columns_of_any_table_are_compared(a, b):
    for node in (a, b):
        node.execute(f"CREATE TABLE {KEYSPACE}.judged (id int PRIMARY KEY, v text)")
        node.execute(f"INSERT INTO {KEYSPACE}.judged (id, v) VALUES (1, 'same') USING TIMESTAMP 1000")
    assert check_table(a, b, KEYSPACE, "judged") == 1
    for text in (
        f"INSERT INTO {KEYSPACE}.judged (id, v) VALUES (1, 'same') USING TIMESTAMP 1001",
        f"INSERT INTO {KEYSPACE}.judged (id, v) VALUES (2, 'more') USING TIMESTAMP 1000",
        f"ALTER TABLE {KEYSPACE}.judged ADD w text",
    ):
        b.execute(text)
        with pytest.raises(CheckFailed):
            check_table(a, b, KEYSPACE, "judged")
        a.execute(text)
        check_table(a, b, KEYSPACE, "judged")
    for node in (a, b):
        node.execute(f"DROP TABLE {KEYSPACE}.judged")
