'use strict';

// What an application does with the Node driver and its defaults; prints what it saw, so that two runs compare.
//
//     driver.js HOST:PORT
//
// Near the end it says "failover" and waits for a line on its standard input: whoever runs it may take a server away.

const cassandra = require('cassandra-driver');
const { types } = cassandra;
const { kinds, table } = require('./kinds.js');
const { say, shown } = require('./say.js');

const KEYSPACE = 'drivers_node';
const ROWS = 257;
const PAGE = 50;
const ROUNDS = 5;
const PARTITIONS_TO_WARN_OF = 12;
const PREPARED = { prepare: true };

/** The driver asks for the datacenter by name; the timeouts are for slow machines. */
function connect(address, keyspace) {
  const at = address.lastIndexOf(':');
  return new cassandra.Client({
    contactPoints: [address.slice(0, at)],
    localDataCenter: 'datacenter1',
    keyspace,
    protocolOptions: { port: Number(address.slice(at + 1)) },
    socketOptions: { connectTimeout: 20000, readTimeout: 20000 },
  });
}

async function systemTables(client) {
  const local = (await client.execute("SELECT * FROM system.local WHERE key = 'local'")).first();
  say('system.local', local.key, local.data_center, local.rack, local.partitioner, 0 < local.tokens.length);
  const text = 'SELECT schema_version FROM system.local WHERE key = ?';
  say('system.local prepared', (await client.execute(text, ['local'], PREPARED)).first().schema_version !== null);
  say('system.local nobody', (await client.execute(text, ['nobody'], PREPARED)).first());
  for (const name of ['system.local', 'system.peers', 'system.peers_v2']) {
    say('count', name, (await client.execute(`SELECT count(*) FROM ${name}`)).first().count);
  }
  for (const host of client.hosts.values()) {
    say('host', host.isUp(), host.datacenter, host.rack, host.cassandraVersion, 0 < host.tokens.length);
  }
}

async function schema(client) {
  await client.execute(`DROP KEYSPACE IF EXISTS ${KEYSPACE}`);
  const one = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
  await client.execute(`CREATE KEYSPACE ${KEYSPACE} WITH replication = ${one}`);
  for (const text of [
    'CREATE TYPE %s.place (street text, number int)',
    table,
    'CREATE TABLE %s.pages (id int, n int, v text, PRIMARY KEY (id, n))',
    'CREATE TABLE %s.counts (id int PRIMARY KEY, n counter)',
    'CREATE TABLE %s.once (id int PRIMARY KEY, n int)',
    'CREATE TABLE %s."Mixed" ("Key" int PRIMARY KEY, "Value" text)',
    'ALTER TABLE %s.pages ADD later text',
    'CREATE INDEX IF NOT EXISTS pages_v ON %s.pages (v)',
    "CREATE INDEX kinds_vec ON %s.kinds (vec) USING 'sai'",
    "CREATE FUNCTION %s.twice(n int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java AS 'return n * 2;'",
  ]) {
    await client.execute(text.replace('%s', KEYSPACE));
  }
  await client.metadata.refreshKeyspace(KEYSPACE);
  say('agreed', await client.metadata.checkSchemaAgreement());
  for (const name of ['kinds', 'pages', 'counts', 'once', 'Mixed']) {
    say('table', name, shown(described(await client.metadata.getTable(KEYSPACE, name))));
  }
  say('type', shown(await client.metadata.getUdt(KEYSPACE, 'place')));
  say('function', shown(await client.metadata.getFunction(KEYSPACE, 'twice', ['int'])));
}

function described(found) {
  const names = (columns) => columns.map((column) => column.name);
  return {
    columns: found.columns,
    partitionKeys: names(found.partitionKeys),
    clusteringKeys: names(found.clusteringKeys),
    indexes: found.indexes.map(({ name, target, kind }) => ({ name, target, kind })),
  };
}

