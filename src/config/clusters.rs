//! The clusters: their names, their nodes, and the addresses that get in each other's way.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::cluster::{self, Compression, ContactPoint, ContactPoints, Name, ProtocolMax};
use crate::pair::Side;

use super::build::{HOUR, word};
use super::fault::did_you_mean;
use super::host::Host;
use super::read::Reader;
use super::redact::shown;
use super::routing::RANDOM;
use super::{Config, auth, tls, value};

const B: &str = "clusters.b";

/// The configured clusters by name, A first.
pub(super) struct Names(pub(super) Vec<(Side, Name)>);

impl Names {
    /// The names in the file, or those of the sides.
    pub(super) fn take(r: &mut Reader) -> Self {
        let mut names = Vec::new();
        for side in Side::ALL {
            if side == Side::A || r.has(B) {
                names.extend(name(r, side).map(|name| (side, name)));
            }
        }
        let names = Self(names);
        if let [(_, a), (_, b)] = names.0.as_slice()
            && a == b
        {
            r.fault(
                "clusters.b.name",
                format!("both clusters are called \"{a}\""),
            );
        }
        names
    }

    /// Which side the text names.
    pub(super) fn side(&self, text: &str) -> Result<Side, String> {
        let named = self.0.iter().find(|(_, name)| name.as_str() == text);
        named.map(|(side, _)| *side).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|(_, name)| name.as_str()).collect();
            let hint = did_you_mean(text, names.iter().copied());
            format!("names no configured cluster ({}){hint}", names.join(", "))
        })
    }
}

fn name(r: &mut Reader, side: Side) -> Option<Name> {
    let parse = |text: &str| match Name::new(text) {
        Some(_) if text == RANDOM => Err("a cluster cannot be called random"),
        Some(name) => Ok(name),
        None => Err("expected a letter or _, then at most 31 letters, digits and _"),
    };
    r.text(&cluster_key(side, "name"), parse)
        .or_else(|| Name::new(side.label()))
}

/// One cluster; `None` only where a fault was noted.
pub(super) fn cluster(
    r: &mut Reader,
    side: Side,
    name: Name,
    protocol_max: ProtocolMax,
    workers: NonZeroUsize,
    host: &Host,
) -> Option<cluster::Config> {
    let key = |word: &str| cluster_key(side, word);
    let contact_points = contact_points(r, &key("contact_points"));
    let local_datacenter = r.text(&key("local_datacenter"), word);
    let connect_timeout = r.duration(
        &key("connect_timeout"),
        cluster::Config::CONNECT_TIMEOUT,
        Duration::from_millis(10)..=Duration::from_secs(300),
    );
    let heartbeat = r.duration(
        &key("heartbeat"),
        cluster::Config::HEARTBEAT,
        Duration::from_millis(100)..=HOUR,
    );
    r.choice(
        &key("state"),
        (),
        &[("serving", Some(())), ("joining", None)],
    );
    let compression = r.choice(
        &key("compression"),
        None,
        &[
            ("none", Some(None)),
            ("lz4", Some(Some(Compression::Lz4))),
            ("snappy", Some(Some(Compression::Snappy))),
        ],
    );
    let seats_max = r.count(
        &key("max_connections_per_host"),
        cluster::Config::SEATS_MAX,
        1_024,
    );
    let hosts = contact_points.iter().flat_map(ContactPoints::iter);
    let hosts = hosts.map(|it| it.host.clone()).collect();
    let tls = tls::client(r, &key("tls"), hosts);
    let account = auth::account(r, &key("auth"), host);
    Some(cluster::Config {
        name,
        contact_points: contact_points?,
        local_datacenter,
        connect_timeout,
        heartbeat,
        protocol_max,
        compression,
        tls,
        account,
        seats_max: seats_max.get() / workers,
    })
}

fn cluster_key(side: Side, word: &str) -> String {
    match side {
        Side::A => format!("clusters.a.{word}"),
        Side::B => format!("clusters.b.{word}"),
    }
}

fn contact_points(r: &mut Reader, key: &str) -> Option<ContactPoints> {
    let items = r.list(key);
    let mut nodes = Vec::new();
    for (key, text) in items.unwrap_or_default() {
        match value::contact_point(&text) {
            Ok(node) => nodes.push(node),
            Err(error) => r.fault(&key, format!("{error}; found {}", shown(&key, &text))),
        }
    }
    if nodes.is_empty() && r.is_sound(key) {
        r.fault(
            key,
            "at least one node is needed, such as [\"127.0.0.11:9042\"]",
        );
    }
    let mut nodes = nodes.into_iter();
    Some(ContactPoints::new(nodes.next()?, nodes))
}

/// Addresses that get in each other's way.
pub(super) fn addresses(r: &mut Reader, config: &Config) {
    let listen = config.session.listen;
    let sound = r.is_sound("listen") && r.is_sound("admin.listen");
    if sound && collide(listen, config.admin.listen) {
        let keys = ["admin.listen", "listen"];
        let [here, there] = if r.has(keys[0]) {
            keys
        } else {
            [keys[1], keys[0]]
        };
        r.fault(here, format!("is the same address as {there}, {listen}"));
    }
    for (side, cluster) in config.clusters.iter() {
        for (at, node) in cluster.contact_points.iter().enumerate() {
            let key = cluster_key(side, &format!("contact_points[{at}]"));
            if r.is_sound("listen") && is_self(node, listen) {
                r.fault(&key, format!("{node} is the proxy's own listen address"));
            }
            if side == Side::B
                && config
                    .clusters
                    .a
                    .contact_points
                    .iter()
                    .any(|a| same(a, node))
            {
                r.fault(
                    &key,
                    format!("{node} is a node of the other cluster as well"),
                );
            }
        }
    }
}

/// Whether both cannot be bound at once. Port 0 is always free.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}

fn is_self(node: &ContactPoint, listen: SocketAddr) -> bool {
    address(node).is_some_and(|ip| {
        let here = ip == listen.ip() || (listen.ip().is_unspecified() && ip.is_loopback());
        here && node.port == listen.port()
    })
}

fn same(one: &ContactPoint, other: &ContactPoint) -> bool {
    let host = match (address(one), address(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.host == other.host,
    };
    host && one.port == other.port
}

/// The node's address where it needs no resolving.
fn address(node: &ContactPoint) -> Option<IpAddr> {
    if node.host == "localhost" {
        return Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    }
    node.host.parse().ok()
}
