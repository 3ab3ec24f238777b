//! Holds many connections that finished their handshake and do nothing, or burst once on request.

use std::io::{Write, stdin, stdout};
use std::net::TcpStream;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Fault;
use crate::load::{Tongue, handshake, read_frame};
use crate::wire::{Body, opcode, put_frame};

/// Requests and bytes of each value that one connection sends in a burst: 64 KiB in all.
const BURST: u8 = 16;
const BURST_VALUE: usize = 4096;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Address of the proxy.
    #[arg(long)]
    target: String,
    /// Connections to hold.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
}

/// Opens all, says `ready`, then does one burst over all connections for each line it is given.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    raise_file_limit()?;
    let mut held = Vec::with_capacity(options.connections);
    for at in 0..options.connections {
        let opened = open(&options.target).map_err(|error| format!("connection {at}: {error}"));
        held.push(opened?);
    }
    say("ready")?;
    let mut line = String::new();
    while stdin().read_line(&mut line)? != 0 {
        for socket in &mut held {
            burst(socket)?;
        }
        say("done")?;
        line.clear();
    }
    Ok(())
}

/// As many open files as the system lets this process have.
pub(crate) fn raise_file_limit() -> Result<(), Fault> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?)
}

fn say(word: &str) -> Result<(), Fault> {
    println!("{word}");
    Ok(stdout().flush()?)
}

fn open(target: &str) -> Result<TcpStream, Fault> {
    let mut socket = TcpStream::connect(target)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    handshake(&mut socket, Tongue::PLAIN)?;
    Ok(socket)
}

/// Pipelined writes and reads with large values, all answered before it returns.
fn burst(socket: &mut TcpStream) -> Result<(), Fault> {
    let value = vec![b'x'; BURST_VALUE];
    let write = Body::default()
        .long_string("INSERT INTO bench.t (k, v) VALUES (?, ?)")
        .short(1)
        .byte(1)
        .short(2)
        .bytes(Some(b"burst"))
        .bytes(Some(&value));
    let mut out = Vec::new();
    for stream in 0..BURST {
        put_frame(&mut out, 4, [0, stream], opcode::QUERY, &write.0);
    }
    socket.write_all(&out)?;
    for _ in 0..BURST {
        let (header, _) = read_frame(&mut *socket)?;
        if header.opcode != opcode::RESULT {
            return Err(format!("burst answered with opcode {}", header.opcode).into());
        }
    }
    Ok(())
}
