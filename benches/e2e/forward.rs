//! The yardstick: a forwarder that moves bytes and looks at none of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use clap::Args;

use crate::Fault;

const BUFFER: usize = 64 * 1024;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: String,
    /// Address that every connection is forwarded to.
    #[arg(long)]
    target: String,
}

pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let listener = TcpListener::bind(&options.listen)?;
    for client in listener.incoming() {
        let Err(error) = client
            .map_err(Fault::from)
            .and_then(|c| join(c, &options.target))
        else {
            continue;
        };
        eprintln!("forward: {error}");
    }
    Ok(())
}

fn join(client: TcpStream, target: &str) -> Result<(), Fault> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    thread::Builder::new().spawn(move || pump(client, server))?;
    thread::Builder::new().spawn(move || pump(server_too, client_too))?;
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Either end gone ends both directions; the other thread then sees it too.
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
