'use strict';

// Writes one value of each type, prepared, and reads it back; then nulls, and values left unset.

const { types } = require('cassandra-driver');
const { say, shown } = require('./say.js');

const table =
  'CREATE TABLE %s.kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal, dou double,' +
  ' du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid, tn tinyint, u uuid,' +
  ' v varchar, vi varint, l list<int>, se set<text>, m map<text, int>, tp tuple<int, text>, p frozen<place>,' +
  ' fl frozen<list<text>>, nested map<text, frozen<list<int>>>, vec vector<float, 3>)';

const VALUES = {
  a: 'ascii',
  b: types.Long.fromString('1152921504606846976'),
  bl: Buffer.from([0, 255]),
  bo: true,
  d: types.LocalDate.fromString('2024-02-29'),
  de: types.BigDecimal.fromString('-12.3450'),
  dou: 1.5e300,
  du: new types.Duration(1, 2, types.Long.fromNumber(3)),
  f: 0.5,
  i: types.InetAddress.fromString('2001:db8::1'),
  n: -1,
  s: -32768,
  t: 'text \u2603',
  ti: types.LocalTime.fromString('00:00:00.000000001'),
  ts: new Date('2024-01-02T03:04:05.678Z'),
  tu: types.TimeUuid.fromString('50554d6e-29bb-11e5-b345-feff819cdc9f'),
  tn: 127,
  u: types.Uuid.fromString('00000000-0000-0000-0000-000000000007'),
  v: '',
  vi: types.Integer.fromString('-1267650600228229401496703205376'),
  l: [3, 1, 2],
  se: ['x', 'y'],
  m: { k: 1 },
  tp: types.Tuple.fromArray([1, 'one']),
  p: { street: 'Main', number: 1 },
  fl: ['a', 'b'],
  nested: { k: [1, 2] },
  vec: new types.Vector([0.5, 0.25, -1], 'float'),
};
const COLUMNS = Object.keys(VALUES);
const INSERT = `INSERT INTO drivers_node.kinds (id, ${COLUMNS.join(', ')}) VALUES (:id, :${COLUMNS.join(', :')})`;

function write(client, id, values) {
  return client.execute(INSERT, { id, ...values }, { prepare: true });
}

async function read(client, id) {
  return (await client.execute('SELECT * FROM drivers_node.kinds WHERE id = ?', [id], { prepare: true })).first();
}

function each(value) {
  return Object.fromEntries(COLUMNS.map((column) => [column, value]));
}

async function kinds(client) {
  await write(client, 1, VALUES);
  const row = await read(client, 1);
  for (const column of COLUMNS) {
    say('kind', column, shown(row[column]));
  }
  const nearest = 'SELECT id FROM drivers_node.kinds ORDER BY vec ANN OF [0.5, 0.25, -1.0] LIMIT 1';
  say('nearest', (await client.execute(nearest)).first().id);
  await write(client, 2, each(null));
  say('nulls', Object.values(await read(client, 2)).filter((value) => value === null).length);
  await unset(client);
}

async function unset(client) {
  await write(client, 2, VALUES);
  await write(client, 2, { ...each(types.unset), n: 5 });
  const row = await read(client, 2);
  say('unset kept', row.n, row.t, row.vec);
}

module.exports = { kinds, table };
