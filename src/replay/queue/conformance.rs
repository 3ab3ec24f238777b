//! What every queue promises, as stories told to each of them.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::pair::{Side, Sides};
use crate::replay::record::{Child, Draft, Reason, Repeat};
use crate::replay::{Change, DeadLetter, Lease, Parked, Queue, Receipt, Receipts, Refused, Seq};

use super::Memory;

/// A fixed clock.
pub(super) fn noon() -> i64 {
    1_700_000_000_000_000
}

/// An encoded record that was made at this microsecond.
pub(super) fn body(enqueued_at: i64) -> Vec<u8> {
    of_reason(enqueued_at, Reason::Down)
}

fn of_reason(enqueued_at: i64, reason: Reason) -> Vec<u8> {
    let child = Child {
        text: "INSERT",
        keyspace: None,
        bind_types: 0,
        values: &[],
        count: 0,
        named: false,
    };
    let mut out = Vec::new();
    Draft {
        origin: "test",
        statements: &[child],
        consistency: 1,
        enqueued_at,
        reason,
        repeat: Repeat::Yes,
        single_partition: true,
        ..Draft::default()
    }
    .encode(&mut out);
    out
}

/// One writer with a letter box: tells a change and waits for its receipt.
pub(super) struct Writer<'a> {
    pub(super) queue: &'a dyn Queue,
    receipts: Arc<Receipts>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(queue: &'a dyn Queue) -> Self {
        Self {
            queue,
            receipts: Receipts::new(),
        }
    }

    pub(super) fn receipt(&self) -> Option<Receipt> {
        Some(Receipt {
            to: Arc::clone(&self.receipts),
            ticket: 7,
        })
    }

    pub(super) fn tell(&self, change: Change) {
        self.queue.submit(&mut vec![change]);
    }

    async fn asked(&self, change: Change) -> Result<(), Refused> {
        self.tell(change);
        let mut all = Vec::new();
        self.receipts.arrived().await;
        self.receipts.take(&mut all);
        let [(7, answer)] = all.as_slice() else {
            panic!("not one receipt: {all:?}")
        };
        answer.clone()
    }

    pub(super) async fn kept(&self, owes: Sides, live: Sides) -> Result<Seq, Refused> {
        let seq = self.queue.next_seq();
        let (body, receipt) = (body(seq.0), self.receipt());
        let sent = live;
        self.asked(Change::Keep {
            seq,
            owes,
            live,
            sent,
            body,
            receipt,
        })
        .await
        .map(|()| seq)
    }

    pub(super) async fn keep(&self, owes: Sides, live: Sides) -> Seq {
        self.kept(owes, live).await.unwrap()
    }

    pub(super) async fn missed(&self, seq: Seq, side: Side, sent: bool) -> Result<(), Refused> {
        self.asked(Change::Missed {
            seq,
            side,
            sent,
            receipt: self.receipt(),
        })
        .await
    }

    pub(super) async fn sent(&self, seq: Seq, side: Side) -> Result<(), Refused> {
        self.asked(Change::Sent {
            seq,
            side,
            receipt: self.receipt(),
        })
        .await
    }

    pub(super) async fn park(&self, seq: Seq, side: Side, error: &str) -> Result<(), Refused> {
        let (reason, error) = (Parked::Refused, error.to_owned());
        self.asked(Change::Park {
            seq,
            side,
            reason,
            error,
            receipt: self.receipt(),
        })
        .await
    }

    pub(super) async fn lease(&self, side: Side) -> Vec<Lease> {
        self.queue.lease(side, 1_000).await.unwrap()
    }

    pub(super) async fn leased(&self, side: Side) -> Vec<Seq> {
        self.lease(side)
            .await
            .iter()
            .map(|lease| lease.seq)
            .collect()
    }

    pub(super) async fn letters(&self) -> Vec<DeadLetter> {
        self.queue.dead_letters(0, 100).await.unwrap()
    }
}

pub(super) const A: Sides = Sides::only(Side::A);
pub(super) const B: Sides = Sides::only(Side::B);

