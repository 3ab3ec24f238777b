//! A node with shards: which connection a request takes, and what happens where none leads to a shard.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;

use super::*;

const SHARDS: u16 = 4;
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Which shard a connection gets that arrives through the usual port, or from this one through the
/// other.
type Assign = fn(&ShardedNode, Option<u16>) -> u16;

/// A node that tells each connection which shard it leads to.
struct ShardedNode {
    node: Node,
    shards: Cell<u16>,
    id: u128,
    says_id: Says,
    /// Its shard-aware port.
    door: Cell<u16>,
    assign: Assign,
    arrived: Cell<u16>,
    /// Through the shard-aware port.
    aimed: Cell<u16>,
    /// The shards of the connections that are open.
    open: RefCell<Vec<u16>>,
    /// The shard of the connection that a key came by.
    executed: RefCell<Vec<(u16, i32)>>,
    /// Connections to this shard break.
    broken: watch::Sender<Option<u16>>,
    /// Connections to this shard hear nothing any more.
    deaf: Cell<Option<u16>>,
    /// It lets everybody in, answers OPTIONS, and hangs up.
    is_rude: Cell<bool>,
}

/// How the node says which one it is.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// With its shards.
    AtOnce,
    /// In `system.local`, as older releases do.
    IfAsked,
    Never,
}

impl ShardedNode {
    async fn serve(self: Rc<Self>, stream: TcpStream, shard: u16) {
        self.open.borrow_mut().push(shard);
        let mut broken = self.broken.subscribe();
        tokio::select! {
            () = self.talk(stream, shard) => {}
            _ = broken.wait_for(|it| *it == Some(shard)) => {}
        }
        let mut open = self.open.borrow_mut();
        let at = open.iter().position(|it| *it == shard).unwrap();
        open.swap_remove(at);
    }

    async fn talk(&self, stream: TcpStream, shard: u16) {
        let mut wire = Wire::new(stream);
        while let Some(got) = wire.read().await {
            let is_refused = self.is_rude.get() && ![0x01, 0x05].contains(&got.opcode);
            if is_refused || self.deaf.get() == Some(shard) {
                continue;
            }
            let (opcode, body) = match got.opcode {
                0x05 => (0x06, self.supported(shard)),
                QUERY if got.body[4..].starts_with(b"SELECT host_id") => self.local(),
                0x09 => (0x08, self.node.learn(&got.body)),
                0x0A => {
                    let answer = self.node.execute(&got.body);
                    let keys = self.node.executed.take();
                    let keys = keys.into_iter().map(|key| (shard, key));
                    self.executed.borrow_mut().extend(keys);
                    answer
                }
                _ => (0x02, Vec::new()),
            };
            let frame = raw(0x80 | got.version, got.stream, opcode, &body);
            wire.write(&frame).await;
            if self.is_rude.get() && opcode == 0x06 {
                return;
            }
        }
    }

    /// One row of one column, if it says that.
    fn local(&self) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        if self.says_id == Says::Never {
            put::i32(&mut out, 0x2100);
            put::string(&mut out, "no permission");
            return (0x00, out);
        }
        for number in [2, 1, 1] {
            put::i32(&mut out, number);
        }
        for text in ["system", "local", "host_id"] {
            put::string(&mut out, text);
        }
        put::u16(&mut out, 0x0C);
        put::i32(&mut out, 1);
        put::bytes(&mut out, &self.id.to_be_bytes());
        (0x08, out)
    }

    fn supported(&self, shard: u16) -> Vec<u8> {
        let mut options = vec![
            ("SCYLLA_SHARD", shard.to_string()),
            ("SCYLLA_NR_SHARDS", self.shards.get().to_string()),
            ("SCYLLA_PARTITIONER", "a.Murmur3Partitioner".to_owned()),
            (
                "SCYLLA_SHARDING_ALGORITHM",
                "biased-token-round-robin".to_owned(),
            ),
            ("SCYLLA_SHARDING_IGNORE_MSB", "12".to_owned()),
            ("SCYLLA_SHARD_AWARE_PORT", self.door.get().to_string()),
        ];
        if self.says_id == Says::AtOnce {
            options.push(("SCYLLA_HOST_ID", format!("{:032x}", self.id)));
        }
        let mut body = Vec::new();
        put::u16(&mut body, u16::try_from(options.len()).unwrap());
        for (key, value) in options {
            put::string(&mut body, key);
            put::u16(&mut body, 1);
            put::string(&mut body, &value);
        }
        body
    }

    /// The connections that are open, by shard.
    fn open(&self) -> Vec<u16> {
        let mut open = self.open.borrow().clone();
        open.sort_unstable();
        open
    }
}