async function pages(client) {
  const insert = 'INSERT INTO drivers_node.pages (id, n, v) VALUES (?, ?, ?)';
  const values = Array.from({ length: ROWS }, (_, n) => [1, n, `v${n}`]);
  const done = await cassandra.concurrent.executeConcurrent(client, insert, values, PREPARED);
  say('concurrent', done.totalExecuted, done.errors.length);
  const select = 'SELECT n, v FROM drivers_node.pages WHERE id = ?';
  for (const prepare of [false, true]) {
    const sizes = [];
    const found = [];
    let pageState;
    do {
      const page = await client.execute(select, [1], { prepare, fetchSize: PAGE, pageState, hints: ['int'] });
      sizes.push(page.rows.length);
      found.push(...page.rows.map((row) => row.n));
      pageState = page.pageState;
    } while (pageState);
    say('pages', sizes, found.length === ROWS && found.every((n, place) => n === place));
  }
  let iterated = 0;
  for await (const row of await client.execute('SELECT * FROM drivers_node.pages', [], { fetchSize: PAGE })) {
    iterated += row.id;
  }
  say('iterated', iterated, 'streamed', await streamed(client, select));
  say('indexed', (await client.execute("SELECT n FROM drivers_node.pages WHERE v = 'v77'")).first().n);
  say('function', await rows(client, 'SELECT drivers_node.twice(n) FROM drivers_node.pages WHERE id = 1 AND n = 21'));
}

function streamed(client, select) {
  return new Promise((resolve, reject) => {
    let count = 0;
    client
      .stream(select, [1], { prepare: true, autoPage: true, fetchSize: PAGE })
      .on('data', () => { count += 1; })
      .on('end', () => resolve(count))
      .on('error', reject);
  });
}

async function rows(client, text, values, options) {
  const found = await client.execute(text, values, options);
  return shown(found.rows.map((row) => row.values()));
}

async function batches(client) {
  const insert = 'INSERT INTO drivers_node.pages (id, n, v) VALUES (?, ?, ?)';
  for (const [id, logged] of [[10, true], [11, false]]) {
    const queries = [
      { query: insert, params: [id, 1, 'one'] },
      { query: insert, params: [id, 2, 'two'] },
      { query: 'DELETE FROM drivers_node.pages WHERE id = ? AND n = 3', params: [id] },
    ];
    await client.batch(queries, { prepare: true, logged });
    say('batch', logged, await rows(client, 'SELECT n, v FROM drivers_node.pages WHERE id = ?', [id], PREPARED));
  }
  await client.batch(["INSERT INTO drivers_node.pages (id, n, v) VALUES (12, 1, 'text')"], { prepare: false });
  say('batch as text', await rows(client, 'SELECT v FROM drivers_node.pages WHERE id = 12'));
  const add = 'UPDATE drivers_node.counts SET n = n + ? WHERE id = ?';
  const steps = [1, 2, 3].map((step) => ({ query: add, params: [types.Long.fromNumber(step), 1] }));
  await client.batch(steps, { prepare: true, counter: true });
  await client.execute('UPDATE drivers_node.counts SET n = n - 1 WHERE id = 1');
  say('counter', await rows(client, 'SELECT n FROM drivers_node.counts WHERE id = 1'));
}

async function odds(client) {
  await client.execute(`INSERT INTO drivers_node."Mixed" ("Key", "Value") VALUES (1, 'quoted')`);
  say('quoted', await rows(client, 'SELECT "Value" FROM drivers_node."Mixed" WHERE "Key" = 1'));
  const insert = 'INSERT INTO drivers_node.pages (id, n, v) VALUES';
  await client.execute(`${insert} (20, 1, 'timed') USING TIMESTAMP 1234567890 AND TTL 5000`);
  await client.execute(`${insert} (20, 2, 'by the driver')`, [], { timestamp: 1234567891 });
  say('timestamps', await rows(client, 'SELECT writetime(v) FROM drivers_node.pages WHERE id = 20'));
  const left = (await client.execute('SELECT ttl(v) AS left FROM drivers_node.pages WHERE id = 20 AND n = 1')).first();
  say('ttl', 4900 < left.left && left.left <= 5000);
  await conditional(client);
  const big = 'x'.repeat(2000000);
  await client.execute('INSERT INTO drivers_node.pages (id, n, later) VALUES (?, ?, ?)', [22, 1, big], PREPARED);
  const back = await client.execute('SELECT later FROM drivers_node.pages WHERE id = 22 AND n = 1');
  say('big value', back.first().later === big);
  say('json', await rows(client, 'SELECT JSON id, n FROM drivers_node.pages WHERE id = 12'));
  await client.execute('TRUNCATE drivers_node.counts');
  say('truncated', await rows(client, 'SELECT count(*) FROM drivers_node.counts'));
  await client.execute('DROP TABLE drivers_node.counts');
}

