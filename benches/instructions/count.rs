//! Runs each stage of a batch's path in a function of its own, in which tests/instructions has callgrind count.
//!
//! Standard output has a line for each stage, in the order in which they were run: its name, and how many events or
//! requests it worked on.

#![expect(clippy::expect_used, reason = "it stops at what it did not expect")]
#![expect(
    clippy::print_stdout,
    clippy::disallowed_macros,
    reason = "a program of the tests, which read what it prints"
)]

extern crate logweir_pure as logweir;

#[path = "../support/events.rs"]
mod events;
#[path = "../support/stages.rs"]
mod stages;

use std::hint::black_box;

use logweir::{admission, batch::StreamName, schema::Schema};
use stages::{Admission, Coding, Decoding, Validation, Written};

/// How many events each stage works on, in however many batches; or how many requests.
const MANY: usize = 1_000;

/// The name by which tests/instructions tells callgrind where to count: all of `work`, and nothing else.
#[inline(never)]
fn count_this_stage(work: &mut dyn FnMut()) {
    work();
    // A call at the very end would be made a jump.
    black_box(());
}

/// Works a stage twice, the second time counted: what is allocated or learnt once is there by then.
fn stage(name: &str, mut work: impl FnMut()) {
    work();
    count_this_stage(&mut work);
    println!("{name}\t{MANY}");
}

fn main() {
    for a_batch in [1, 10, 100] {
        let bodies = stages::bodies(MANY / a_batch, a_batch);
        for (name, schema) in [("free form", Schema::free_form()), ("declared", stages::declared())] {
            let mut validation = Validation::new(schema);
            stage(&format!("validate, {name}, {a_batch} a batch"), || {
                for body in &bodies {
                    black_box(validation.write(body));
                }
            });
        }
    }
    for a_batch in [1, 10, 100] {
        let batches = MANY / a_batch;
        let bodies = stages::bodies(batches, a_batch);
        let mut validation = Validation::new(Schema::free_form());
        let mut written: Vec<_> = bodies.iter().chain(&bodies).map(|body| validation.write(body)).collect();
        // Freeing them is no part of it.
        let mut frames = Vec::with_capacity(written.len());
        stage(&format!("frame, {a_batch} a batch"), || {
            frames.extend(written.drain(..batches).map(Written::frame));
        });
    }
    let stream = StreamName::new("heard").expect("a name");
    let contents: Vec<u128> = (0..10_u128).map(|number| number * 0x1234_5678_9ABC_DEF1_0305_070B).collect();
    stage("ids, 10 a batch", || {
        for _ in 0..MANY / 10 {
            stages::ids(&stream, "0123456789abcdef0123456789abcdef", &contents);
        }
    });
    for a_batch in [1, 10] {
        let lines = stages::stored_lines(MANY / a_batch, a_batch);
        let mut out = Vec::with_capacity(lines.len());
        stage(&format!("gzip, {a_batch} a batch"), || {
            out.clear();
            stages::gzip(&lines, &mut out);
        });
    }
    for (name, coding) in [("gzip", Coding::Gzip), ("zstd", Coding::Zstd)] {
        let encoded: Vec<_> = stages::bodies(MANY / 10, 10).iter().map(|body| coding.encode(body)).collect();
        let mut decoding = Decoding::new();
        stage(&format!("decode {name}, 10 a batch"), || {
            for body in &encoded {
                black_box(decoding.decode(coding, body));
            }
        });
    }
    for (name, admission, expected) in
        [("admit a request", Admission::open(), true), ("refuse a request", Admission::full(), false)]
    {
        let mut admission = admission;
        stage(name, || (0..MANY).for_each(|_| assert_eq!(admission.ask(), expected)));
    }
}