/// As the node should: the port names the shard; without that, one after the other.
fn honest(node: &ShardedNode, port: Option<u16>) -> u16 {
    port.unwrap_or_else(|| node.arrived.get() - node.aimed.get() - 1) % node.shards.get()
}

/// Source ports arrive as others: after the first, whoever comes gets shard 1.
fn behind_nat(node: &ShardedNode, _port: Option<u16>) -> u16 {
    u16::from(1 < node.arrived.get())
}

async fn accept(node: Rc<ShardedNode>, listener: TcpListener, is_door: bool) {
    let mut connections = JoinSet::new();
    while let Ok((stream, from)) = listener.accept().await {
        node.arrived.set(node.arrived.get() + 1);
        node.aimed.set(node.aimed.get() + u16::from(is_door));
        let shard = (node.assign)(&node, is_door.then_some(from.port()));
        connections.spawn_local(Rc::clone(&node).serve(stream, shard));
    }
}

/// A node that is not served yet.
fn node(shards: u16, says_id: Says, assign: Assign) -> Rc<ShardedNode> {
    static IDS: AtomicU64 = AtomicU64::new(1);
    Rc::new(ShardedNode {
        node: Node::default(),
        shards: Cell::new(shards),
        id: IDS.fetch_add(1, Ordering::Relaxed).into(),
        says_id,
        door: Cell::default(),
        assign,
        arrived: Cell::default(),
        aimed: Cell::default(),
        open: RefCell::default(),
        executed: RefCell::default(),
        broken: watch::Sender::new(None),
        deaf: Cell::default(),
        is_rude: Cell::default(),
    })
}

/// A is a node with so many shards that says which one it is; its shard-aware port is closed unless said
/// otherwise.
async fn sharded<F: Future<Output = ()>>(
    shards: u16,
    (assign, is_open): (Assign, bool),
    story: impl FnOnce(Stage, Rc<ShardedNode>) -> F,
) {
    staged_over(node(shards, Says::AtOnce, assign), is_open, story).await;
}

async fn staged_over<F: Future<Output = ()>>(
    node: Rc<ShardedNode>,
    is_open: bool,
    story: impl FnOnce(Stage, Rc<ShardedNode>) -> F,
) {
    let on_stage = async {
        let usual = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = points(Side::A, &[usual.local_addr().unwrap()]);
        config.seats_max = SHARDS.into();
        config.heartbeat = HEARTBEAT;
        node.door.set(door.local_addr().unwrap().port());
        let mut tasks = JoinSet::new();
        tasks.spawn_local(accept(Rc::clone(&node), usual, false));
        if is_open {
            tasks.spawn_local(accept(Rc::clone(&node), door, true));
        } else {
            drop(door);
        }
        story(Stage::over(Vec::new(), config, None).await, node).await;
    };
    LocalSet::new().run_until(on_stage).await;
}

/// By the words of ScyllaDB's document, in integers that cannot overflow.
fn shard(key: i32, shards: u16) -> u16 {
    let biased = (i128::from(token(key)) + (1 << 63)) << 12;
    let shard = biased.rem_euclid(1 << 64) * i128::from(shards) / (1 << 64);
    u16::try_from(shard).unwrap()
}

/// How many came by a connection to their own shard, of how many.
fn hits(node: &ShardedNode) -> (usize, usize) {
    let executed = node.executed.take();
    let hit = |it: &&(u16, i32)| it.0 == shard(it.1, node.shards.get());
    (executed.iter().filter(hit).count(), executed.len())
}

async fn eventually(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    waited.expect("it never was so");
}

