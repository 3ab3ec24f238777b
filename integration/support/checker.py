"""The one judge of every test on real clusters: `check(a, b, log)` after faults have healed and the queue is drained.

A table of the test's own is compared by `check_table(a, b, keyspace, table)`: I3 without the tombstones.

I1   every acknowledged write is on both, with its value and timestamp, or overwritten by a later one
I2   follows: an acknowledgement that was neither applied nor queued is missing on a side
I3   same rows, cells and timestamps on both; tombstones too, tried by writing something older under each of them
I4   a timestamp that the client gave is found unchanged; one that the proxy gave lies where the request lay
I6   a write of unknown fate is on both or on neither
I12  no read missed an acknowledged write
I13  no answer belongs to another request; none is missing
S15  a write that was refused as surely not applied is nowhere
"""

import dataclasses

from load import ACKED, CLOCK_AHEAD_MAX_US, KEYSPACE, MAYBE, REFUSED, SCHEMA, TABLES, Cell, is_silence

FAULTS_SHOWN_MAX = 15
TOMBSTONES_TRIED_MAX = 300
COLUMNS = {"cells": ("v", "w"), "lines": ("v", "tags", "marks", "fixed")}
KEYS = {"cells": ("id",), "lines": ("id", "line")}


class CheckFailed(AssertionError):
    def __init__(self, faults):
        shown = "\n  ".join(faults[:FAULTS_SHOWN_MAX])
        more = f"\n  and {len(faults) - FAULTS_SHOWN_MAX} more" if FAULTS_SHOWN_MAX < len(faults) else ""
        super().__init__(f"{len(faults)} faults:\n  {shown}{more}")
        self.faults = faults


@dataclasses.dataclass
class Report:
    acked: int
    maybe: int
    refused: int
    reads: int
    cells: int
    tombstones: int

    def __str__(self):
        return (
            f"equal: {self.acked} acknowledged, {self.maybe} of unknown fate, {self.refused} refused, "
            f"{self.reads} reads, {self.cells} cells and {self.tombstones} tombstones compared"
        )


def make_schema(a, b):
    """The load's tables, on each cluster directly, empty."""
    for node in (a, b):
        for text in SCHEMA:
            node.execute(text)
        for table in TABLES:
            node.execute(f"TRUNCATE {KEYSPACE}.{table}")


def check(a, b, log, *, stale_between=(0.0, 0.0)):
    """Raises CheckFailed with all that is wrong; the report otherwise.

    `stale_between` is the time (monotonic, from and until) in which no fresh side could be read (S20).
    """
    cells_a, cells_b = dump(a), dump(b)
    faults = differences(a, cells_a, b, cells_b)
    for node, cells in ((a, cells_a), (b, cells_b)):
        faults += wrong_values(node, cells, log)
        faults += wrong_contended(node, cells, log)
        faults += applied_though_refused(node, cells, log)
    faults += [f"I13 {text}" for text in log.crossed]
    faults += [f"I13 no answer within the client's deadline: {r.kind}: {r.error}" for r in log.requests if is_silence(r)]
    if log.unanswered:
        faults.append(f"I13 {log.unanswered} requests were never answered")
    since, until = stale_between
    faults += [f"I12 {text}" for started, text in log.stale if not since <= started < until]
    tried, risen = try_tombstones(a, b, log)
    faults += risen
    if faults:
        raise CheckFailed(faults)
    return Report(log.count(ACKED), log.count(MAYBE), log.count(REFUSED), log.count(ACKED, "read"), len(cells_a), tried)


def check_table(a, b, keyspace, table):
    """Raises CheckFailed unless its columns, rows and timestamps are the same on both; the number of rows otherwise."""
    columns, theirs = columns_of(a, keyspace, table), columns_of(b, keyspace, table)
    name = f'{keyspace}."{table}"'
    if columns != theirs or not columns:
        raise CheckFailed([f"I3 {name}: {a} has the columns {columns}, {b} has {theirs}"])
    mine, others = (rows_of(node, keyspace, table, columns) for node in (a, b))
    faults = [f"I3 {name}: only {a} has {row}" for row in mine if row not in others]
    faults += [f"I3 {name}: only {b} has {row}" for row in others if row not in mine]
    if faults or len(mine) != len(others):
        raise CheckFailed(faults or [f"I3 {name}: {len(mine)} rows on {a}, {len(others)} on {b}"])
    return len(mine)


def columns_of(node, keyspace, table):
    text = "SELECT column_name, kind, type FROM system_schema.columns WHERE keyspace_name = %s AND table_name = %s"
    return sorted((row.column_name, row.kind, row.type) for row in node.execute(text, (keyspace, table)))


def rows_of(node, keyspace, table, columns):
    """Values and timestamps as text: equal servers give equal text."""
    names = [f'"{name}"' for name, _, _ in columns]
    timed = [name for name, kind, type_ in columns if kind in ("regular", "static") and type_ != "counter"]
    times = [f'writetime("{name}")' for name in timed]
    found = node.execute(f'SELECT {", ".join(names + times)} FROM "{keyspace}"."{table}"')
    return sorted(repr(tuple(row)) for row in found)


