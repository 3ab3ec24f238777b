//! placeholder
use super::Error;
use crate::statement::topology::Select;
use crate::wire::{Version, request::Values};
use std::net::SocketAddr;
use uuid::Uuid;
/// f
#[derive(Debug, Clone)]
pub struct Facts {
    /// x
    pub cluster_name: String,
    /// x
    pub datacenter: String,
    /// x
    pub rack: String,
    /// x
    pub host_id: Uuid,
    /// x
    pub release_version: String,
    /// x
    pub schema_version: Uuid,
    /// x
    pub cql_version: String,
    /// x
    pub partitioner: String,
    /// x
    pub native_protocol: u8,
}
/// x
pub fn rows(
    select: &Select,
    facts: &Facts,
    dialled: SocketAddr,
    values: Option<Values<'_>>,
    skip_metadata: bool,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let _ = (select, facts, dialled, values, skip_metadata, version, out);
    Ok(())
}
/// x
pub fn prepared(
    select: &Select,
    id: &[u8],
    version: Version,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let _ = (select, id, version, out);
    Ok(())
}
/// x
pub fn schema_version(of: crate::pair::Pair<Option<Uuid>>) -> Uuid {
    of.a.unwrap_or_default()
}
/// x
pub fn lower_release<'a>(a: Option<&'a str>, b: Option<&'a str>) -> Option<&'a str> {
    a.or(b)
}
