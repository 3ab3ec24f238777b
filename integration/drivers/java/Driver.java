import static java.util.stream.Collectors.joining;
import static java.util.stream.Collectors.toList;

import com.datastax.oss.driver.api.core.ConsistencyLevel;
import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DriverException;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BatchType;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.QueryTrace;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.cql.Statement;
import com.datastax.oss.driver.api.core.metadata.NodeState;
import com.datastax.oss.driver.api.core.metadata.schema.KeyspaceMetadata;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.CompletionStage;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * What an application does with the Java driver and its defaults; prints what it saw, so that two runs compare.
 *
 * <p>run HOST:PORT [-Ddatastax-java-driver.KEY=VALUE ...]
 *
 * <p>Near the end it says "failover" and waits for a line on its standard input: whoever runs it may take a server away.
 */
public class Driver {
  static final String KEYSPACE = "drivers_java";
  private static final int ROWS = 257;
  private static final int PAGE = 50;
  private static final int ROUNDS = 5;
  private static final int PARTITIONS_TO_WARN_OF = 12;

  private final CqlSession session;

  private Driver(CqlSession session) {
    this.session = session;
  }

  static void say(Object... seen) {
    System.out.println(Stream.of(seen).map(String::valueOf).collect(joining(" ")));
  }

  public static void main(String[] arguments) throws IOException {
    String address = arguments[0];
    try (CqlSession session = connect(address, null)) {
      say("connected", session.getContext().getProtocolVersion());
      Driver driver = new Driver(session);
      driver.systemTables();
      driver.schema();
      new Kinds(session).all();
      driver.pages();
      driver.batches();
      driver.odds();
      driver.traces();
      driver.warnings();
      driver.refusals();
      inKeyspace(address);
      driver.failover();
      say("done");
    }
  }

  /** The driver asks for the datacenter by name as soon as it is given an address. */
  private static CqlSession connect(String address, String keyspace) {
    int colon = address.lastIndexOf(':');
    int port = Integer.parseInt(address.substring(colon + 1));
    return CqlSession.builder()
        .addContactPoint(new InetSocketAddress(address.substring(0, colon), port))
        .withLocalDatacenter("datacenter1")
        .withKeyspace(keyspace)
        .build();
  }

  private ResultSet run(String text, Object... values) {
    return session.execute(text, values);
  }

  private Row one(String text, Object... values) {
    return run(text, values).one();
  }

  private void systemTables() {
    Row local = one("SELECT * FROM system.local WHERE key = 'local'");
    say("system.local", local.getString("key"), local.getString("data_center"), local.getString("rack"),
        local.getString("partitioner"), !local.getSet("tokens", String.class).isEmpty());
    PreparedStatement prepared = session.prepare("SELECT schema_version FROM system.local WHERE key = ?");
    say("system.local prepared", session.execute(prepared.bind("local")).one().getUuid(0) != null);
    say("system.local nobody", session.execute(prepared.bind("nobody")).one());
    for (String table : List.of("system.local", "system.peers", "system.peers_v2")) {
      say("count", table, one("SELECT count(*) FROM " + table).getLong(0));
    }
    session.getMetadata().getNodes().values().forEach(
        node -> say("node", node.getState() == NodeState.UP, node.getDatacenter(), node.getRack(), node.getDistance()));
    say("tokens", session.getMetadata().getTokenMap().isPresent());
  }

