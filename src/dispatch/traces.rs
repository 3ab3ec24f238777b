//! Which cluster made a trace, as it can be read only there.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::pair::Side;
use crate::wire::cursor::Value;
use crate::wire::request::Values;

/// Traces that are remembered; drivers read theirs at once.
const KEPT: usize = 4_096;
/// Bytes of a text that are searched for the id of a trace.
const SEARCHED: usize = 4_096;
/// Characters of an id in a text.
const WRITTEN: usize = 36;
/// Values of a question that are looked at.
const VALUES: usize = 8;

/// The traces that clients were told of last, whichever thread answered them.
#[derive(Debug, Default)]
pub struct Traces(Mutex<VecDeque<(Uuid, Side)>>);

impl Traces {
    /// This side made the trace of this id, 16 bytes.
    #[cold]
    pub(super) fn remember(&self, id: &[u8], side: Side) {
        let Ok(id) = Uuid::from_slice(id) else { return };
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if KEPT <= made.len() {
            made.pop_front();
        }
        made.push_back((id, side));
    }

    /// Who made the trace that a question asks for, by its text or by its values.
    #[cold]
    pub(super) fn maker(&self, text: &str, values: Option<Values<'_>>) -> Option<Side> {
        let asked: Vec<_> = bound(values).chain(written(text)).collect();
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = made.iter().rev();
        latest.find(|(id, _)| asked.contains(id)).map(|it| it.1)
    }
}

fn bound(values: Option<Values<'_>>) -> impl Iterator<Item = Uuid> {
    let at = move |place| match values?.at(place)? {
        Value::Set(bytes) => Uuid::from_slice(bytes).ok(),
        Value::Null | Value::Unset => None,
    };
    (0..VALUES).filter_map(at)
}

fn written(text: &str) -> impl Iterator<Item = Uuid> {
    let text = text.as_bytes();
    let searched = text.get(..SEARCHED).unwrap_or(text);
    let is_near = |it: &&[u8]| it.get(8) == Some(&b'-');
    let found = searched.windows(WRITTEN).filter(is_near);
    found.filter_map(|it| Uuid::try_parse_ascii(it).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put;

    const ONE: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    const TEXT: &str = "SELECT * FROM system_traces.events WHERE session_id = ";

    #[test]
    fn a_trace_is_found_by_what_is_bound_and_by_what_is_written() {
        let traces = Traces::default();
        traces.remember(ONE.as_bytes(), Side::B);
        let mut bytes = Vec::new();
        put::bytes(&mut bytes, ONE.as_bytes());
        let values = Values {
            count: 1,
            named: false,
            bytes: &bytes,
        };
        assert_eq!(traces.maker(TEXT, Some(values)), Some(Side::B));
        assert_eq!(traces.maker(&format!("{TEXT}{ONE}"), None), Some(Side::B));
        let other = Uuid::from_u128(7);
        assert_eq!(traces.maker(&format!("{TEXT}{other}"), None), None);
        assert_eq!(
            traces.maker("SELECT é FROM system_traces.events", None),
            None
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let traces = Traces::default();
        traces.remember(ONE.as_bytes(), Side::B);
        for number in 0..KEPT {
            traces.remember(&(number as u128).to_be_bytes(), Side::A);
        }
        assert_eq!(traces.maker(&format!("{TEXT}{ONE}"), None), None);
        assert_eq!(traces.0.lock().unwrap().len(), KEPT);
    }
}
