//! A client that asks for rows without their columns.

use std::net::SocketAddr;

use helix_proxy::wire::request::{Execute, Parameters, Prepare, Query};
use helix_proxy::wire::{Consistency, Cursor, Version};

use crate::wire::{Got, Wire, raw};

/// See the module.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    version: Version,
}

impl Client {
    pub(crate) async fn open(address: SocketAddr, version: Version) -> Self {
        let wire = Wire::started(address, version).await;
        Self { wire, version }
    }

    pub(crate) async fn ask(&mut self, opcode: u8, body: &[u8]) -> Got {
        self.send(opcode, body, 1).await;
        self.wire.read().await.expect("an answer")
    }

    pub(crate) async fn send(&mut self, opcode: u8, body: &[u8], times: usize) {
        let frame = raw(self.version.number(), [0, 1], opcode, body);
        self.wire.write(&frame.repeat(times)).await;
    }

    /// The id and the id of the columns that PREPARE is answered with.
    pub(crate) async fn prepare(&mut self, text: &str) -> (Vec<u8>, Vec<u8>) {
        self.prepare_in(None, text).await
    }

    /// The same in a keyspace that the message names.
    pub(crate) async fn prepare_in(
        &mut self,
        keyspace: Option<&str>,
        text: &str,
    ) -> (Vec<u8>, Vec<u8>) {
        let mut body = Vec::new();
        Prepare { text, keyspace }.put(&mut body, self.version);
        let got = self.ask(0x09, &body).await;
        assert_eq!(got.opcode, 0x08, "{:?}", got.body);
        let mut cursor = Cursor::new(&got.body);
        assert_eq!(cursor.i32(), Ok(4));
        let id = cursor.short_bytes().unwrap().to_vec();
        let columns = match self.version {
            Version::V5 => cursor.short_bytes().unwrap().to_vec(),
            Version::V3 | Version::V4 => Vec::new(),
        };
        (id, columns)
    }

    /// Executes with `SKIP_METADATA`; returns the flags of the rows.
    pub(crate) async fn execute(&mut self, (id, columns): &(Vec<u8>, Vec<u8>)) -> i32 {
        let mut body = Vec::new();
        let parameters = Parameters {
            skip_metadata: true,
            ..Parameters::plain(Consistency::ONE)
        };
        Execute {
            id,
            columns,
            parameters,
        }
        .put(&mut body, self.version);
        let got = self.ask(0x0A, &body).await;
        assert_eq!(got.opcode, 0x08, "{:?}", String::from_utf8_lossy(&got.body));
        let mut cursor = Cursor::new(&got.body);
        assert_eq!(cursor.i32(), Ok(2));
        cursor.i32().unwrap()
    }

    pub(crate) fn query(&self, text: &str, consistency: u16, keyspace: Option<&str>) -> Vec<u8> {
        let mut body = Vec::new();
        let parameters = Parameters {
            keyspace,
            ..Parameters::plain(Consistency(consistency))
        };
        Query { text, parameters }.put(&mut body, self.version);
        body
    }
}