# -- what is there ---------------------------------------------------------------------------


def dump(node):
    """Every cell of the load's tables: {Cell: (value, writetime)}; a row without values is a cell with no column."""
    cells = {}
    for table in TABLES:
        columns = COLUMNS[table]
        times = ", ".join(f"writetime({column}) AS t_{column}" for column in columns)
        for row in node.execute(f"SELECT {', '.join(KEYS[table] + columns)}, {times} FROM {KEYSPACE}.{table}"):
            cells.update(row_cells(table, row))
    return cells


def row_cells(table, row):
    key = tuple(getattr(row, name) for name in KEYS[table])
    cells = {}
    if None not in key:
        cells[Cell(table, key, "")] = ("row", None)
    for column in COLUMNS[table]:
        value, time = getattr(row, column), getattr(row, f"t_{column}")
        if value is None:
            continue
        if column == "fixed":
            cells[Cell(table, key[:1], column)] = (value, time)
        elif column in ("tags", "marks"):
            # Both come sorted by element, and so do their times.
            for element, at in zip(value, time):
                cells[Cell(table, key, column, element)] = (value[element] if column == "marks" else element, at)
        else:
            cells[Cell(table, key, column)] = (value, time)
    return cells


def differences(a, cells_a, b, cells_b):
    return [
        f"I3 {cell}: {a} has {cells_a.get(cell)}, {b} has {cells_b.get(cell)}"
        for cell in sorted(cells_a.keys() | cells_b.keys(), key=str)
        if cells_a.get(cell) != cells_b.get(cell)
    ]


# -- what should be there --------------------------------------------------------------------


def wrong_values(node, cells, log):
    faults = []
    for cell, writes in log.cells.items():
        value, time = cells.get(cell, (None, None))
        allowed = log.allowed(cell)
        if value not in allowed:
            faults.append(f"I1 {cell} on {node} is {value} ({time}), acknowledged was {allowed[-1]}")
        elif value is not None:
            faults += wrong_time(node, cell, value, time, writes)
    return faults


def wrong_time(node, cell, value, time, writes):
    """The found timestamp must be that of a write of this value."""
    candidates = [write for write in writes if write.value == value and write.outcome != REFUSED]
    if any(fits(time, write) for write in candidates):
        return []
    wanted = [write.timestamp or f"about {write.sent}" for write in candidates[-3:]]
    return [f"I4 {cell} on {node} has writetime {time}, wanted {wanted}"]


def fits(time, write):
    if write.timestamp is not None:
        return time == write.timestamp
    return write.sent - CLOCK_AHEAD_MAX_US <= time <= write.sent + 2 * CLOCK_AHEAD_MAX_US


def wrong_contended(node, cells, log):
    """Of several writers the highest timestamp wins: none that was acknowledged may be above what is there."""
    faults = []
    for cell, writes in log.contended.items():
        value, time = cells.get(cell, (None, None))
        possible = [write for write in writes if write.outcome != REFUSED]
        acked = [write.timestamp or 0 for write in writes if write.outcome == ACKED]
        if possible and acked and value not in [write.value for write in possible]:
            faults.append(f"I1 {cell} on {node} is {value}, which nobody wrote")
        if acked and (time or 0) < max(acked):
            faults.append(f"I1 {cell} on {node} is of {time}, but one of {max(acked)} was acknowledged")
    return faults


def applied_though_refused(node, cells, log):
    refused = {
        write.value
        for writes in [*log.cells.values(), *log.contended.values()]
        for write in writes
        if write.outcome == REFUSED and isinstance(write.value, str) and "/" in write.value
    }
    return [f"S15 {cell} on {node} is {value}, which was refused" for cell, (value, _) in cells.items() if value in refused]


# -- tombstones ------------------------------------------------------------------------------


def try_tombstones(a, b, log):
    """Under each acknowledged last deletion, something older must stay hidden, on both (I3, I7)."""
    tried = [
        # A server that gives the timestamp itself counts in milliseconds.
        (cell, (writes[-1].timestamp or writes[-1].sent - 1000) - 1)
        for cell, writes in log.cells.items()
        if cell.column in ("v", "w") and writes[-1].outcome == ACKED and writes[-1].value is None
    ][:TOMBSTONES_TRIED_MAX]
    faults = []
    for node in (a, b):
        for cell, older in tried:
            faults += rise(node, cell, older)
    return len(tried), faults


def rise(node, cell, older):
    where = " AND ".join(f"{name} = %s" for name in KEYS[cell.table])
    table = f"{KEYSPACE}.{cell.table}"
    node.execute(f"UPDATE {table} USING TIMESTAMP {older} SET {cell.column} = 'risen' WHERE {where}", cell.key)
    row = node.execute(f"SELECT {cell.column} FROM {table} WHERE {where}", cell.key).one()
    found = row and getattr(row, cell.column)
    return [f"I3 {cell} on {node}: the tombstone of {older + 1} is missing"] if found == "risen" else []