/// Until connections lead to these shards, and the proxy knows it.
async fn settled(node: &ShardedNode, shards: &[u16]) {
    eventually(|| node.open() == shards).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn a_request_takes_the_connection_to_the_shard_of_its_row() {
    sharded(SHARDS, (honest, true), async |mut stage, node| {
        for text in [READ, WRITE] {
            let id = stage.prepare(text).await;
            settled(&node, &[0, 1, 2, 3]).await;
            stage.executes(&id, 0..200).await;
            let executed = node.executed.borrow().clone();
            for shard in 0..SHARDS {
                let keys = executed.iter().filter(|it| it.0 == shard).count();
                assert!(20 < keys, "{text}: shard {shard} got {keys}");
            }
            assert_eq!(hits(&node), (200, 200), "{text}");
        }
        assert_eq!((node.arrived.get(), node.aimed.get()), (4, 3));
        let unprepared = node.node.unprepared.get();
        assert_eq!(unprepared, 0, "the node was taught as a whole");
    })
    .await;
}

#[tokio::test]
async fn shards_beyond_the_connections_share_them() {
    sharded(2 * SHARDS, (honest, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        eventually(|| node.open().len() == usize::from(SHARDS)).await;
        settled(&node, &node.open()).await;
        stage.executes(&id, 0..200).await;
        for (reached, key) in node.executed.take() {
            let wanted = shard(key, 2 * SHARDS);
            assert_eq!(reached / 2, wanted / 2, "key {key} of shard {wanted}");
        }
        assert_eq!(node.open().len(), usize::from(SHARDS));
    })
    .await;
}

#[tokio::test]
async fn where_the_shard_aware_port_is_closed_the_usual_one_serves() {
    sharded(SHARDS, (honest, false), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        settled(&node, &[0, 1, 2, 3]).await;
        stage.executes(&id, 0..200).await;
        let all = hits(&node);
        assert_eq!(all, (200, 200), "the node dealt out its shards itself");
        assert_eq!((node.arrived.get(), node.aimed.get()), (4, 0));
        assert_eq!(stage.strikes(), 0);
    })
    .await;
}

#[tokio::test]
async fn behind_a_nat_all_is_served_and_the_node_is_not_dialled_without_end() {
    sharded(SHARDS, (behind_nat, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        eventually(|| node.arrived.get() == 4).await;
        for _ in 0..12 {
            stage.executes(&id, 0..20).await;
            tokio::time::sleep(HEARTBEAT).await;
        }
        let (hits, executed) = hits(&node);
        assert!((60..180).contains(&hits), "{hits}: two of four are reached");
        assert_eq!((executed, stage.strikes()), (240, 0));
        settled(&node, &[0, 1]).await;
        // Three seats once; then two in the rounds at heartbeats 2, 5 and 10, every other one aimed.
        let (arrived, aimed) = (node.arrived.get(), node.aimed.get());
        assert!((8..=4 + 3 * 2).contains(&arrived), "{arrived} dials");
        assert_eq!(aimed, 3 + 2, "by turns through both ports");
    })
    .await;
}

#[tokio::test]
async fn a_connection_to_a_shard_that_breaks_is_missed_by_nobody_and_replaced() {
    sharded(SHARDS, (honest, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        settled(&node, &[0, 1, 2, 3]).await;
        for shard in 0..SHARDS {
            node.broken.send_replace(Some(shard));
            eventually(|| !node.open().contains(&shard)).await;
            node.broken.send_replace(None);
            stage.executes(&id, 0..50).await;
            assert_eq!(node.executed.take().len(), 50);
            settled(&node, &[0, 1, 2, 3]).await;
        }
        stage.executes(&id, 0..50).await;
        assert_eq!(hits(&node), (50, 50));
        assert_eq!((node.arrived.get(), stage.strikes()), (8, 0));
    })
    .await;
}

#[tokio::test]
async fn a_node_without_shards_keeps_its_one_connection() {
    sharded(0, (behind_nat, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        stage.executes(&id, 0..50).await;
        tokio::time::sleep(4 * HEARTBEAT).await;
        assert_eq!((node.arrived.get(), node.open()), (1, vec![0]));
        assert_eq!(node.executed.take().len(), 50);
    })
    .await;
}

