import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.cql.BoundStatementBuilder;
import com.datastax.oss.driver.api.core.cql.ColumnDefinition;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.data.CqlDuration;
import com.datastax.oss.driver.api.core.data.CqlVector;
import com.datastax.oss.driver.api.core.type.DataTypes;
import com.datastax.oss.driver.api.core.type.UserDefinedType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;

/** Writes one value of each type, prepared, and reads it back; then nulls, and values left unset. */
class Kinds {
  static final String TABLE =
      "CREATE TABLE %s.kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal,"
          + " dou double, du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid,"
          + " tn tinyint, u uuid, v varchar, vi varint, l list<int>, se set<text>, m map<text, int>,"
          + " tp tuple<int, text>, p frozen<place>, fl frozen<list<text>>, nested map<text, frozen<list<int>>>,"
          + " vec vector<float, 3>)";

  private final CqlSession session;

  Kinds(CqlSession session) {
    this.session = session;
  }

  void all() {
    Map<String, Object> values = values();
    PreparedStatement insert = insert(values);
    write(insert, 1, values);
    Row row = read(1);
    for (ColumnDefinition column : row.getColumnDefinitions()) {
      Driver.say("kind", column.getName(), column.getType().asCql(true, false), shown(row, column));
    }
    Driver.say("nearest", session.execute(
        "SELECT id FROM drivers_java.kinds ORDER BY vec ANN OF [0.5, 0.25, -1.0] LIMIT 1").one().getInt(0));
    nulls(insert);
    unset(insert, values);
  }

  private String shown(Row row, ColumnDefinition column) {
    return row.codecRegistry().codecFor(column.getType()).format(row.getObject(column.getName()));
  }

  private Map<String, Object> values() {
    Map<String, Object> values = new LinkedHashMap<>();
    values.put("a", "ascii");
    values.put("b", 1L << 60);
    values.put("bl", ByteBuffer.wrap(new byte[] {0, -1}));
    values.put("bo", true);
    values.put("d", LocalDate.of(2024, 2, 29));
    values.put("de", new BigDecimal("-12.3450"));
    values.put("dou", 1.5e300);
    values.put("du", CqlDuration.newInstance(1, 2, 3));
    values.put("f", 0.5f);
    values.put("i", address("2001:db8::1"));
    values.put("n", -1);
    values.put("s", (short) -32768);
    values.put("t", "text \u2603");
    values.put("ti", LocalTime.ofNanoOfDay(1));
    values.put("ts", Instant.parse("2024-01-02T03:04:05.678Z"));
    values.put("tu", UUID.fromString("50554d6e-29bb-11e5-b345-feff819cdc9f"));
    values.put("tn", (byte) 127);
    values.put("u", new UUID(0, 7));
    values.put("v", "");
    values.put("vi", BigInteger.TWO.pow(100).negate());
    values.put("l", List.of(3, 1, 2));
    values.put("se", Set.of("x", "y"));
    values.put("m", Map.of("k", 1));
    values.put("tp", DataTypes.tupleOf(DataTypes.INT, DataTypes.TEXT).newValue(1, "one"));
    values.put("p", place().newValue("Main", 1));
    values.put("fl", List.of("a", "b"));
    values.put("nested", Map.of("k", List.of(1, 2)));
    values.put("vec", CqlVector.newInstance(0.5f, 0.25f, -1f));
    return values;
  }

  private static InetAddress address(String text) {
    try {
      return InetAddress.getByName(text);
    } catch (UnknownHostException impossible) {
      throw new AssertionError(impossible);
    }
  }

  private UserDefinedType place() {
    return session.getMetadata().getKeyspace(Driver.KEYSPACE).orElseThrow().getUserDefinedType("place").orElseThrow();
  }

  private PreparedStatement insert(Map<String, Object> values) {
    String names = String.join(", ", values.keySet());
    String markers = ":" + String.join(", :", values.keySet());
    return session.prepare("INSERT INTO drivers_java.kinds (id, " + names + ") VALUES (:id, " + markers + ")");
  }

  private void write(PreparedStatement insert, int id, Map<String, Object> values) {
    BoundStatementBuilder bound = insert.boundStatementBuilder().setInt("id", id);
    values.forEach((name, value) ->
        bound.set(name, value, bound.codecRegistry().codecFor(bound.getType(name), value)));
    session.execute(bound.build());
  }

  private Row read(int id) {
    return session.execute("SELECT * FROM drivers_java.kinds WHERE id = ?", id).one();
  }

  private void nulls(PreparedStatement insert) {
    BoundStatementBuilder bound = insert.boundStatementBuilder().setInt("id", 2);
    for (int column = 1; column < insert.getVariableDefinitions().size(); column++) {
      bound.setToNull(column);
    }
    session.execute(bound.build());
    Row row = read(2);
    int nulls = 0;
    for (int column = 0; column < row.size(); column++) {
      nulls += row.isNull(column) ? 1 : 0;
    }
    Driver.say("nulls", nulls);
  }

  /** What the driver is not told it leaves unset. */
  private void unset(PreparedStatement insert, Map<String, Object> values) {
    write(insert, 2, values);
    session.execute(insert.boundStatementBuilder().setInt("id", 2).setInt("n", 5).build());
    Row row = read(2);
    Driver.say("unset kept", row.getInt("n"), row.getString("t"), row.getVector("vec", Float.class));
  }
}