async function conditional(client) {
  const insert = 'INSERT INTO drivers_node.once (id, n) VALUES (?, ?) IF NOT EXISTS';
  for (let tries = 0; tries < 2; tries += 1) {
    const asked = await client.execute(insert, [21, 1], PREPARED);
    say('conditional', asked.wasApplied(), shown(asked.first()));
  }
  const asked = await client.execute('UPDATE drivers_node.once SET n = 3 WHERE id = 21 IF n = 2');
  say('conditional update', asked.wasApplied(), shown(asked.first()));
  const serial = { consistency: types.consistencies.serial };
  say('serial read', await rows(client, 'SELECT n FROM drivers_node.once WHERE id = 21', [], serial));
}

async function traces(client) {
  for (const text of [
    "INSERT INTO drivers_node.pages (id, n, v) VALUES (23, 1, 'traced')",
    'SELECT v FROM drivers_node.pages WHERE id = 23',
  ]) {
    const { info } = await client.execute(text, [], { traceQuery: true });
    const trace = await client.metadata.getTrace(info.traceId);
    say('trace', trace.requestType, shown(trace.parameters), 0 < trace.events.length);
  }
}

async function warnings(client) {
  say('warnings', (await client.execute('SELECT count(*) FROM drivers_node.pages')).info.warnings);
  const query = "INSERT INTO drivers_node.pages (id, n, v) VALUES (?, 1, 'w')";
  const queries = Array.from({ length: PARTITIONS_TO_WARN_OF }, (_, id) => ({ query, params: [40 + id] }));
  say('warnings', (await client.batch(queries, { prepare: true, logged: false })).info.warnings);
}

async function refusals(client) {
  for (const text of [
    'SELEC 1',
    'SELECT * FROM drivers_node.nothing',
    'USE nothing_at_all',
    "INSERT INTO drivers_node.pages (id, n) VALUES ('a', 1)",
    'CREATE TABLE drivers_node.pages (id int PRIMARY KEY)',
    "CREATE KEYSPACE drivers_node WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
  ]) {
    const refused = await client.execute(text).then(() => 'not at all', (error) => error);
    say('refused', refused.name, refused.code, refused.message);
  }
}

async function inKeyspace(address) {
  const client = connect(address, KEYSPACE);
  await client.execute('INSERT INTO pages (id, n, v) VALUES (?, ?, ?)', [30, 1, 'unqualified'], PREPARED);
  say('in keyspace', await rows(client, 'SELECT v FROM pages WHERE id = 30'));
  await client.execute('USE system');
  say('used', client.keyspace);
  await client.execute(`USE ${KEYSPACE}`);
  say('used', await rows(client, 'SELECT v FROM pages WHERE id = 30'));
  await client.shutdown();
}

async function failover(client) {
  const insert = 'INSERT INTO drivers_node.pages (id, n, v) VALUES (?, ?, ?)';
  const select = 'SELECT n, v FROM drivers_node.pages WHERE id = ?';
  await client.execute(insert, [60, 0, 'before'], PREPARED);
  say('before', await rows(client, select, [60], PREPARED));
  say('failover');
  await toldToGoOn();
  for (let n = 0; n < ROUNDS; n += 1) {
    await client.execute(insert, [60, n, `round ${n}`], PREPARED);
    say('after', await rows(client, select, [60], PREPARED));
  }
  await client.execute('UPDATE drivers_node.pages SET later = ? WHERE id = ? AND n = ?', ['later', 60, 0], PREPARED);
  const later = 'SELECT later FROM drivers_node.pages WHERE id = ? AND n = ?';
  say('prepared after', await rows(client, later, [60, 0], PREPARED));
}

function toldToGoOn() {
  return new Promise((resolve) => {
    process.stdin.once('data', () => {
      process.stdin.destroy();
      resolve();
    });
  });
}

async function main(address) {
  const client = connect(address);
  await client.connect();
  say('connected', client.controlConnection.protocolVersion);
  await systemTables(client);
  await schema(client);
  await kinds(client);
  await pages(client);
  await batches(client);
  await odds(client);
  await traces(client);
  await warnings(client);
  await refusals(client);
  await inKeyspace(address);
  await failover(client);
  await client.shutdown();
  say('done');
}

main(process.argv[2]).catch((error) => {
  console.error('failed:', error);
  process.exit(1);
});