/// Two clusters behind one address, of which only one has its shard-aware port mapped.
#[tokio::test]
async fn a_shard_aware_port_that_leads_to_another_node_gets_no_requests() {
    for says in [Says::AtOnce, Says::IfAsked] {
        let (node, other) = (node(SHARDS, says, honest), node(SHARDS, says, honest));
        staged_over(node, false, async |mut stage, node| {
            let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
            node.door.set(door.local_addr().unwrap().port());
            let mut tasks = JoinSet::new();
            tasks.spawn_local(accept(Rc::clone(&other), door, true));
            let id = stage.prepare(WRITE).await;
            eventually(|| other.arrived.get() == 3).await;
            stage.executes(&id, 0..100).await;
            // The next round goes through the usual port.
            settled(&node, &[0, 1, 2, 3]).await;
            node.executed.take();
            stage.executes(&id, 0..100).await;
            assert_eq!(hits(&node), (100, 100));
            assert_eq!((other.executed.take(), other.open()), (vec![], vec![]));
            assert_eq!((other.arrived.get(), stage.strikes()), (3, 0));
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_that_does_not_say_with_its_shards_which_one_it_is_is_asked() {
    let node = node(SHARDS, Says::IfAsked, honest);
    staged_over(node, true, async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        settled(&node, &[0, 1, 2, 3]).await;
        stage.executes(&id, 0..100).await;
        assert_eq!(hits(&node), (100, 100));
        assert_eq!((node.arrived.get(), node.aimed.get()), (4, 3));
    })
    .await;
}

#[tokio::test]
async fn a_node_that_never_says_which_one_it_is_keeps_its_one_connection() {
    let node = node(SHARDS, Says::Never, honest);
    staged_over(node, true, async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        stage.executes(&id, 0..50).await;
        tokio::time::sleep(4 * HEARTBEAT).await;
        assert_eq!((node.arrived.get(), node.open()), (1, vec![0]));
        assert_eq!((node.executed.take().len(), stage.strikes()), (50, 0));
    })
    .await;
}

#[tokio::test]
async fn requests_lost_with_one_of_several_connections_are_no_outage_and_with_all_they_are() {
    sharded(SHARDS, (honest, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        settled(&node, &[0, 1, 2, 3]).await;
        // Also the first connection, which leads to shard 0, is one of several.
        for shard in [0, 2] {
            node.deaf.set(Some(shard));
            stage.burst(&id, 0..40).await;
            eventually(|| 20 < node.executed.borrow().len()).await;
            node.broken.send_replace(Some(shard));
            eventually(|| !node.open().contains(&shard)).await;
            node.broken.send_replace(None);
            node.deaf.set(None);
            settled(&node, &[0, 1, 2, 3]).await;
            assert_eq!(stage.strikes(), 0, "shard {shard}");
            node.executed.take();
        }
        node.is_rude.set(true);
        stage.burst(&id, 0..40).await;
        for shard in 0..SHARDS {
            node.broken.send_replace(Some(shard));
            eventually(|| !node.open().contains(&shard)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(0 < stage.strikes());
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_alone_is_silent_is_replaced_and_its_node_is_not_blamed() {
    sharded(SHARDS, (honest, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        settled(&node, &[0, 1, 2, 3]).await;
        node.deaf.set(Some(2));
        stage.executes(&id, 0..50).await;
        eventually(|| !node.open().contains(&2)).await;
        node.deaf.set(None);
        settled(&node, &[0, 1, 2, 3]).await;
        node.executed.take();
        stage.executes(&id, 0..50).await;
        assert_eq!(hits(&node), (50, 50));
        // One more if it was dialled before it could hear again.
        assert!([5, 6].contains(&node.arrived.get()));
        assert_eq!(stage.strikes(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_answers_options_and_hangs_up_is_left_alone() {
    sharded(SHARDS, (honest, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        settled(&node, &[0, 1, 2, 3]).await;
        node.is_rude.set(true);
        for shard in 0..SHARDS {
            node.broken.send_replace(Some(shard));
            eventually(|| !node.open().contains(&shard)).await;
        }
        node.broken.send_replace(None);
        let before = node.arrived.get();
        let end = tokio::time::Instant::now() + Duration::from_secs(1);
        while tokio::time::Instant::now() < end {
            stage.executes(&id, 0..1).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let arrived = node.arrived.get() - before;
        assert!((1..20).contains(&arrived), "{arrived} connections");
    })
    .await;
}

#[tokio::test]
async fn a_node_that_is_back_with_other_shards_gets_connections_to_those() {
    sharded(SHARDS, (honest, true), async |mut stage, node| {
        let id = stage.prepare(WRITE).await;
        settled(&node, &[0, 1, 2, 3]).await;
        node.shards.set(3);
        for shard in 0..SHARDS {
            node.broken.send_replace(Some(shard));
            eventually(|| !node.open().contains(&shard)).await;
        }
        node.broken.send_replace(None);
        stage.executes(&id, 0..50).await;
        settled(&node, &[0, 1, 2]).await;
        node.executed.take();
        stage.executes(&id, 0..200).await;
        assert_eq!(hits(&node), (200, 200));
    })
    .await;
}
