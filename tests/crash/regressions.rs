//! Schedules that broke a promise once, as they were shrunk, each with what was wrong then.

use crate::{
    disk::Call::{Open, Read, Remove, Rename, SetLen, Sync, Write},
    schedule::{
        Done,
        Op::{
            self, Crash, Disturb, Drive, Fail, Flip, Follow, Full, Fuse, Join, KeepUp, Kill, Push, Reconfigure, Seal,
            Spare, Spoil, Step, Stop,
        },
    },
};

const fn push(rejected: u8, accepted: u8, bytes: u32) -> Op {
    Push { stream: 0, rejected, accepted, bytes }
}

/// Schedules and their seeds. A seed's parity says how many sinks there are: odd, two.
#[expect(clippy::too_many_lines, reason = "a list")]
pub(crate) fn failed_once() -> Vec<(Vec<Op>, u64)> {
    vec![
        // The file of the identity could not be opened for a moment, and the start was refused.
        (vec![Fail(Open, 2), push(0, 1, 1)], 0),
        // So could a footer, and the segment was taken for damaged.
        (vec![push(1, 1, 128_933), Step, Fail(Read, 2), Fail(Open, 4), Drive(0)], 0),
        (vec![push(0, 1, 1), Step, push(0, 1, 1), Fail(Open, 4), Seal, Fail(Open, 1), Drive(0)], 0),
        // A segment that could not be removed was never let go.
        (
            vec![push(1, 1, 128_933), Step, push(1, 0, 1), Reconfigure, Step, push(0, 1, 1), Seal, Crash, Drive(0)]
                .into_iter()
                .chain([Fail(Remove, 1), Drive(1)])
                .collect(),
            1,
        ),
        // Nor was one whose rename took effect and said that it failed.
        (
            vec![push(1, 1, 128_933), Step, push(1, 0, 1), Fail(Rename, 1), Step, push(0, 1, 1), Seal, Crash]
                .into_iter()
                .chain([Drive(0), Fail(Rename, 1), Drive(1)])
                .collect(),
            8_758_059_812_647_218_897,
        ),
        // An identity of which a bit had flipped, in a spool that was empty, refused the start.
        (vec![Fuse(9), push(0, 1, 1), Flip { file: 0, bit: 10_421_384_228_078_591_521 }], 18_314_424_518_882_250_135),
        // A footer that could be read was trusted to be durable: its sync had failed.
        (vec![Fail(SetLen, 1), push(0, 1, 1), Fuse(6), Stop, Step, Crash], 1_445_071_724_657_554_289),
        (
            vec![push(1, 0, 1), Step, Fail(Sync, 3), Full(true), push(0, 1, 1), Fuse(12), Step, Full(false)]
                .into_iter()
                .chain([push(0, 1, 1), Seal, push(1, 1, 128_933), Step, Fuse(1), Drive(0)])
                .collect(),
            8_345_980_924_077_895_278,
        ),
        // So was a group: after its sync failed the process was killed, and the next one sealed what it was shown.
        (
            vec![Fuse(19), Crash, push(0, 0, 1), Fail(Sync, 1), Fail(Remove, 1), push(0, 1, 1), Step, Kill]
                .into_iter()
                .chain([push(0, 0, 1), Fuse(1), Crash])
                .collect(),
            8_849_207_883_707_901_064,
        ),
        // The first block could not be read, and the segment was never sealed.
        (vec![push(0, 1, 1), Step, Kill, Spoil { file: 0, place: 0 }], 0),
        // A sink had stored what then went bad, and what was left of it was stored again.
        (
            vec![
                push(0, 1, 1),
                push(1, 1, 8_070),
                Fuse(19),
                Stop,
                Flip { file: 10_568, bit: 16_525_290_107_316_241_344 },
            ],
            0,
        ),
        // What a sink skipped was not counted, since a file could not be opened for a moment: a footer, and an open segment.
        (
            vec![push(0, 1, 1), Step, Seal, Follow { reads: 1, most: 1, done: Done::Nothing }, push(0, 1, 1), Step]
                .into_iter()
                .chain([Fail(Open, 1), KeepUp(4), push(0, 1, 1)])
                .collect(),
            6,
        ),
        (vec![Spare, Fail(Open, 3), push(0, 1, 1), Step, KeepUp(4)], 6),
        // The writer let a segment go before the sink had joined that lacked it.
        (vec![Join(2), push(0, 1, 1), Seal, Drive(0), Kill, Step], 0),
        // A repair for which there was no room counted as one that did not help, and was not tried again at once.
        (
            vec![push(0, 1, 1), Step, Flip { file: 0, bit: 7_111_712 }, Drive(0), Full(true)]
                .into_iter()
                .chain([Disturb { most: 1, reads: 1, steps: 0 }])
                .chain([Spoil { file: 23_028, place: 7_783_743_367_440_760_832 }])
                .chain([Follow { reads: 1, most: 1, done: Done::Nothing }])
                .collect(),
            5_678_269_184_293_882_694,
        ),
        // The model's own: of two skips with nothing done in between, it held the second one to the first one's events too.
        (
            vec![push(0, 1, 1), Step, Follow { reads: 1, most: 1, done: Done::Nothing }, push(0, 1, 60_000), Step]
                .into_iter()
                .chain([push(1, 0, 1), KeepUp(0), Step, Follow { reads: 2, most: 1, done: Done::Nothing }])
                .chain([KeepUp(4), push(0, 1, 1)])
                .collect(),
            6_132_677_549_903_230_518,
        ),
        // A file of an earlier attempt, empty because the disk was full, got the identity's name: the power went before the
        // directory knew that it had been removed.
        (
            std::iter::once(Full(true))
                .chain(std::iter::repeat_n(push(0, 0, 1), 11))
                .chain([Fuse(23), push(0, 0, 1), push(0, 0, 1), push(0, 0, 1), Full(false), push(0, 0, 1)])
                .collect(),
            10_907_875_986_863_582_526,
        ),
        // The model's own: it did not drive a sink over a segment that another one's repair had set aside.
        (
            vec![push(0, 1, 1), Step, Seal]
                .into_iter()
                .chain([Spoil { file: 9_480, place: 15_543_834_463_682_134_016 }])
                .chain([Spoil { file: 32_090, place: 7_502_165_577_582_346_240 }])
                .collect(),
            4_001_884_811_346_274_827,
        ),
        // The model's own: what happens in the middle of a read waited for the lock of the cursor that was being read.
        (
            vec![
                Fail(Write, 4),
                push(2, 1, 308),
                Fuse(11),
                Fuse(21),
                Follow { reads: 3, most: 39_933, done: Done::Nothing },
            ]
            .into_iter()
            .chain([Drive(0), Join(2), Seal, push(2, 2, 46), push(2, 1, 149)])
            .chain([Disturb { most: 421, reads: 3, steps: 3 }])
            .collect(),
            7_759_812_569_594_574_725,
        ),
        // The model's own: what is left of a segment is stored again if its footer and a group are gone, which it knows since.
        (
            vec![push(0, 1, 1), Crash, push(0, 0, 1)]
                .into_iter()
                .chain([Push { stream: 2, rejected: 0, accepted: 1, bytes: 1 }, Step])
                .chain([Push { stream: 2, rejected: 0, accepted: 1, bytes: 1 }, Step, Fuse(14), Seal, Drive(0)])
                .chain([Spoil { file: 16_050, place: 1_379_496_292_808_163_328 }, Spare])
                .chain([Spoil { file: 41_328, place: 255_639_308_856_295_424 }])
                .collect(),
            2_028_442_251_053_675_485,
        ),
    ]
}