/// Every story, each with a queue of its own that holds at least 100 records.
pub(super) async fn holds(queue: impl AsyncFn() -> Arc<dyn Queue>) {
    debts_are_leased_once_in_order_with_their_bodies(&*queue().await).await;
    a_live_record_is_no_debt_until_it_is_missed(&*queue().await).await;
    a_debt_beside_a_live_side_waits_for_it(&*queue().await).await;
    a_record_that_landed_everywhere_is_gone(&*queue().await).await;
    a_void_record_is_owed_by_nobody(&*queue().await).await;
    released_leases_come_again_and_applied_ones_do_not(&*queue().await).await;
    sides_pay_their_debts_apart(&*queue().await).await;
    what_was_announced_shows_in_the_next_lease(&*queue().await).await;
    a_parked_debt_is_a_letter_that_can_be_requeued(&*queue().await).await;
    whoever_requeues_a_letter_vouches_for_it(&*queue().await).await;
    letters_are_listed_in_pages_and_purged(&*queue().await).await;
    a_long_error_is_cut_between_characters(&*queue().await).await;
    a_change_of_an_unknown_debt_is_refused_or_ignored(&*queue().await).await;
    depth_counts_debts_and_knows_the_oldest(&*queue().await).await;
    waiting_ends_when_something_is_owed(&*queue().await).await;
    a_closed_queue_refuses_everything(&*queue().await).await;
}

async fn debts_are_leased_once_in_order_with_their_bodies(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    assert!(!queue.is_behind(Side::B));
    let seqs = [
        writer.keep(B, Sides::NONE).await,
        writer.keep(B, Sides::NONE).await,
    ];
    assert!(seqs[0] < seqs[1] && queue.is_behind(Side::B) && !queue.is_behind(Side::A));

    let one = queue.lease(Side::B, 1).await.unwrap();
    assert_eq!((one[0].seq, one[0].sent, one.len()), (seqs[0], false, 1));
    assert_eq!(one[0].body, body(seqs[0].0));
    assert_eq!(writer.leased(Side::B).await, [seqs[1]]);
    assert!(writer.leased(Side::B).await.is_empty());
    assert!(writer.leased(Side::A).await.is_empty());
}

async fn a_live_record_is_no_debt_until_it_is_missed(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(Sides::NONE, Sides::BOTH).await;
    assert!(writer.leased(Side::A).await.is_empty() && !queue.is_behind(Side::A));
    writer.tell(Change::Landed { seq, side: Side::B });
    writer.missed(seq, Side::A, true).await.unwrap();
    assert!(queue.is_behind(Side::A) && !queue.is_behind(Side::B));
    let lease = &writer.lease(Side::A).await[0];
    assert_eq!((lease.seq, lease.sent, lease.again), (seq, true, false));
}

async fn a_debt_beside_a_live_side_waits_for_it(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(B, A).await;
    assert!(writer.leased(Side::B).await.is_empty() && queue.is_behind(Side::B));
    writer.tell(Change::Landed { seq, side: Side::A });
    assert_eq!(writer.leased(Side::B).await, [seq]);
}

async fn a_record_that_landed_everywhere_is_gone(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(Sides::NONE, Sides::BOTH).await;
    writer.tell(Change::Landed { seq, side: Side::B });
    writer.tell(Change::Landed { seq, side: Side::A });
    writer.missed(seq, Side::A, true).await.unwrap_err();
    assert_eq!(queue.depth().owed.a, 0);
}

async fn a_void_record_is_owed_by_nobody(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(B, A).await;
    writer.tell(Change::Void { seq });
    assert!(writer.leased(Side::B).await.is_empty());
    assert!(!queue.is_behind(Side::B));
}

async fn released_leases_come_again_and_applied_ones_do_not(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let none = Sides::NONE;
    let (first, second) = (writer.keep(B, none).await, writer.keep(B, none).await);
    assert_eq!(writer.leased(Side::B).await, [first, second]);
    writer.tell(Change::Applied {
        seq: second,
        side: Side::B,
    });
    queue.release(Side::B, vec![first, second]);
    assert_eq!(writer.leased(Side::B).await, [first]);
}

