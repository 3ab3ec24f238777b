//! What an application does with the Rust driver and its defaults; prints what it saw, so that two runs compare.
//!
//!     driver HOST:PORT [lz4|snappy]
//!
//! Near the end it says "failover" and waits for a line on its standard input: whoever runs it may take a server away.

use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;

use futures::{StreamExt, TryStreamExt, stream};
use scylla::client::Compression;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::response::PagingState;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use scylla::value::{
    Counter, CqlDate, CqlDecimal, CqlDuration, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue,
    CqlVarint, Row, Unset,
};
use scylla::{DeserializeValue, SerializeRow, SerializeValue};

const KEYSPACE: &str = "drivers_rust";
const ROWS: i32 = 257;
const PAGE: i32 = 50;
const ROUNDS: i32 = 5;

type Done = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("usage: driver HOST:PORT")?;
    let compression = match arguments.next().as_deref() {
        None => None,
        Some("lz4") => Some(Compression::Lz4),
        Some("snappy") => Some(Compression::Snappy),
        Some(other) => return Err(format!("unknown compression: {other}").into()),
    };
    let session = SessionBuilder::new()
        .known_node(&address)
        .compression(compression)
        .build()
        .await?;
    println!("connected");
    system_tables(&session).await?;
    schema(&session).await?;
    kinds(&session).await?;
    pages(&session).await?;
    batches(&session).await?;
    odds(&session).await?;
    traces(&session).await?;
    refusals(&session).await;
    failover(&session).await?;
    println!("done");
    Ok(())
}

async fn run(session: &Session, text: &str) -> Done {
    session
        .query_unpaged(text, &[])
        .await
        .map_err(|error| format!("{text}: {error}"))?;
    Ok(())
}

async fn system_tables(session: &Session) -> Done {
    let local = session
        .prepare("SELECT key, data_center, rack FROM system.local WHERE key = ?")
        .await?;
    let row = session
        .execute_unpaged(&local, ("local",))
        .await?
        .into_rows_result()?;
    println!(
        "system.local {:?}",
        row.first_row::<(String, String, String)>()?
    );
    let nobody = session
        .execute_unpaged(&local, ("nobody",))
        .await?
        .into_rows_result()?;
    println!("system.local nobody {}", nobody.rows_num());
    for table in ["system.local", "system.peers", "system.peers_v2"] {
        let count = session
            .query_unpaged(format!("SELECT count(*) FROM {table}"), &[])
            .await?
            .into_rows_result()?;
        println!("{table} count {}", count.first_row::<(i64,)>()?.0);
    }
    let state = session.get_cluster_state();
    println!(
        "nodes {} with tokens {}",
        state.get_nodes_info().len(),
        !state.replica_locator().ring().is_empty()
    );
    Ok(())
}