  private void schema() {
    run("DROP KEYSPACE IF EXISTS " + KEYSPACE);
    run("CREATE KEYSPACE " + KEYSPACE + " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    for (String text : List.of(
        "CREATE TYPE %s.place (street text, number int)",
        Kinds.TABLE,
        "CREATE TABLE %s.pages (id int, n int, v text, PRIMARY KEY (id, n))",
        "CREATE TABLE %s.counts (id int PRIMARY KEY, n counter)",
        "CREATE TABLE %s.once (id int PRIMARY KEY, n int)",
        "CREATE TABLE %s.\"Mixed\" (\"Key\" int PRIMARY KEY, \"Value\" text)",
        "ALTER TABLE %s.pages ADD later text",
        "CREATE INDEX IF NOT EXISTS pages_v ON %s.pages (v)",
        "CREATE INDEX kinds_vec ON %s.kinds (vec) USING 'sai' WITH OPTIONS = {'similarity_function': 'euclidean'}",
        "CREATE FUNCTION %s.twice(n int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java AS 'return n * 2;'")) {
      run(String.format(text, KEYSPACE));
    }
    say("agreed", session.checkSchemaAgreement());
    KeyspaceMetadata known = session.getMetadata().getKeyspace(KEYSPACE).orElseThrow();
    say(known.describeWithChildren(true));
  }

  private void pages() {
    PreparedStatement insert = session.prepare("INSERT INTO drivers_java.pages (id, n, v) VALUES (?, ?, ?)");
    List<CompletionStage<AsyncResultSet>> started = new ArrayList<>();
    for (int n = 0; n < ROWS; n++) {
      started.add(session.executeAsync(insert.bind(1, n, "v" + n)));
    }
    started.forEach(one -> one.toCompletableFuture().join());
    paged(SimpleStatement.newInstance("SELECT n, v FROM drivers_java.pages WHERE id = ?", 1));
    paged(session.prepare("SELECT n, v FROM drivers_java.pages WHERE id = ?").bind(1));
    ResultSet all = session.execute(SimpleStatement.newInstance("SELECT * FROM drivers_java.pages").setPageSize(PAGE));
    say("iterated", StreamSupport.stream(all.spliterator(), false).count());
    say("indexed", one("SELECT n FROM drivers_java.pages WHERE v = 'v77'").getInt(0));
    say("function", one("SELECT drivers_java.twice(n) FROM drivers_java.pages WHERE id = 1 AND n = 21").getInt(0));
  }

  private void paged(Statement<?> statement) {
    List<Integer> sizes = new ArrayList<>();
    List<Integer> found = new ArrayList<>();
    ByteBuffer state = null;
    do {
      ResultSet rows = session.execute(statement.setPageSize(PAGE).setPagingState(state));
      sizes.add(rows.getAvailableWithoutFetching());
      for (int left = rows.getAvailableWithoutFetching(); 0 < left; left--) {
        found.add(rows.one().getInt(0));
      }
      state = rows.getExecutionInfo().getPagingState();
    } while (state != null);
    boolean ordered = found.equals(Stream.iterate(0, n -> n + 1).limit(ROWS).collect(toList()));
    say("pages", sizes, ordered);
  }

  private void batches() {
    PreparedStatement insert = session.prepare("INSERT INTO drivers_java.pages (id, n, v) VALUES (?, ?, ?)");
    for (BatchType kind : List.of(DefaultBatchType.LOGGED, DefaultBatchType.UNLOGGED)) {
      int id = kind == DefaultBatchType.LOGGED ? 10 : 11;
      session.execute(BatchStatement.newInstance(kind)
          .add(insert.bind(id, 1, "one"))
          .add(SimpleStatement.newInstance("INSERT INTO drivers_java.pages (id, n, v) VALUES (?, 2, 'two')", id))
          .add(SimpleStatement.newInstance("DELETE FROM drivers_java.pages WHERE id = " + id + " AND n = 3"))
          .setConsistencyLevel(ConsistencyLevel.ONE));
      say("batch", kind, texts("SELECT n, v FROM drivers_java.pages WHERE id = ?", id));
    }
    run("BEGIN BATCH INSERT INTO drivers_java.pages (id, n, v) VALUES (12, 1, 'text') APPLY BATCH");
    say("batch as text", texts("SELECT v FROM drivers_java.pages WHERE id = 12"));
    PreparedStatement add = session.prepare("UPDATE drivers_java.counts SET n = n + ? WHERE id = ?");
    session.execute(BatchStatement.newInstance(DefaultBatchType.COUNTER).add(add.bind(1L, 1)).add(add.bind(5L, 1)));
    run("UPDATE drivers_java.counts SET n = n - 1 WHERE id = 1");
    say("counter", one("SELECT n FROM drivers_java.counts WHERE id = 1").getLong(0));
  }

  private List<String> texts(String text, Object... values) {
    return run(text, values).all().stream().map(Row::getFormattedContents).collect(toList());
  }

  private void odds() {
    run("INSERT INTO drivers_java.\"Mixed\" (\"Key\", \"Value\") VALUES (1, 'quoted')");
    say("quoted", texts("SELECT \"Value\" FROM drivers_java.\"Mixed\" WHERE \"Key\" = 1"));
    run("INSERT INTO drivers_java.pages (id, n, v) VALUES (20, 1, 'timed') USING TIMESTAMP 1234567890 AND TTL 5000");
    session.execute(
        SimpleStatement.newInstance("INSERT INTO drivers_java.pages (id, n, v) VALUES (20, 2, 'by the driver')")
            .setQueryTimestamp(1234567891L));
    say("timestamps", texts("SELECT writetime(v) FROM drivers_java.pages WHERE id = 20"));
    say("ttl", 4900 < one("SELECT ttl(v) FROM drivers_java.pages WHERE id = 20 AND n = 1").getInt(0));
    for (int tries = 0; tries < 2; tries++) {
      ResultSet asked = run("INSERT INTO drivers_java.once (id, n) VALUES (?, ?) IF NOT EXISTS", 21, 1);
      say("conditional", asked.wasApplied(), asked.one().getFormattedContents());
    }
    ResultSet asked = run("UPDATE drivers_java.once SET n = 3 WHERE id = 21 IF n = 2");
    say("conditional update", asked.wasApplied(), asked.one().getFormattedContents());
    say("serial read", session.execute(SimpleStatement.newInstance("SELECT n FROM drivers_java.once WHERE id = 21")
        .setConsistencyLevel(ConsistencyLevel.SERIAL)).one().getInt(0));
    String big = "x".repeat(2_000_000);
    run("INSERT INTO drivers_java.pages (id, n, later) VALUES (?, ?, ?)", 22, 1, big);
    say("big value", one("SELECT later FROM drivers_java.pages WHERE id = 22 AND n = 1").getString(0).equals(big));
    say("json", texts("SELECT JSON id, n FROM drivers_java.pages WHERE id = 12"));
    run("TRUNCATE drivers_java.counts");
    say("truncated", one("SELECT count(*) FROM drivers_java.counts").getLong(0));
    run("DROP TABLE drivers_java.counts");
  }

  private void traces() {
    traced("INSERT INTO drivers_java.pages (id, n, v) VALUES (23, 1, 'traced')");
    traced("SELECT v FROM drivers_java.pages WHERE id = 23");
  }

  private void traced(String text) {
    ResultSet asked = session.execute(SimpleStatement.newInstance(text).setTracing(true));
    QueryTrace trace = asked.getExecutionInfo().getQueryTrace();
    say("trace", trace.getRequestType(), new TreeMap<>(trace.getParameters()), trace.getEvents().size() != 0);
  }

  private void warnings() {
    say("warnings", run("SELECT count(*) FROM drivers_java.pages").getExecutionInfo().getWarnings());
    BatchStatement batch = BatchStatement.newInstance(DefaultBatchType.UNLOGGED);
    String insert = "INSERT INTO drivers_java.pages (id, n, v) VALUES (?, 1, 'w')";
    for (int id = 0; id < PARTITIONS_TO_WARN_OF; id++) {
      batch = batch.add(SimpleStatement.newInstance(insert, 40 + id));
    }
    say("warnings", session.execute(batch).getExecutionInfo().getWarnings());
  }

  private void refusals() {
    for (String text : List.of(
        "SELEC 1",
        "SELECT * FROM drivers_java.nothing",
        "USE nothing_at_all",
        "INSERT INTO drivers_java.pages (id, n) VALUES ('a', 1)",
        "CREATE TABLE drivers_java.pages (id int PRIMARY KEY)",
        "CREATE KEYSPACE drivers_java WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")) {
      try {
        run(text);
        say("refused", text, "not at all");
      } catch (DriverException refused) {
        say("refused", refused.getClass().getSimpleName(), refused.getMessage());
      }
    }
  }

  private void failover() throws IOException {
    PreparedStatement insert = session.prepare("INSERT INTO drivers_java.pages (id, n, v) VALUES (?, ?, ?)");
    PreparedStatement select = session.prepare("SELECT n, v FROM drivers_java.pages WHERE id = ?");
    say("failover");
    for (int read = System.in.read(); read != '\n'; read = System.in.read()) {
      if (read < 0) {
        throw new IOException("standard input ended");
      }
    }
    for (int n = 0; n < ROUNDS; n++) {
      session.execute(insert.bind(60, n, "round " + n));
      say("after", session.execute(select.bind(60)).all().stream().map(Row::getFormattedContents).collect(toList()));
    }
    PreparedStatement update = session.prepare("UPDATE drivers_java.pages SET later = ? WHERE id = 60 AND n = 0");
    session.execute(update.bind("later"));
    PreparedStatement later = session.prepare("SELECT later FROM drivers_java.pages WHERE id = 60 AND n = 0");
    say("prepared after", session.execute(later.bind()).one().getString(0));
  }

  private static void inKeyspace(String address) {
    try (CqlSession session = connect(address, KEYSPACE)) {
      session.execute(session.prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)").bind(30, 1, "unqualified"));
      say("in keyspace", session.execute("SELECT v FROM pages WHERE id = 30").one().getString(0));
      session.execute("USE system");
      say("used", session.getKeyspace().map(CqlIdentifier::asInternal));
      session.execute("USE " + KEYSPACE);
      say("used", session.execute("SELECT v FROM pages WHERE id = 30").one().getString(0));
    }
  }
}