async fn sides_pay_their_debts_apart(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(Sides::BOTH, Sides::NONE).await;
    assert_eq!(writer.leased(Side::A).await, [seq]);
    writer.tell(Change::Applied { seq, side: Side::A });
    assert_eq!(writer.leased(Side::B).await, [seq]);
    assert!(!queue.is_behind(Side::A) && queue.is_behind(Side::B));
    writer.tell(Change::Applied { seq, side: Side::B });
    writer.sent(seq, Side::B).await.unwrap_err();
}

async fn what_was_announced_shows_in_the_next_lease(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(B, Sides::NONE).await;
    for (sent, again) in [(false, false), (true, false), (true, true)] {
        let lease = &writer.lease(Side::B).await[0];
        assert_eq!((lease.sent, lease.again), (sent, again));
        writer.sent(seq, Side::B).await.unwrap();
        queue.release(Side::B, vec![seq]);
    }
    writer.missed(seq, Side::B, false).await.unwrap();
    let lease = &writer.lease(Side::B).await[0];
    assert_eq!((lease.sent, lease.again), (false, false));
}

async fn a_parked_debt_is_a_letter_that_can_be_requeued(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(Sides::BOTH, Sides::NONE).await;
    writer.lease(Side::B).await;
    writer.sent(seq, Side::B).await.unwrap();
    writer
        .park(seq, Side::B, "unconfigured table")
        .await
        .unwrap();
    assert!(!queue.is_behind(Side::B) && queue.is_behind(Side::A));
    let letter = &writer.letters().await[0];
    assert_eq!((letter.side, letter.reason), (Side::B, Parked::Refused));
    assert_eq!(
        (letter.error.as_str(), letter.parked_at),
        ("unconfigured table", noon())
    );
    assert_eq!(
        (letter.body.as_ref(), queue.depth().dead),
        (body(seq.0).as_slice(), 1)
    );

    let number = letter.number;
    assert_eq!(queue.requeue(vec![number, number + 50]).await, Ok(1));
    assert!(writer.letters().await.is_empty() && queue.depth().dead == 0);
    let lease = &writer.lease(Side::B).await[0];
    assert_eq!((lease.seq, lease.sent), (seq, false));
    writer.tell(Change::Applied { seq, side: Side::B });
    assert_eq!(writer.leased(Side::A).await, [seq]);
    writer.park(seq, Side::A, "again").await.unwrap();
    let number = writer.letters().await[0].number;
    assert_eq!(
        queue.requeue(vec![number]).await,
        Ok(1),
        "also where the record was gone"
    );
    assert_eq!(writer.lease(Side::A).await[0].body, body(seq.0));
}

async fn whoever_requeues_a_letter_vouches_for_it(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = queue.next_seq();
    let unproven = of_reason(seq.0, Reason::Unproven);
    let kept = writer.asked(Change::Keep {
        seq,
        owes: Sides::BOTH,
        live: Sides::NONE,
        sent: Sides::NONE,
        body: unproven.clone(),
        receipt: writer.receipt(),
    });
    kept.await.unwrap();
    let vouched = of_reason(seq.0, Reason::Failed);
    // The record is there still, as the other side owes it; then it is gone.
    for (side, body) in [(Side::A, &unproven), (Side::B, &vouched)] {
        writer.lease(side).await;
        writer.park(seq, side, "who may?").await.unwrap();
        let letter = &writer.letters().await[0];
        assert_eq!(letter.body.as_ref(), body.as_slice());
        assert_eq!(queue.requeue(vec![letter.number]).await, Ok(1));
        let lease = &writer.lease(side).await[0];
        assert_eq!((lease.seq, lease.body.as_ref()), (seq, vouched.as_slice()));
        writer.tell(Change::Applied { seq, side });
    }
    let seq = queue.next_seq();
    let kept = writer.asked(Change::Keep {
        seq,
        owes: B,
        live: Sides::NONE,
        sent: Sides::NONE,
        body: of_reason(seq.0, Reason::Unproven),
        receipt: writer.receipt(),
    });
    kept.await.unwrap();
    writer.park(seq, Side::B, "who may?").await.unwrap();
    let number = writer.letters().await[0].number;
    assert_eq!(queue.requeue(vec![number]).await, Ok(1));
    let lease = &writer.lease(Side::B).await[0];
    assert_eq!(lease.body, of_reason(seq.0, Reason::Failed));
}

