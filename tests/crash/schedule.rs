//! What happens, in which order.

use proptest::prelude::*;

use crate::disk::Call;

/// The most that happens in one schedule.
const MAX_OPS: usize = 60;

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A batch is submitted.
    Push { stream: u8, rejected: u8, accepted: u8, bytes: u32 },
    /// The writer makes a step.
    Step,
    /// Somebody asks for a seal, and the writer makes steps.
    Seal,
    /// The sink of this number stores what is sealed.
    Drive(u8),
    /// The sink that follows reads so often, and so much each time.
    Follow { reads: u8, most: u32, done: Done },
    /// It reads once, and meanwhile the shelf looks who lags too far, and the writer makes steps.
    Disturb { most: u32, reads: u32, steps: u8 },
    /// The shelf looks who lags too far, so many half hours after the last event.
    KeepUp(u8),
    /// The keeper makes a spare file.
    Spare,
    /// The power goes with the operation of this number from now.
    Fuse(u32),
    /// The power goes now.
    Crash,
    /// The process is killed; the machine goes on.
    Kill,
    /// The process ends in good order and starts again.
    Stop,
    /// From the next start on, the writer makes so many steps behind the joining of each sink.
    Join(u8),
    /// The operator gives the sinks another prefix, from the next start on.
    Reconfigure,
    /// A call of this kind will fail.
    Fail(Call, u32),
    /// The disk is full, or not any more.
    Full(bool),
    /// The power goes, and a bit of some file flips.
    Flip { file: u16, bit: u64 },
    /// The process is killed, and a block of some file cannot be read any more.
    Spoil { file: u16, place: u64 },
}

/// What a sink that follows says of what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Nothing,
    /// The first of what is not done.
    First,
    All,
    /// All, and its cursor is to be durable.
    Saved,
}

/// What a schedule may do to what was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    Flips,
}

/// Schedules.
pub(crate) fn ops(damage: Damage) -> impl Strategy<Value = Vec<Op>> {
    let bytes = prop_oneof![24 => 1_u32..400, 4 => 1_000_u32..20_000, 1 => 60_000_u32..200_000];
    let push = (0_u8..3, 0_u8..3, 0_u8..4, bytes).prop_map(|(stream, rejected, accepted, bytes)| Op::Push {
        stream,
        rejected,
        accepted,
        bytes,
    });
    let call = prop::sample::select(vec![
        Call::Create,
        Call::Open,
        Call::Read,
        Call::Write,
        Call::Sync,
        Call::SetLen,
        Call::Rename,
        Call::Remove,
        Call::SyncDir,
        Call::Put,
    ]);
    let done = prop::sample::select(vec![Done::Nothing, Done::First, Done::All, Done::Saved]);
    let most = || prop_oneof![1_u32..500, 500_u32..50_000, Just(1_u32 << 20)];
    let follow = (1_u8..4, most(), done).prop_map(|(reads, most, done)| Op::Follow { reads, most, done });
    let disturb = (most(), 1_u32..8, 0_u8..4).prop_map(|(most, reads, steps)| Op::Disturb { most, reads, steps });
    let usual = prop_oneof![
        12 => push,
        10 => Just(Op::Step),
        5 => Just(Op::Seal),
        6 => (0_u8..2).prop_map(Op::Drive),
        8 => follow,
        2 => disturb,
        3 => (0_u8..8).prop_map(Op::KeepUp),
        2 => Just(Op::Spare),
        5 => (1_u32..40).prop_map(Op::Fuse),
        1 => Just(Op::Crash),
        2 => Just(Op::Kill),
        1 => Just(Op::Stop),
        4 => (call, 1_u32..6).prop_map(|(call, calls)| Op::Fail(call, calls)),
        1 => any::<bool>().prop_map(Op::Full),
        2 => (0_u8..3).prop_map(Op::Join),
    ];
    // Where a footer goes bad, so do the destinations that were frozen in it: only without damage may they change.
    let reconfigure = Just(Op::Reconfigure);
    let flip = (any::<u16>(), any::<u64>()).prop_map(|(file, bit)| Op::Flip { file, bit });
    let spoil = (any::<u16>(), any::<u64>()).prop_map(|(file, place)| Op::Spoil { file, place });
    let op = match damage {
        Damage::None => prop_oneof![69 => usual, 1 => reconfigure].boxed(),
        Damage::Flips => prop_oneof![30 => usual, 2 => flip, 1 => spoil].boxed(),
    };
    prop::collection::vec(op, 1..MAX_OPS)
}
