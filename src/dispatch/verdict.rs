//! What a node's answer means for the request (S13 to S16).

use crate::policy::{Report, Verdict};
use crate::wire::code::{self, Effect};
use crate::wire::response::{error, result};
use crate::wire::{Frame, Opcode};

/// An answer, judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Judged {
    /// What it means for the request.
    pub(super) verdict: Verdict,
    /// What it means for the side's health, `None` where it means nothing.
    pub(super) report: Option<Report>,
}

/// Judges an answer that is not UNPREPARED. `single_partition`: the servers apply the statement
/// wholly or not at all on one partition (S14). `statement` is its hash.
#[inline]
pub(super) fn judge(frame: &Frame<'_>, single_partition: bool, statement: u64) -> Judged {
    if frame.header.opcode == Opcode::Result && result::is_known(frame) {
        return Judged {
            verdict: Verdict::Ok,
            report: None,
        };
    }
    let parsed = frame
        .content()
        .and_then(|(_, content)| error::Error::parse(content));
    match (frame.header.opcode, parsed) {
        (Opcode::Error, Ok(error)) => of_code(error.code, single_partition, statement),
        // Nonsense from a node: nobody knows what it did.
        _ => Judged {
            verdict: Verdict::Maybe,
            report: Some(Report::Strike),
        },
    }
}

fn of_code(code: i32, single_partition: bool, statement: u64) -> Judged {
    let verdict = match code::effect(code, single_partition) {
        Effect::Maybe => Verdict::Maybe,
        Effect::NotApplied => Verdict::NotApplied,
        Effect::Refused => Verdict::Definite,
    };
    let report = match code {
        _ if verdict == Verdict::Definite => None,
        code::OVERLOADED | code::IS_BOOTSTRAPPING => Some(Report::Strike),
        _ => Some(Report::Sick(statement)),
    };
    Judged { verdict, report }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_says_not_applied_of_one_partition_only() {
        for code in [code::UNAVAILABLE, code::OVERLOADED, code::IS_BOOTSTRAPPING] {
            assert_eq!(of_code(code, true, 1).verdict, Verdict::NotApplied);
            assert_eq!(of_code(code, false, 1).verdict, Verdict::Maybe);
        }
    }

    #[test]
    fn what_may_have_been_applied_is_never_called_definite() {
        for code in [0x1100, 0x1500, 0x1700, 0x1600, 0x1003, 0x0000, 0x7777, -1] {
            assert_eq!(of_code(code, true, 1).verdict, Verdict::Maybe, "{code:#x}");
        }
    }

    #[test]
    fn one_poison_statement_is_suspected_not_struck() {
        assert_eq!(
            of_code(code::WRITE_TIMEOUT, true, 5).report,
            Some(Report::Sick(5))
        );
        assert_eq!(
            of_code(code::OVERLOADED, true, 5).report,
            Some(Report::Strike)
        );
        assert_eq!(of_code(code::INVALID, true, 5).report, None);
    }
}
