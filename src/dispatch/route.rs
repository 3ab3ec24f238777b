//! Which node of a cluster a request goes to, and where it goes next when one fails.

use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner as _, PartitionerHasher as _};

use super::registry::Entry;
use super::request::{Request, What};
use super::table::Key;
use super::{Client, Desk};
use crate::cluster::{Lost, Target};
use crate::pair::Side;
use crate::policy::Verdict;
use crate::statement::Class;
use crate::wire::Cursor;
use crate::wire::cursor::Value;
use crate::wire::request::{Batch, Execute, Values};

/// Nodes that one request may be sent to because another failed, on each side.
const HOPS_MAX: u8 = 3;

impl<C: Client> Request<C> {
    /// Where it should go on this side.
    #[inline]
    pub(super) fn target(&self, side: Side, heeds_tokens: bool) -> Target<'_> {
        if !heeds_tokens {
            return Target::Any;
        }
        match self.legs[side].host {
            Some(host) => Target::Host(host),
            None => self.replica(side).unwrap_or_default(),
        }
    }

    fn replica(&self, side: Side) -> Option<Target<'_>> {
        let cursor = Cursor::new(self.content());
        match &self.what {
            What::Execute(entry) => {
                let execute = Execute::parse(cursor, self.version).ok()?;
                replica(entry, side, execute.parameters.values?)
            }
            What::Batch(batched) => {
                let batch = Batch::parse(cursor, self.version).ok()?;
                let mut children = batch.children().zip(&batched.entries);
                children.find_map(|(child, entry)| replica(entry.as_ref()?, side, child.values))
            }
            What::Prepare(_) | What::Query(_) => None,
        }
    }
}

fn replica<'a>(entry: &'a Entry, side: Side, values: Values<'_>) -> Option<Target<'a>> {
    let table = entry.known.statement.table.as_ref()?;
    let keyspace = table.keyspace_in(entry.template.keyspace.as_deref())?;
    let token = token(values, &entry.called(side)?.key)?;
    Some(Target::Replica { keyspace, token })
}

/// The token of the partition whose key is bound at these places, as Cassandra's Murmur3Partitioner
/// has it: of several columns each is hashed with its length before it and a zero behind.
fn token(values: Values<'_>, key: &[u16]) -> Option<i64> {
    if values.named || key.is_empty() {
        return None;
    }
    let mut hasher = Murmur3Partitioner.build_hasher();
    for place in key {
        let Some(Value::Set(bytes)) = values.at(usize::from(*place)) else {
            return None;
        };
        if key.len() == 1 {
            hasher.write(bytes);
        } else {
            hasher.write(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
            hasher.write(bytes);
            hasher.write(&[0]);
        }
    }
    Some(hasher.finish().value())
}

/// Whether it may be run twice. A conditional may not: the second run would find what the first did.
fn only_reads(what: &What) -> bool {
    let class = match what {
        What::Execute(entry) => &entry.known.statement.class,
        What::Query(known) => &known.statement.class,
        What::Prepare(_) => return true,
        What::Batch(_) => return false,
    };
    matches!(
        class,
        Class::Describe | Class::Read | Class::System | Class::Traces
    )
}

impl<C: Client> Desk<C> {
    /// Sends a request whose node failed to another one of the same cluster, where that is safe and
    /// there is one: what was never sent, and reads. `None` if not.
    pub(super) fn hop(
        &self,
        key: Key,
        request: &mut Request<C>,
        side: Side,
        lost: &Lost,
    ) -> Option<Result<(), Verdict>> {
        let cluster = self.cluster(request.login.as_ref(), side)?;
        let leg = &request.legs[side];
        let may = match lost {
            Lost::Dial(_) | Lost::Unsure(_) => cluster.is_reachable(),
            Lost::Version(_) => cluster.has_choice(),
            // Once: what it asks for may be what broke the connection.
            Lost::Broken(_) => leg.hops == 0 && only_reads(&request.what) && cluster.is_served(),
            // Another node would need a descriptor, too.
            Lost::Files(_) | Lost::Keyspace { .. } | Lost::Role(_) => false,
        };
        let leg = &mut request.legs[side];
        if !may || HOPS_MAX <= leg.hops || !request.flow.waiting().contains(side) {
            return None;
        }
        leg.hops += 1;
        leg.host = None;
        Some(self.send_or_teach(key, request, side))
    }

    /// The same for a request whose node was being taught: it was never sent, whatever happened.
    pub(super) fn hop_untold(
        &self,
        key: Key,
        request: &mut Request<C>,
        side: Side,
        lost: &Lost,
    ) -> Result<(), Verdict> {
        let unsent = match lost {
            Lost::Broken(text)
                if self
                    .cluster(request.login.as_ref(), side)
                    .is_some_and(|it| it.is_served()) =>
            {
                &Lost::Dial(text.clone())
            }
            lost => lost,
        };
        let hop = self.hop(key, request, side, unsent);
        hop.unwrap_or(Err(Verdict::NotApplied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put;

    fn bound(values: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        values
            .iter()
            .for_each(|value| put::bytes(&mut bytes, value));
        bytes
    }

    #[test]
    fn tokens_are_those_that_cassandra_computes() {
        let of = |values: &[&[u8]], key: &[u16]| {
            let bytes = bound(values);
            let count = u16::try_from(values.len()).unwrap();
            token(
                Values {
                    count,
                    named: false,
                    bytes: &bytes,
                },
                key,
            )
        };
        // SELECT token(..) of Cassandra 5.0.
        assert_eq!(
            of(&[b"x", &[0, 0, 0, 1]], &[1]),
            Some(-4_069_959_284_402_364_209)
        );
        // Murmur3Token of the Python driver.
        let high: Vec<u8> = (0x80..0x95).collect();
        assert_eq!(of(&[&high], &[0]), Some(6_573_721_208_026_541_422));
        assert_eq!(of(&[&[0xFF; 17]], &[0]), Some(-4_128_212_798_341_382_003));
        let minus_one = [0xFF; 4];
        assert_eq!(
            of(&[&minus_one, b"caf\xc3\xa9"], &[1, 0]),
            Some(7_687_402_835_914_647_819)
        );
        assert_eq!(of(&[b"", b"x"], &[0, 1]), Some(-3_884_662_248_573_342_722));
        assert_eq!(of(&[b"a"], &[]), None);
        assert_eq!(of(&[b"a"], &[1]), None, "there is no such value");
    }

    #[test]
    fn what_is_not_a_value_in_its_place_has_no_token() {
        for length in [-1_i32, -2] {
            let bytes = length.to_be_bytes();
            let values = |named| Values {
                count: 1,
                named,
                bytes: &bytes,
            };
            assert_eq!(token(values(false), &[0]), None);
        }
        let bytes = bound(&[b"a"]);
        let named = Values {
            count: 1,
            named: true,
            bytes: &bytes,
        };
        assert_eq!(token(named, &[0]), None);
    }
}
