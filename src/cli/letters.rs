//! `dlq`: dead letters listed, shown and moved.

use std::io::Write;

use serde_json::json;

use super::client::{Client, Fault};
use super::table;
use super::{Admin, DlqCommand, Exit, Terminal, Which, print};
use crate::control::letters::{Chosen, Moved};
use crate::control::status::Replay;

/// Numbers in one request.
const NUMBERS_MAX: usize = 1_000;

pub(super) fn run(command: &DlqCommand, terminal: &mut Terminal<'_>) -> Result<Exit, Fault> {
    let ask = |admin: &Admin| Client::new(admin, terminal.env);
    match command {
        DlqCommand::List {
            after,
            max,
            json,
            admin,
        } => {
            let page = ask(admin)?.get(&format!("/dlq?after={after}&max={max}"))?;
            print(page, *json, terminal.out, table::letters)
        }
        DlqCommand::Show {
            number,
            json,
            admin,
        } => {
            let letter = ask(admin)?.get(&format!("/dlq/{number}"))?;
            print(letter, *json, terminal.out, table::letter)
        }
        DlqCommand::Requeue { which, admin } => {
            let client = ask(admin)?;
            shift(&client, "/dlq/requeue", "requeued", which, terminal.out)
        }
        DlqCommand::Purge { which, yes, admin } => {
            let client = ask(admin)?;
            if which.all && !yes {
                let all = dead_letters(&client)?;
                let text = format!("this deletes all {all} dead letters for good: add --yes");
                return Err(Fault::Usage(text));
            }
            shift(&client, "/dlq/purge", "purged", which, terminal.out)
        }
    }
}

fn shift(
    client: &Client,
    path: &str,
    done: &str,
    which: &Which,
    out: &mut dyn Write,
) -> Result<Exit, Fault> {
    if which.all {
        let moved = shift_all(client, path)?;
        writeln!(out, "{done} {}", table::count(moved, "dead letter"))?;
        return Ok(Exit::Fine);
    }
    let mut numbers = which.numbers.clone();
    numbers.sort_unstable();
    numbers.dedup();
    let mut moved = 0;
    for numbers in numbers.chunks(NUMBERS_MAX) {
        moved += post(client, path, &json!({ "numbers": numbers }))?.moved;
    }
    writeln!(out, "{done} {}", table::count(moved, "dead letter"))?;
    let missing = (numbers.len() as u64).saturating_sub(moved);
    if missing == 0 {
        return Ok(Exit::Fine);
    }
    let text = format!("{} named no dead letter", table::count(missing, "number"));
    Err(Fault::Refused(text))
}

/// Moves as many letters as there were at the start: those that come back meanwhile, because
/// replay gave them up again, stay.
fn shift_all(client: &Client, path: &str) -> Result<u64, Fault> {
    let all = dead_letters(client)?;
    let mut moved = 0;
    loop {
        let wish = Chosen {
            all: Some(true),
            numbers: None,
        };
        let answer = post(client, path, &wish)?;
        moved += answer.moved;
        if !answer.more || answer.moved == 0 || all <= moved {
            return Ok(moved);
        }
    }
}

fn post(client: &Client, path: &str, wish: &impl serde::Serialize) -> Result<Moved, Fault> {
    serde_json::from_value(client.post(path, wish)?).map_err(Fault::Shape)
}

fn dead_letters(client: &Client) -> Result<u64, Fault> {
    let replay = client.get("/replay/status")?;
    let replay: Replay = serde_json::from_value(replay).map_err(Fault::Shape)?;
    Ok(replay.dead_letters)
}