async fn letters_are_listed_in_pages_and_purged(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    for _ in 0..5 {
        let seq = writer.keep(B, Sides::NONE).await;
        writer.park(seq, Side::B, "no").await.unwrap();
    }
    let first = queue.dead_letters(0, 3).await.unwrap();
    let rest = queue.dead_letters(first[2].number, 3).await.unwrap();
    assert_eq!((first.len(), rest.len()), (3, 2));
    assert!(
        first
            .iter()
            .chain(&rest)
            .is_sorted_by_key(|letter| letter.number)
    );
    assert_eq!(
        queue
            .purge(vec![first[0].number, first[0].number, 999])
            .await,
        Ok(1)
    );
    assert_eq!((writer.letters().await.len(), queue.depth().dead), (4, 4));
}

async fn a_long_error_is_cut_between_characters(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = writer.keep(B, Sides::NONE).await;
    writer.park(seq, Side::B, &"€".repeat(1_000)).await.unwrap();
    assert_eq!(writer.letters().await[0].error, "€".repeat(341));
}

async fn a_change_of_an_unknown_debt_is_refused_or_ignored(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = queue.next_seq();
    writer.tell(Change::Landed { seq, side: Side::A });
    writer.tell(Change::Applied { seq, side: Side::A });
    writer.tell(Change::Void { seq });
    writer.missed(seq, Side::A, true).await.unwrap_err();
    writer.sent(seq, Side::A).await.unwrap_err();
    writer.park(seq, Side::A, "?").await.unwrap_err();
    assert!(writer.letters().await.is_empty() && writer.leased(Side::A).await.is_empty());
}

async fn depth_counts_debts_and_knows_the_oldest(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seqs = [
        writer.keep(B, A).await,
        writer.keep(B, A).await,
        writer.keep(A, B).await,
    ];
    let depth = queue.depth();
    assert_eq!((depth.owed.a, depth.owed.b, depth.dead), (1, 2, 0));
    assert_eq!(
        (depth.oldest.a, depth.oldest.b),
        (Some(seqs[2].0), Some(seqs[0].0))
    );
    assert!(0 < depth.bytes);
    writer.lease(Side::B).await;
    writer.tell(Change::Applied {
        seq: seqs[0],
        side: Side::B,
    });
    writer.park(seqs[2], Side::A, "no").await.unwrap();
    let depth = queue.depth();
    assert_eq!((depth.owed.a, depth.owed.b, depth.dead), (0, 1, 1));
    assert_eq!((depth.oldest.a, depth.oldest.b), (None, Some(seqs[1].0)));
}

async fn waiting_ends_when_something_is_owed(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    let seq = tokio::join!(queue.wait(Side::B), writer.keep(B, Sides::NONE)).1;
    queue.wait(Side::B).await;
    assert_eq!(writer.leased(Side::B).await, [seq]);
    let again = async { queue.release(Side::B, vec![seq]) };
    tokio::join!(queue.wait(Side::B), again);
}

async fn a_closed_queue_refuses_everything(queue: &dyn Queue) {
    let writer = Writer::new(queue);
    writer.keep(B, A).await;
    queue.close().await.unwrap();
    assert!(!queue.accepts());
    assert_eq!(writer.kept(B, A).await, Err(Refused::Closed));
    assert_eq!(queue.lease(Side::B, 1).await.unwrap_err(), Refused::Closed);
}

#[tokio::test]
async fn the_memory_queue_keeps_the_promises() {
    let memory = || Memory::new(NonZeroUsize::new(100).unwrap(), noon);
    holds(async || Arc::new(memory()) as Arc<dyn Queue>).await;
}

#[tokio::test]
async fn a_full_memory_queue_refuses_until_a_record_left() {
    let memory = Memory::new(NonZeroUsize::new(2).unwrap(), noon);
    let writer = Writer::new(&memory);
    let seq = writer.keep(B, Sides::NONE).await;
    writer.keep(B, Sides::NONE).await;
    assert!(!memory.accepts());
    assert_eq!(writer.kept(B, Sides::NONE).await, Err(Refused::Full));
    memory.lease(Side::B, 1).await.unwrap();
    writer.tell(Change::Applied { seq, side: Side::B });
    assert!(memory.accepts());
    writer.keep(B, Sides::NONE).await;
}