async fn schema(session: &Session) -> Done {
    run(session, &format!("DROP KEYSPACE IF EXISTS {KEYSPACE}")).await?;
    run(
        session,
        &format!(
            "CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        ),
    )
    .await?;
    session.use_keyspace(KEYSPACE, false).await?;
    for text in [
        "CREATE TYPE place (street text, number int)",
        "CREATE TABLE kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, d date, de decimal, dou double, \
         du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid, tn tinyint, \
         u uuid, v varchar, vi varint, l list<int>, se set<text>, m map<text, int>, tp tuple<int, text>, \
         p frozen<place>, nested map<text, frozen<list<int>>>, vec vector<float, 3>)",
        "CREATE TABLE pages (id int, n int, v text, PRIMARY KEY (id, n))",
        "CREATE TABLE counts (id int PRIMARY KEY, n counter)",
        "CREATE TABLE once (id int PRIMARY KEY, n int)",
        "ALTER TABLE pages ADD later text",
    ] {
        run(session, text).await?;
    }
    session.await_schema_agreement().await?;
    session.refresh_metadata().await?;
    let state = session.get_cluster_state();
    let keyspace = state
        .get_keyspace(KEYSPACE)
        .ok_or("the keyspace is missing")?;
    let mut tables: Vec<_> = keyspace.tables.keys().collect();
    tables.sort();
    println!(
        "tables {tables:?} {}",
        keyspace.tables["pages"].columns.len()
    );
    Ok(())
}

#[derive(Debug, DeserializeValue, SerializeValue)]
struct Place {
    street: String,
    number: i32,
}

#[derive(SerializeRow)]
struct Kinds {
    id: i32,
    a: String,
    b: i64,
    bl: Vec<u8>,
    bo: bool,
    d: CqlDate,
    de: CqlDecimal,
    dou: f64,
    du: CqlDuration,
    f: f32,
    i: std::net::IpAddr,
    n: i32,
    s: i16,
    t: String,
    ti: CqlTime,
    ts: CqlTimestamp,
    tu: CqlTimeuuid,
    tn: i8,
    u: CqlValue,
    v: String,
    vi: CqlVarint,
    l: Vec<i32>,
    se: Vec<String>,
    m: HashMap<String, i32>,
    tp: (i32, String),
    p: Place,
    nested: HashMap<String, Vec<i32>>,
    vec: Vec<f32>,
}

fn one_of_each() -> Result<Kinds, Box<dyn Error>> {
    let timeuuid: CqlTimeuuid = "50554d6e-29bb-11e5-b345-feff819cdc9f".parse()?;
    Ok(Kinds {
        id: 1,
        a: "ascii".into(),
        b: 1 << 60,
        bl: vec![0, 255],
        bo: true,
        d: CqlDate((1 << 31) + 19_782),
        de: CqlDecimal::from_signed_be_bytes_and_exponent(vec![0xfe, 0x1d, 0xc6], 4),
        dou: 1.5e300,
        du: CqlDuration {
            months: 1,
            days: 2,
            nanoseconds: 3,
        },
        f: 0.5,
        i: "2001:db8::1".parse()?,
        n: -1,
        s: -32_768,
        t: "text \u{2603}".into(),
        ti: CqlTime(1),
        ts: CqlTimestamp(1_704_164_645_678),
        tu: timeuuid,
        tn: 127,
        u: CqlValue::Uuid(*timeuuid.as_ref()),
        v: String::new(),
        vi: CqlVarint::from_signed_bytes_be(vec![0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        l: vec![3, 1, 2],
        se: vec!["x".into(), "y".into()],
        m: HashMap::from([("k".into(), 1)]),
        tp: (1, "one".into()),
        p: Place {
            street: "Main".into(),
            number: 1,
        },
        nested: HashMap::from([("k".into(), vec![1, 2])]),
        vec: vec![0.5, 0.25, -1.0],
    })
}

async fn kinds(session: &Session) -> Done {
    let columns = "id, a, b, bl, bo, d, de, dou, du, f, i, n, s, t, ti, ts, tu, tn, u, v, vi, l, se, m, tp, p, nested, vec";
    let marks = vec!["?"; columns.split(',').count()].join(", ");
    let insert = session
        .prepare(format!("INSERT INTO kinds ({columns}) VALUES ({marks})"))
        .await?;
    session.execute_unpaged(&insert, one_of_each()?).await?;
    let select = session
        .prepare(format!("SELECT {columns} FROM kinds WHERE id = ?"))
        .await?;
    let rows = session
        .execute_unpaged(&select, (1,))
        .await?
        .into_rows_result()?;
    for (name, value) in columns.split(", ").zip(rows.first_row::<Row>()?.columns) {
        println!("kind {name} {value:?}");
    }

    let narrow = session
        .prepare("INSERT INTO kinds (id, n, t) VALUES (?, ?, ?)")
        .await?;
    session.execute_unpaged(&narrow, (2, 4, "kept")).await?;
    session.execute_unpaged(&narrow, (2, 5, Unset)).await?;
    session
        .execute_unpaged(&narrow, (3, 5, None::<String>))
        .await?;
    for id in [2, 3] {
        let rows = session
            .query_unpaged("SELECT n, t FROM kinds WHERE id = ?", (id,))
            .await?
            .into_rows_result()?;
        println!(
            "unset and null {id} {:?}",
            rows.first_row::<(i32, Option<String>)>()?
        );
    }
    Ok(())
}

async fn pages(session: &Session) -> Done {
    let insert = session
        .prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)")
        .await?;
    let inserts = (0..ROWS).map(|n| {
        let insert = &insert;
        async move {
            session
                .execute_unpaged(insert, (1, n, format!("v{n}")))
                .await
        }
    });
    stream::iter(inserts)
        .buffer_unordered(100)
        .try_for_each(async |_| Ok(()))
        .await?;

    let mut select = session.prepare("SELECT n FROM pages WHERE id = ?").await?;
    select.set_page_size(PAGE);
    let (mut state, mut sizes, mut found) = (PagingState::start(), Vec::new(), Vec::new());
    loop {
        let (result, next) = session.execute_single_page(&select, (1,), state).await?;
        let rows = result.into_rows_result()?;
        sizes.push(rows.rows_num());
        for row in rows.rows::<(i32,)>()? {
            found.push(row?.0);
        }
        match next.into_paging_control_flow() {
            ControlFlow::Break(()) => break,
            ControlFlow::Continue(after) => state = after,
        }
    }
    println!("pages {sizes:?} {}", found == (0..ROWS).collect::<Vec<_>>());
    let all = Statement::new("SELECT n FROM pages").with_page_size(PAGE);
    let count = session
        .query_iter(all, &[])
        .await?
        .rows_stream::<(i32,)>()?
        .try_fold(0, async |sum, _| Ok(sum + 1));
    println!("iterated {}", count.await?);
    Ok(())
}

async fn batches(session: &Session) -> Done {
    let insert = session
        .prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)")
        .await?;
    for (id, kind) in [(10, BatchType::Logged), (11, BatchType::Unlogged)] {
        let mut batch = Batch::new(kind);
        batch.append_statement(insert.clone());
        batch.append_statement("INSERT INTO pages (id, n, v) VALUES (?, 2, 'two')");
        batch.append_statement(Statement::new(format!(
            "DELETE FROM pages WHERE id = {id} AND n = 3"
        )));
        session.batch(&batch, ((id, 1, "one"), (id,), ())).await?;
        let rows = session
            .query_unpaged("SELECT n, v FROM pages WHERE id = ?", (id,))
            .await?
            .into_rows_result()?;
        println!(
            "batch {id} {:?}",
            rows.rows::<(i32, String)>()?
                .collect::<Result<Vec<_>, _>>()?
        );
    }
    let add = session
        .prepare("UPDATE counts SET n = n + ? WHERE id = ?")
        .await?;
    let mut counter = Batch::new(BatchType::Counter);
    for _ in 0..3 {
        counter.append_statement(add.clone());
    }
    session
        .batch(
            &counter,
            ((Counter(1), 1), (Counter(2), 1), (Counter(3), 1)),
        )
        .await?;
    run(session, "UPDATE counts SET n = n - 1 WHERE id = 1").await?;
    let rows = session
        .query_unpaged("SELECT n FROM counts WHERE id = 1", &[])
        .await?
        .into_rows_result()?;
    println!("counter {:?}", rows.first_row::<(Counter,)>()?.0);
    Ok(())
}

async fn odds(session: &Session) -> Done {
    run(session, "INSERT INTO pages (id, n, v) VALUES (20, 1, 'timed') USING TIMESTAMP 1234567890 AND TTL 5000").await?;
    let mut stamped =
        Statement::new("INSERT INTO pages (id, n, v) VALUES (20, 2, 'by the driver')");
    stamped.set_timestamp(Some(1_234_567_891));
    session.query_unpaged(stamped, &[]).await?;
    let rows = session
        .query_unpaged("SELECT writetime(v) FROM pages WHERE id = 20", &[])
        .await?
        .into_rows_result()?;
    println!(
        "timestamps {:?}",
        rows.rows::<(i64,)>()?.collect::<Result<Vec<_>, _>>()?
    );
    for _ in 0..2 {
        let text = "INSERT INTO once (id, n) VALUES (1, 1) IF NOT EXISTS";
        let rows = session.query_unpaged(text, &[]).await?.into_rows_result()?;
        println!("conditional {:?}", rows.first_row::<Row>()?.columns.first());
    }
    let large = "x".repeat(2_000_000);
    session
        .query_unpaged(
            "INSERT INTO pages (id, n, later) VALUES (?, ?, ?)",
            (22, 1, &large),
        )
        .await?;
    let rows = session
        .query_unpaged("SELECT later FROM pages WHERE id = 22", &[])
        .await?
        .into_rows_result()?;
    println!("big value {}", rows.first_row::<(String,)>()?.0 == large);
    run(session, "TRUNCATE counts").await?;
    run(session, "DROP TABLE counts").await
}

async fn refusals(session: &Session) {
    for text in [
        "SELEC 1",
        "SELECT * FROM nothing",
        "INSERT INTO pages (id, n) VALUES ('a', 1)",
    ] {
        println!(
            "refused {}",
            session.query_unpaged(text, &[]).await.is_err()
        );
    }
}

async fn traces(session: &Session) -> Done {
    let mut insert = Statement::new("INSERT INTO pages (id, n, v) VALUES (23, 1, 'traced')");
    insert.set_tracing(true);
    let mut select = session.prepare("SELECT v FROM pages WHERE id = 23").await?;
    select.set_tracing(true);
    let mut batch = Batch::new(BatchType::Logged);
    batch.append_statement("INSERT INTO pages (id, n, v) VALUES (24, 1, 'traced')");
    batch.set_tracing(true);
    for traced in [
        session.query_unpaged(insert, &[]).await?,
        session.execute_unpaged(&select, &[]).await?,
        session.batch(&batch, ((),)).await?,
    ] {
        let id = traced.tracing_id().ok_or("no tracing id")?;
        let trace = session.get_tracing_info(&id).await?;
        println!("trace {:?} {}", trace.command, !trace.events.is_empty());
    }
    Ok(())
}

async fn failover(session: &Session) -> Done {
    let insert = session
        .prepare("INSERT INTO pages (id, n, v) VALUES (?, ?, ?)")
        .await?;
    let select = session
        .prepare("SELECT n, v FROM pages WHERE id = ?")
        .await?;
    println!("failover");
    // The driver lives on meanwhile.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    for n in 0..ROUNDS {
        session
            .execute_unpaged(&insert, (60, n, format!("round {n}")))
            .await?;
        let rows = session
            .execute_unpaged(&select, (60,))
            .await?
            .into_rows_result()?;
        println!(
            "after {:?}",
            rows.rows::<(i32, String)>()?
                .collect::<Result<Vec<_>, _>>()?
        );
    }
    let update = session
        .prepare("UPDATE pages SET later = ? WHERE id = 60 AND n = 0")
        .await?;
    session.execute_unpaged(&update, ("later",)).await?;
    let later = session
        .prepare("SELECT later FROM pages WHERE id = 60 AND n = 0")
        .await?;
    let rows = session
        .execute_unpaged(&later, &[])
        .await?
        .into_rows_result()?;
    println!("prepared after {:?}", rows.first_row::<(String,)>()?.0);
    Ok(())
}
