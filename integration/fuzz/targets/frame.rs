//! Any bytes as frames, from a client and from a node: no reader panics, what is read whole is what
//! stands there, and what is written again reads the same.
#![no_main]

use helix_proxy::wire::header::Direction;
use helix_proxy::wire::request::{
    Batch, Credentials, Execute, Prepare, Query, register::Events, startup::Startup,
};
use helix_proxy::wire::response::error::Error;
use helix_proxy::wire::response::event::Event;
use helix_proxy::wire::response::result::{self, Prepared, Rows};
use helix_proxy::wire::{Cursor, Frame, Opcode, frame};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

fuzz_target!(|bytes: &[u8]| {
    requests(bytes);
    answers(bytes);
});

fn requests(mut bytes: &[u8]) {
    while let Ok(Some((frame, rest))) = scan(bytes, Direction::Request) {
        let (version, cursor) = (frame.header.version, Cursor::new(frame.body));
        let mut out = Vec::new();
        match frame.header.opcode {
            Opcode::Query => {
                let Ok(query) = Query::parse(cursor, version) else {
                    break;
                };
                query.put(&mut out, version);
                let again = Query::parse(Cursor::new(&out), version).expect("our own");
                assert_eq!(format!("{again:?}"), format!("{query:?}"));
            }
            Opcode::Execute => {
                let Ok(execute) = Execute::parse(cursor, version) else {
                    break;
                };
                execute.put(&mut out, version);
                let again = Execute::parse(Cursor::new(&out), version).expect("our own");
                assert_eq!(format!("{again:?}"), format!("{execute:?}"));
                if let Some(values) = execute.parameters.values {
                    let _first = values.at(0);
                    let _named = values.named("k");
                }
            }
            Opcode::Batch => {
                let Ok(batch) = Batch::parse(cursor, version) else {
                    break;
                };
                assert_eq!(batch.children().count(), usize::from(batch.count));
                batch.put_head(&mut out);
                batch.children().for_each(|child| child.put(&mut out));
                batch.put_tail(&mut out, version);
                assert_eq!(out, frame.body);
            }
            Opcode::Prepare => {
                let _prepare = Prepare::parse(cursor, version);
            }
            Opcode::AuthResponse => {
                let _credentials = Credentials::parse(cursor);
            }
            Opcode::Register => {
                let _events = Events::parse(cursor);
            }
            Opcode::Startup => {
                let _startup = Startup::parse(cursor);
            }
            _ => {}
        }
        bytes = rest;
    }
}

fn answers(mut bytes: &[u8]) {
    while let Ok(Some((frame, rest))) = scan(bytes, Direction::Response) {
        let version = frame.header.version;
        let Ok((_prefix, content)) = frame.content() else {
            break;
        };
        match frame.header.opcode {
            Opcode::Error => {
                let _error = Error::parse(content);
            }
            Opcode::Event => {
                let _event = Event::parse(content);
            }
            Opcode::Result => {
                if let Ok(Some(paging)) = result::paging(content) {
                    let whole = content.rest();
                    let parts = [paging.head, paging.state, paging.tail];
                    assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= whole.len());
                    assert!(whole.starts_with(paging.head) && whole.ends_with(paging.tail));
                }
                if let Ok(rows) = Rows::parse(content) {
                    let _cells: usize = rows.iter().map(|row| row.len()).sum();
                }
                if let Ok(prepared) = Prepared::parse(content, version) {
                    let mut out = Vec::new();
                    prepared.put(&mut out, b"another", version);
                    let again = Prepared::parse(Cursor::new(&out), version).expect("our own");
                    assert_eq!(
                        (again.id, again.metadata),
                        (&b"another"[..], prepared.metadata)
                    );
                    let _places = result::key_places(Cursor::new(prepared.metadata), version);
                }
            }
            _ => {}
        }
        bytes = rest;
    }
}

type Scanned<'a> = Result<Option<(Frame<'a>, &'a [u8])>, ()>;

fn scan(bytes: &[u8], direction: Direction) -> Scanned<'_> {
    let wanted = frame::wanted(bytes);
    let scanned = Frame::scan(bytes, direction, LIMIT).map_err(drop)?;
    if let Some((frame, rest)) = scanned {
        assert_eq!(wanted, Some(bytes.len() - rest.len()));
        assert!(frame.body.len() == frame.header.length && frame.body.len() <= LIMIT);
    }
    Ok(scanned)
}
